"""Choosing and opening the data folder, for commands that work on it without a server."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pynun.cli.errors import CommandError, UsageError
from pynun.cli.installation import DATA_DIR, DataFolder, environment_for, find_data_folder
from pynun.cli.output.escape import say
from pynun.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pynun.server.login.passwords import Passwords
    from pynun.storage.store import LmdbStore

DirectoryToRead = Annotated[
    str | None,
    typer.Option(
        "--data-dir", metavar="FOLDER", help="The server's data folder; else NUN_DBS_DIR, the installation's, dbs."
    ),
]
DirectoryToChange = Annotated[
    str | None,
    typer.Option(
        "--data-dir",
        metavar="FOLDER",
        help="The server's data folder; else NUN_DBS_DIR, the installation's, or it asks.",
    ),
]


def folder_to_read(data_dir: str | None) -> Path:
    """The server's data folder. Prints which one if none was given. Raises UsageError."""
    found = _find(data_dir)
    if found.source is None and (found.path / "data.mdb").exists():
        say(f"neither --data-dir nor NUN_DBS_DIR is given: this reads the data in {found.path.absolute()}")
    return found.path


def folder_to_change(data_dir: str | None) -> Path:
    """The server's data folder. Asks on a terminal if none was given, because a wrong one could pass for the server's.

    Raises CommandError if the answer is not yes or there is no terminal.
    """
    folder, source, _ = _find(data_dir)
    if source is not None:
        return folder
    which = f"{folder.absolute()}, which has {'data' if (folder / 'data.mdb').exists() else 'no data yet'}"
    if not sys.stdin.isatty():
        raise CommandError(
            "no data folder was given, and there is no terminal to ask on; nothing was changed. Give the server's "
            f"folder with --data-dir or NUN_DBS_DIR (sudo does not pass it on). The default is {which}"
        )
    say(f"neither --data-dir nor NUN_DBS_DIR is given. This would change {which}")
    print("Is that the server's data folder? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was changed: give the server's data folder with --data-dir or NUN_DBS_DIR")
    return folder


def _find(data_dir: str | None) -> DataFolder:
    """The data folder; prints which one if the installation names it. Raises UsageError."""
    if data_dir == "":
        raise UsageError("--data-dir is empty, perhaps because a shell variable is not set: give the folder")
    if data_dir:
        return DataFolder(Path(data_dir), "--data-dir", {})
    found = find_data_folder(os.environ)
    if found.source not in (None, DATA_DIR):
        say(f"the data folder is {found.path.absolute()} ({found.source})")
    return found


@contextlib.contextmanager
def opened_store(data_dir: Path) -> Iterator[LmdbStore]:
    """Open the data of a stopped server; new files belong to the folder's owner. Raises StartError and
    SettingsError."""
    from pynun import settings
    from pynun.backup.old_format import keep_old_format
    from pynun.storage import schema
    from pynun.storage.store import LmdbStore
    from pynun.storage.wal.segment import GLOB

    (is_keeping,) = settings.load_fields(environment_for(data_dir, os.environ), "is_keeping_old_format")
    try:
        with contextlib.closing(LmdbStore(data_dir, keep_old=keep_old_format if is_keeping else None)) as store:
            yield store
            if (why := store.why_elsewhere()) is not None:
                raise StartError(
                    f"{why} meanwhile, so the result may be lost: find out what changes {data_dir}, and run this again"
                )
    finally:
        _give_to_owner(data_dir, *(data_dir / name for name in schema.FILES), *data_dir.glob(GLOB))


def load_passwords(data_dir: Path) -> Passwords:
    """A token hasher with the settings of the folder's server. Raises SettingsError."""
    from pynun import settings
    from pynun.server.login.passwords import Passwords

    environ = environment_for(data_dir, os.environ)
    memory_kib, passes, lanes = settings.load_fields(environ, "argon2_memory_kib", "argon2_passes", "argon2_lanes")
    return Passwords(memory_kib=memory_kib, passes=passes, lanes=lanes)


def _give_to_owner(data_dir: Path, *files: Path) -> None:
    """Give root's new files to the folder's owner: they would lock the server's user out."""
    if os.geteuid():
        return
    with contextlib.suppress(OSError):
        owner = data_dir.stat()
        for file in files:
            about = file.lstat()
            if stat.S_ISREG(about.st_mode) and about.st_uid == 0 != owner.st_uid:
                os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)
