"""`nun-db backup`, `nun-db verify` and `nun-db restore`: their options, and what they print.

They work on the data folder itself, so they need no server, no network and no password, but the right to read it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pynun.cli.offline.data_folder import DirectoryToChange, DirectoryToRead, folder_to_change, folder_to_read
from pynun.cli.output.escape import printable
from pynun.cli.output.numbers import counted, size
from pynun.cli.output.progress import Progress

if TYPE_CHECKING:
    from pynun.backup.file_format import Verified

_Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object, for scripts.")]


app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def backup(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to create.")],
    data_dir: DirectoryToRead = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="If FILE exists, replace it once the new backup is complete.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Back up all data into one file, while the server runs or not.

    Run it on the server's machine, as the server's user or root. It reads the data folder itself; the server keeps
    running. FILE appears only when it is complete, on disk and verified.
    """
    from pynun.backup.make import make_backup
    from pynun.cli.offline.audited import recorded
    from pynun.storage.integrity.child_process import lower_priority

    lower_priority()
    folder = folder_to_read(data_dir)
    with recorded(folder, "backup", file=file) as more, Progress() as progress:
        made = make_backup(folder, Path(file), progress.show, is_replacing=replace)
        more.update(keys=made.keys, revision=made.revision, sha256=made.sha256)
    if as_json:
        _print_json(dataclasses.asdict(made))
    else:
        typer.echo(
            f"{file}: {counted(made.databases, 'database')}, {counted(made.keys, 'key')}, {size(made.bytes)};"
            f" complete and verified ({made.seconds:.1f} s)"
        )


@app.command()
def verify(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file made by nun-db backup.")],
    as_json: _Json = False,
) -> None:
    """Check a backup: its checksum, its pages and every entry; show what is in it.

    The exit code is 1 if it is damaged. The file is not changed, and no server or data folder is needed.
    """
    from pynun.backup.file_format import verify_backup

    with Progress() as progress:
        verified = verify_backup(Path(file), progress.show)
    if as_json:
        _print_json({"file": file, **_described(verified)})
    else:
        contents = verified.contents
        typer.echo(f"{file}: whole; made {contents.made} by version {contents.version}, format {contents.format}")
        for name, keys in sorted(verified.counts.databases.items()):
            typer.echo(f"  {printable(name)}: {counted(keys, 'key')}")


@app.command()
def restore(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file made by nun-db backup.")],
    data_dir: DirectoryToChange = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="If the folder has data, replace it and keep the old data aside.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Restore a backup into the data folder, created if missing. The server must be stopped.

    Users, permissions, administrators, passwords and tokens go back too. The backup is verified first. Even if this is
    killed, the folder has either the old data or the new.
    """
    from pynun.backup.restore import restore_backup
    from pynun.cli.offline.audited import recorded
    from pynun.cluster.note import change_refused
    from pynun.errors import TransferError
    from pynun.storage.snapshot import snapshot

    folder = folder_to_change(data_dir)
    with recorded(folder, "restore", file=file) as more, Progress() as progress:
        with contextlib.suppress(TransferError), snapshot(folder) as now:  # what can't be read is to be replaced
            if now.is_of_cluster:
                raise change_refused(folder)
        restored = restore_backup(Path(file), folder, progress.show, is_replacing=replace)
        more.update(keys=restored.verified.contents.keys, sha256=restored.verified.sha256)
    if as_json:
        kept = str(restored.kept) if restored.kept else None
        _print_json({"file": file, "folder": str(folder), "kept": kept, **_described(restored.verified)})
    else:
        contents = restored.verified.contents
        typer.echo(
            f"{folder}: the data of {contents.made} is in it ({counted(contents.databases, 'database')},"
            f" {counted(contents.keys, 'key')}), and the administrators, passwords and tokens of then; start the"
            " server"
        )
        if restored.kept:
            old = restored.kept.with_suffix(".*")
            typer.echo(f"The old data is kept: remove {old} when all is well. To go back, stop the server, and run:")
            for line in restored.way_back:
                typer.echo(f"  {line}")


def _described(verified: Verified) -> dict[str, object]:
    return {
        "bytes": verified.file_bytes,
        "sha256": verified.sha256,
        **dataclasses.asdict(verified.contents),
        "keys_by_database": verified.counts.databases,
    }


def _print_json(described: dict[str, object]) -> None:
    typer.echo(json.dumps(described))
