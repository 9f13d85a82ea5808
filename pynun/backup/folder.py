"""A folder of backups on a schedule: their names, when the next one is due, and which are removed.

A name holds the time (UTC) at which the backup was begun, for people, and for when the next one is due after a restart.
The time may be wrong: a clock can run ahead, or start in the past after its battery died. So the order in which backups
were made is that of the numbers in their trailers. Files with other names are never touched.
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
"""A name that is ahead of the clock by less does not make it wrong: clocks are corrected by seconds all the time."""

_TIME: Final = "%Y%m%dT%H%M%SZ"
_NAME: Final = re.compile(r"nun-db-([0-9]{8}T[0-9]{6}Z)\.backup")
_PARTIAL_NAME: Final = re.compile(rf"\.{_NAME.pattern}{re.escape(SUFFIX)}")


class Removal(NamedTuple):
    """What became of the oldest backups."""

    removed: list[Path]
    failure: OSError | None
    """Why one or more of them are still there."""


def is_ours(name: str) -> bool:
    """Whether a file of that name is a backup of a schedule, or one half written."""
    return bool(_NAME.fullmatch(name) or _PARTIAL_NAME.fullmatch(name))


def new_name(now: float) -> str:
    """The name of a backup that is begun at `now`, in seconds since 1970: `nun-db-20261124T204500Z.backup`."""
    return f"nun-db-{time.strftime(_TIME, time.gmtime(now))}.backup"


def new_file(folder: Path, now: float) -> Path:
    """The file of a backup that is begun at `now`; of the next second if there is one: a clock can be set back."""
    while os.path.lexists(file := folder / new_name(now)):
        now += 1
    return file


def next_number(folder: Path) -> int:
    """The number of a backup that is begun now. Raises OSError."""
    return 1 + max((read_number(path) for path in _ours(folder)), default=0)


def backups(folder: Path) -> list[Path]:
    """The backups of a folder, in the order in which they were made. Raises OSError.

    Those without a number come first, in the order of their names.
    """
    return sorted(_ours(folder), key=lambda path: (read_number(path), path.name))


def newest_at(folder: Path, now: float) -> float | None:
    """When the newest backup was begun, in seconds since 1970; None if there is none. Raises OSError.

    Names that lie in the future say nothing: at that time none was begun.
    """
    made = [_made_at(path) for path in _ours(folder) if path.is_file()]
    return max((min(at, now) for at in made if at <= now + CLOCK_SECONDS), default=None)


def seconds_until_due(folder: Path, interval_seconds: float, now: float) -> float:
    """How long the next backup has time, counted from the newest one. Raises OSError."""
    newest = newest_at(folder, now)
    return 0.0 if newest is None else max(0.0, newest + interval_seconds - now)


def from_the_future(folder: Path, now: float) -> list[str]:
    """The names that lie in the future: the clock was wrong when those backups were made, or is now. Raises OSError."""
    ahead = [path for path in _ours(folder) if _made_at(path) > now + CLOCK_SECONDS]
    return sorted(path.name for path in ahead if path.is_file())


def remove_oldest(folder: Path, keep: int, newest: Path | None = None) -> Removal:
    """Remove what is older than the `keep` backups that were made last; never `newest`. Raises OSError.

    What is no file (a folder that has the name of one) is not counted. One that can't be removed keeps no other from
    being removed.
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
    """Remove what backups that were killed left half written. Raises OSError."""
    for path in folder.iterdir():
        if _PARTIAL_NAME.fullmatch(path.name):
            # Somebody is writing it, or it is another user's, or no file: a reason to leave it, not to make no backups.
            with contextlib.suppress(BackupError, OSError):
                remove_leftover(path)


def _ours(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]


def _made_at(path: Path) -> float:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    try:
        return calendar.timegm(time.strptime(match[1], _TIME))
    except ValueError:  # the 99th of a month: not of our making
        return 0.0
