"""A folder of scheduled backups: their names, when the next one is due, and which to remove.

A name holds the start time of the backup (UTC), for people, and to find when the next one is due after a restart. The
clock may be wrong, for example after its battery died, so numbers in the trailers give the order of backups. Files with
other names are never touched.
"""

from __future__ import annotations

import calendar
import contextlib
import os
import re
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from pynun.backup.file_format import read_number
from pynun.errors import BackupError
from pynun.storage.files.atomic_file import SUFFIX, remove_leftover

if TYPE_CHECKING:
    from pathlib import Path

CLOCK_SECONDS: Final = 60.0
"""A name may be this far ahead of the clock: clocks are corrected by seconds all the time."""

_TIME: Final = "%Y%m%dT%H%M%SZ"
_NAME: Final = re.compile(r"nun-db-([0-9]{8}T[0-9]{6}Z)\.backup")
_PARTIAL_NAME: Final = re.compile(rf"\.{_NAME.pattern}{re.escape(SUFFIX)}")


class Removal(NamedTuple):
    """The result of removing old backups."""

    removed: list[Path]
    failure: OSError | None
    """Why some could not be removed."""


def is_ours(name: str) -> bool:
    """Whether the name is that of a scheduled backup, complete or partial."""
    return bool(_NAME.fullmatch(name) or _PARTIAL_NAME.fullmatch(name))


def new_name(now: float) -> str:
    """The name of a backup started at `now`, in seconds since 1970: `nun-db-20261124T204500Z.backup`."""
    return f"nun-db-{time.strftime(_TIME, time.gmtime(now))}.backup"


def new_file(folder: Path, now: float) -> Path:
    """The file of a backup started at `now`, or at the next free second, because clocks can be set back."""
    while os.path.lexists(file := folder / new_name(now)):
        now += 1
    return file


def next_number(folder: Path) -> int:
    """The number of the next backup. Raises OSError."""
    return 1 + max((read_number(path) for path in _ours(folder)), default=0)


def backups(folder: Path) -> list[Path]:
    """The backups of a folder, oldest first. Raises OSError.

    Those without a number come first, in the order of their names.
    """
    return sorted(_ours(folder), key=lambda path: (read_number(path), path.name))


def newest_at(folder: Path, now: float) -> float | None:
    """Start of the newest backup, in seconds since 1970, ignoring names in the future; None without one.

    Raises OSError.
    """
    made = [_made_at(path) for path in _ours(folder) if path.is_file()]
    return max((min(at, now) for at in made if at <= now + CLOCK_SECONDS), default=None)


def seconds_until_due(folder: Path, interval_seconds: float, now: float) -> float:
    """Time until the next backup is due, counted from the newest one. Raises OSError."""
    newest = newest_at(folder, now)
    return 0.0 if newest is None else max(0.0, newest + interval_seconds - now)


def from_the_future(folder: Path, now: float) -> list[str]:
    """The names in the future: the clock was wrong when those backups were made, or is wrong now. Raises OSError."""
    ahead = [path for path in _ours(folder) if _made_at(path) > now + CLOCK_SECONDS]
    return sorted(path.name for path in ahead if path.is_file())


def remove_oldest(folder: Path, keep: int, newest: Path | None = None) -> Removal:
    """Remove all but the last `keep` backups, but never `newest`. Raises OSError.

    Folders with such a name don't count. If one can't be removed, the others still are.
    """
    removed: list[Path] = []
    failure: OSError | None = None
    kept = 0
    for path in sorted(reversed(backups(folder)), key=lambda path: path != newest):
        if path == newest or kept < keep:
            kept += path.is_file()
            continue
        try:
            path.unlink()
            removed.append(path)
        except OSError as error:
            failure = error
    return Removal(removed[::-1], failure)


def remove_leftovers(folder: Path) -> None:
    """Remove partial files of killed backups. Raises OSError."""
    for path in folder.iterdir():
        if _PARTIAL_NAME.fullmatch(path.name):
            # In progress, another user's, or not a file: leave it, and make backups all the same.
            with contextlib.suppress(BackupError, OSError):
                remove_leftover(path)


def _ours(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]


def _made_at(path: Path) -> float:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    try:
        return calendar.timegm(time.strptime(match[1], _TIME))
    except ValueError:  # such as the 99th of a month: not our file
        return 0.0
