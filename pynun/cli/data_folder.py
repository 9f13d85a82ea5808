"""What commands share that work on a server's data folder themselves: which one, and opening it."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pynun.server.passwords import Passwords
    from pynun.storage.lmdb_store import LmdbStore

DataDirectory = Annotated[
    str | None,
    typer.Option("--data-dir", metavar="FOLDER", help="The server's data folder; else NUN_DBS_DIR, dbs."),
]


def data_folder(data_dir: str | None) -> Path:
    """The server's data folder."""
    return Path(data_dir or os.environ.get("NUN_DBS_DIR") or "dbs")


@contextlib.contextmanager
def opened_store(data_dir: Path) -> Iterator[LmdbStore]:
    """The data of a server that is stopped; what is made there belongs to the folder's owner. Raises StartError."""
    from pynun.storage import schema
    from pynun.storage.lmdb_store import LmdbStore

    try:
        with contextlib.closing(LmdbStore(data_dir)) as store:
            yield store
    finally:
        _give_to_owner(data_dir, *(data_dir / name for name in schema.FILES))


def load_passwords() -> Passwords:
    """What hashes tokens, with the server's settings. Raises SettingsError."""
    from pynun import settings
    from pynun.server.passwords import Passwords

    memory_kib, passes, lanes = settings.load_fields(os.environ, "argon2_memory_kib", "argon2_passes", "argon2_lanes")
    return Passwords(memory_kib=memory_kib, passes=passes, lanes=lanes)


def _give_to_owner(data_dir: Path, *files: Path) -> None:
    """What root has made in a data folder belongs to the folder's owner: else it would lock the server's user out."""
    if os.geteuid():
        return
    with contextlib.suppress(OSError):
        owner = data_dir.stat()
        for file in files:
            about = file.lstat()
            if stat.S_ISREG(about.st_mode) and about.st_uid == 0 != owner.st_uid:
                os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)
