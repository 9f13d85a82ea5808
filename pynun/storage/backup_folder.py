"""A folder of backups on a schedule: their names, when the next one is due, and which are removed.

A name holds the time (UTC) at which the backup was begun, so names sort by age and nothing else has to be remembered.
Other files in the folder are never touched.
"""

from __future__ import annotations

import calendar
import contextlib
import re
import time
from typing import TYPE_CHECKING, Final

from pynun.errors import BackupError
from pynun.storage.partial_file import SUFFIX, remove_leftover

if TYPE_CHECKING:
    from pathlib import Path

_TIME: Final = "%Y%m%dT%H%M%SZ"
_NAME: Final = re.compile(r"nun-db-([0-9]{8}T[0-9]{6}Z)\.backup")
_PARTIAL_NAME: Final = re.compile(rf"\.{_NAME.pattern}{re.escape(SUFFIX)}")


def is_ours(name: str) -> bool:
    """Whether a file of that name is a backup of a schedule, or one half written."""
    return bool(_NAME.fullmatch(name) or _PARTIAL_NAME.fullmatch(name))


def new_name(now: float) -> str:
    """The name of a backup that is begun at `now`, in seconds since 1970: `nun-db-20261124T204500Z.backup`."""
    return f"nun-db-{time.strftime(_TIME, time.gmtime(now))}.backup"


def backups(folder: Path) -> list[Path]:
    """The backups of a folder, oldest first. Raises OSError."""
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def seconds_until_due(folder: Path, interval_seconds: float, now: float) -> float:
    """How long the next backup has time, counted from the newest one. Raises OSError."""
    made = [_made_at(path) for path in backups(folder)]
    # One from the future (the clock was wrong) must not keep backups from being made for years.
    newest = max((at for at in made if at <= now), default=now - interval_seconds)
    return max(0.0, newest + interval_seconds - now)


def remove_oldest(folder: Path, keep: int) -> list[Path]:
    """Remove all but the newest `keep` backups; returns those removed. Raises OSError."""
    old = backups(folder)[:-keep]
    for path in old:
        path.unlink()
    return old


def remove_leftovers(folder: Path) -> None:
    """Remove what backups that were killed left half written. Raises OSError."""
    for path in folder.iterdir():
        if _PARTIAL_NAME.fullmatch(path.name):
            with contextlib.suppress(BackupError):  # somebody is writing it
                remove_leftover(path)


def _made_at(path: Path) -> float:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    try:
        return calendar.timegm(time.strptime(match[1], _TIME))
    except ValueError:  # the 99th of a month: not of our making
        return 0.0
