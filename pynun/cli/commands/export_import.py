"""`nun-db export` and `nun-db import`: one database as JSON Lines (docs/export.md)."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from pynun.cli.errors import UsageError
from pynun.cli.offline.data_folder import (
    DirectoryToChange,
    DirectoryToRead,
    folder_to_change,
    folder_to_read,
    load_passwords,
    opened_store,
)
from pynun.cli.options import TIMEOUT_SECONDS_DEFAULT, Timeout
from pynun.cli.output.numbers import counted
from pynun.cli.output.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import WriteableBuffer

    from pynun.cli.options import Connection
    from pynun.storage.store import LmdbStore

STANDARD_STREAM = "-"
PIECE_BYTES = 1024 * 1024


app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("export")
def export(
    database: Annotated[str, typer.Argument(metavar="DATABASE", help="The database's name.")],
    file: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="The file to create; - or none: standard output.")
    ] = STANDARD_STREAM,
    data_dir: DirectoryToRead = None,
    with_secrets: Annotated[
        bool,
        typer.Option("--with-secrets", help="Include the hashes of its tokens, so that they stay valid elsewhere."),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="If FILE exists, replace it once the new one is complete.")
    ] = False,
) -> None:
    """Write a database as JSON Lines, while the server runs or not: one line per key, with its version.

    Run it on the server's machine, as the server's user or root. It writes a consistent snapshot. FILE appears only
    when it is complete.
    """
    from pynun.cli.offline.audited import recorded
    from pynun.storage.snapshot import snapshot
    from pynun.transfer.database_file import export_lines

    folder = folder_to_read(data_dir)
    with (
        recorded(folder, "export", database=database, file=file, secrets=with_secrets) as more,
        snapshot(folder) as now,
        Progress() as progress,
    ):
        lines = export_lines(now, database, has_secrets=with_secrets)
        if file == STANDARD_STREAM:
            count = _write(lines, sys.stdout.buffer.write, progress)
            sys.stdout.buffer.flush()
        else:
            count = _write_file(lines, Path(file), progress, replace)
        more["keys"] = count
    if file != STANDARD_STREAM:
        typer.echo(f"{file}: {database}, {counted(count, 'key')}, {'with' if with_secrets else 'without'} tokens")


@app.command("import")
def import_(
    context: typer.Context,
    database: Annotated[
        str, typer.Argument(metavar="DATABASE", help="The name of the database, whatever the file says.")
    ],
    file: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="A file made by nun-db export; - or none: standard input.")
    ] = STANDARD_STREAM,
    data_dir: DirectoryToChange = None,
    replace: Annotated[bool, typer.Option("--replace", help="If the database exists, replace its contents.")] = False,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge", help="If the database exists, keep keys that are not in the file; for others the file wins."
        ),
    ] = False,
    token: Annotated[
        str | None,
        typer.Option(
            "-t",
            "--token",
            metavar="TOKEN",
            help="The token of a new database, if the file has none; else NUN_TOKEN or a prompt.",
        ),
    ] = None,
    token_file: Annotated[
        str | None, typer.Option("--token-file", metavar="FILE", help="A file that contains that token.")
    ] = None,
    online: Annotated[
        bool, typer.Option("--online", help="Import into a running server, as its administrator; so does -h.")
    ] = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Import a database from nun-db export: into the folder of a stopped server, or --online.

    All of it is imported, or nothing, also if a line is wrong (its number is printed) or this command is killed.
    Clients of a running server are served meanwhile. Those that have the replaced database selected go on in the new
    one, and are told of watched keys that changed.
    """
    given: Connection = context.obj
    from pynun.cli.offline.audited import recorded
    from pynun.cli.remote import credentials, sendable
    from pynun.transfer.database_file import import_database

    is_online = online or bool(given.host)
    if replace and merge:
        raise UsageError("--replace and --merge can't be combined")
    if not sendable.is_http_word(database):
        raise UsageError(f"choose another name for the database: {database!r} can't be sent in a command over HTTP")

    def ask_token() -> str:
        return credentials.require_token(token, token_file, f"the database {database}")

    if is_online:
        if merge or data_dir:
            raise UsageError("--merge and --data-dir are for a stopped server: they can't be combined with --online")
        _import_online(given, timeout, database, file, ask_token, is_replacing=replace)
        return
    folder = folder_to_change(data_dir)
    passwords = load_passwords(folder)
    with (
        recorded(folder, "import", database=database, file=file) as more,
        _opened(file) as source,
        _stopped_servers_store(folder) as store,
        Progress() as progress,
    ):
        done = import_database(
            store,
            database,
            source,
            passwords.hash_now,
            ask_token,
            lambda number: progress.show_text(f"line {number:,}"),
            is_replacing=replace,
            is_merging=merge,
            hash_limit=passwords.hash_limit,
        )
        more["keys"] = done.keys
    how = ", replaced" if done.is_replaced else ", merged" if done.is_merged else ""
    typer.echo(f"{database}: {counted(done.keys, 'key')} imported (with users and tokens{how}); start the server")


@contextlib.contextmanager
def _stopped_servers_store(folder: Path) -> Iterator[LmdbStore]:
    """The data of a stopped server. Raises StartError, also if the server runs."""
    from pynun.cluster.note import refuse_change
    from pynun.errors import FolderInUseError

    try:
        with opened_store(folder) as store:
            refuse_change(store)
            yield store
    except FolderInUseError as error:
        raise FolderInUseError(f"{error}; to import into the running server: --online") from None


def _import_online(
    given: Connection,
    timeout_seconds: int,
    database: str,
    file: str,
    ask_token: Callable[[], str],
    *,
    is_replacing: bool,
) -> None:
    from pynun.cli.remote.admin_client import AdminClient
    from pynun.cli.remote.online_import import import_online

    server = AdminClient(given, timeout_seconds)
    with _opened(file) as source, Progress() as progress:
        done = import_online(
            server,
            database,
            source,
            ask_token,
            lambda number: progress.show_text(f"line {number:,}"),
            is_replacing=is_replacing,
        )
    how = ", replaced" if done.is_replaced else ""
    typer.echo(f"{database}: {counted(done.keys, 'key')} imported (with users and tokens{how})")


def _write(lines: Iterator[bytes], write: Callable[[bytes], object], progress: Progress) -> int:
    """Write all lines; returns how many keys there were."""
    count = -2  # the first line and the last
    piece = bytearray()
    for line in lines:
        piece += line
        if len(piece) >= PIECE_BYTES:
            write(bytes(piece))
            piece.clear()
        count += 1
        progress.show_text(f"{max(0, count):,} keys")
    write(bytes(piece))
    return count


def _write_file(lines: Iterator[bytes], path: Path, progress: Progress, is_replacing: bool) -> int:
    """Write a new file, which has its name only when it is complete and on disk. Raises TransferError."""
    from pynun.errors import TransferError
    from pynun.storage.files.atomic_file import AtomicFile

    is_there = f"{path} already exists: choose another name, or use --replace"
    if not is_replacing and os.path.lexists(path):
        raise TransferError(is_there)
    try:
        with AtomicFile(path) as partial:
            count = _write(lines, partial.write, progress)
            partial.finish(is_replacing=is_replacing)
    except FileExistsError:  # it was made meanwhile
        raise TransferError(is_there) from None
    except OSError as error:
        raise TransferError(
            f"{path} can't be written: {error.strerror}; free up space, or give another place"
        ) from None
    return count


@contextlib.contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    """A file to read, or standard input. Raises TransferError, of this file alone, here and when it is read."""
    from pynun.errors import TransferError
    from pynun.storage.files.regular_file import NotRegularError, open_descriptor

    if file == STANDARD_STREAM:
        yield sys.stdin.buffer
        return

    class SourceFile(io.FileIO):
        """The file, whose errors are told from those of where its content goes."""

        def readinto(self, buffer: WriteableBuffer, /) -> int | None:
            try:
                return super().readinto(buffer)
            except OSError as error:
                raise TransferError(f"{file} can't be read: {error.strerror}") from None

    try:
        source = SourceFile(open_descriptor(file))
    except NotRegularError as error:
        raise TransferError(
            f"{file} can't be read: {error.strerror}; to read from a pipe, use standard input (-)"
        ) from None
    except OSError as error:
        raise TransferError(f"{file} can't be read: {error.strerror}") from None
    with io.BufferedReader(source) as buffered:
        yield buffered
