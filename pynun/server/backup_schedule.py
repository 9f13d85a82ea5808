"""Make backups on a schedule (NUN_BACKUP_DIR), each in its own process at the lowest priority.

The time of day is read once, at the start, to find the age of the newest backup. After that a monotonic clock counts
the interval, so setting the time of day has no effect.

A failed backup is logged as a warning and tried again. Neither it nor a missing folder stops the server: the disk for
backups may become available later than the server.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import trio

from pynun import limits
from pynun.audit_file import AuditTrail
from pynun.backup import folder as backup_folder
from pynun.errors import BackupError
from pynun.storage.files.atomic_file import partial_name
from pynun.storage.integrity.child_process import command, environment
from pynun.timestamps import steady_seconds, time_of_day

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pynun.settings import Settings
    from pynun.storage.store import LmdbStore

_log = logging.getLogger("nun_db")

_Result = TypeVar("_Result")

_NAMES_TOLD_MAX: Final = 10

_LOOK_SECONDS_MAX: Final = 3600.0
"""Check the folder at least this often: it may disappear, and timers stop while the machine sleeps."""


@dataclass(slots=True)
class BackupFigures:
    """What the schedule has done, for monitoring."""

    newest_steady: float | None = None
    """Start of the newest backup (`steady_seconds`); None without a backup or a schedule."""
    failures: int = 0
    """Failed attempts to make a backup that was due."""
    making: trio.Lock = field(default_factory=trio.Lock)
    """Held while a backup is made: two of the same second would have the same name."""

    @property
    def newest_at(self) -> float:
        """Start of the newest backup, in seconds since 1970; 0 without a backup or a schedule."""
        return 0.0 if self.newest_steady is None else time_of_day(self.newest_steady)


class _Look(NamedTuple):
    """The state of the backup folder."""

    newest_at: float | None
    due_seconds: float
    from_the_future: list[str]


async def clear_dead_readers(store: LmdbStore) -> None:
    """Periodically clear readers of the data that were killed."""
    while True:
        await trio.sleep(limits.DEAD_READERS_SECONDS)
        store.clear_dead_readers()


async def make_backups(settings: Settings, figures: BackupFigures) -> None:
    """Make backups on the schedule until cancelled; a backup in progress is then abandoned."""
    folder = settings.backup_dir
    if folder is None:
        return
    _log.info(
        "backups: every %d s in %s, of which the newest %d are kept",
        settings.backup_interval_seconds,
        folder,
        settings.backup_keep,
    )
    retry_seconds = min(limits.BACKUP_RETRY_SECONDS, settings.backup_interval_seconds)
    due: float | None = None
    told: set[str] = set()
    while True:
        try:
            now, look = steady_seconds(), await _apart(_look, folder, settings.backup_interval_seconds)
            told = _tell_of_the_future(folder, look.from_the_future, told)
            if due is None:
                due = now + look.due_seconds
                if look.newest_at is not None:
                    figures.newest_steady = now - time.time() + look.newest_at
            if due > now:
                await trio.sleep(min(due - now, _LOOK_SECONDS_MAX))
                continue
            async with figures.making:
                began = steady_seconds()
                file, failure = await _make_new(settings, folder)
            if failure is None:
                figures.newest_steady = began
                due = began + settings.backup_interval_seconds
                await _remove_oldest(folder, settings.backup_keep, file)
                continue
        except OSError as error:
            failure = f"the folder {folder} can't be used: {error.strerror}; {_cure(error)}"
        figures.failures += 1
        _log.warning(
            "no backup was made (%s): the server continues, older backups stay, and the next try is in %d s",
            failure,
            retry_seconds,
        )
        await trio.sleep(retry_seconds)


async def make_backup_now(settings: Settings, folder: Path, figures: BackupFigures, user: str) -> Path:
    """Make a backup beside the schedule, or without one, for an administrator. Raises BackupError."""
    try:
        async with figures.making:
            began = steady_seconds()
            file, failure = await _make_new(settings, folder, user)
    except OSError as error:
        raise BackupError(f"the folder {folder} can't be used: {error.strerror}; {_cure(error)}") from None
    if failure is not None:
        raise BackupError(failure)
    if settings.backup_dir is not None:
        figures.newest_steady = began
    await _remove_oldest(folder, settings.backup_keep, file)
    return file


def _tell_of_the_future(folder: Path, names: list[str], told: set[str]) -> set[str]:
    """Warn once of backups with a time in the future; returns all that were warned of."""
    if set(names) - told:
        _log.warning(
            "backups in %s have names in the future (%s): the clock was wrong when they were made, or is wrong now."
            " Check the clock. The latest backups are kept, whatever their names",
            folder,
            ", ".join([*names[:_NAMES_TOLD_MAX], *(["…"] if len(names) > _NAMES_TOLD_MAX else [])]),
        )
    return set(names)


async def _remove_oldest(folder: Path, keep: int, newest: Path) -> None:
    try:
        removal = await trio.to_thread.run_sync(
            backup_folder.remove_oldest, folder, keep, newest, abandon_on_cancel=True
        )
    except OSError as error:
        removal = backup_folder.Removal([], error)
    for old in removal.removed:
        _log.info("old backup removed: %s", old)
    if removal.failure is not None:
        _log.warning(
            "old backups in %s can't be removed (%s): remove them yourself before the disk is full",
            folder,
            removal.failure.strerror,
        )


def _shielded() -> trio.CancelScope:
    """A stop waits for work in this scope, for a limited time."""
    return trio.CancelScope(shield=True, deadline=trio.current_time() + limits.BACKUP_END_SECONDS)


async def _apart(function: Callable[[Path, int], _Result], folder: Path, number: int) -> _Result:
    """Call it in a thread: the folder may be on a network disk that does not answer."""
    return await trio.to_thread.run_sync(function, folder, number, abandon_on_cancel=True)


def _look(folder: Path, interval_seconds: int) -> _Look:
    """The state of the backup folder. Raises OSError if no backup could be made there."""
    backup_folder.remove_leftovers(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        code = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(code, os.strerror(code))
    now = time.time()
    return _Look(
        backup_folder.newest_at(folder, now),
        backup_folder.seconds_until_due(folder, interval_seconds, now),
        backup_folder.from_the_future(folder, now),
    )


def _cure(error: OSError) -> str:
    if error.errno == errno.EROFS:
        # To a systemd service, a folder outside ReadWritePaths= looks read-only, even to its owner.
        return "as a service of systemd, the unit needs ReadWritePaths= for it"
    return "make it, writable for the server's user"


async def _make_new(settings: Settings, folder: Path, user: str | None = None) -> tuple[Path, str | None]:
    """Make a backup, for an administrator or the schedule; returns its file, and the reason if it failed. Raises
    OSError.
    """
    file = await trio.to_thread.run_sync(backup_folder.new_file, folder, time.time(), abandon_on_cancel=True)
    failure = await make_in_child(settings.data_dir, file)
    with _shielded():
        await trio.to_thread.run_sync(_record, settings, file, failure, user, abandon_on_cancel=True)
    return file, failure


async def make_in_child(data_dir: Path, file: Path) -> str | None:
    """Make a backup in a child process. Returns the reason if it failed."""
    process = await trio.lowlevel.open_process(
        command("pynun.backup.make", str(data_dir), str(file)),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    output, errors = bytearray(), bytearray()
    try:
        # Not trio.run_process: it would wait for ever for a killed process that hangs in a write.
        async with trio.open_nursery() as reading:
            reading.start_soon(_read, process.stdout, output)
            reading.start_soon(_read, process.stderr, errors)
            await process.wait()
    except BaseException:  # cancelled
        with _shielded():
            process.kill()  # its own child ends when nobody reads the pipe
            await process.wait()
            await trio.to_thread.run_sync(_remove_partial, file, abandon_on_cancel=True)
        raise
    try:
        told: dict[str, object] = json.loads(output)
    except ValueError:
        last_line = errors.decode(errors="replace").strip().rpartition("\n")[2]
        return last_line or f"its process ended with {process.returncode}"
    if "failed" in told:
        return str(told["failed"])
    _log.info(
        "backup made: %s (%s databases, %s keys, %s bytes, %s s)",
        *(told[name] for name in ("file", "databases", "keys", "bytes", "seconds")),
    )
    return None


async def _read(pipe: trio.abc.ReceiveStream | None, into: bytearray) -> None:
    assert pipe is not None
    async with pipe:
        async for piece in pipe:
            into += piece


def _remove_partial(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.with_name(partial_name(file.name)).unlink()


def _record(settings: Settings, file: Path, failure: str | None, user: str | None) -> None:
    path = None if settings.audit_file is None else settings.data_dir / settings.audit_file
    with AuditTrail(path, bytes_max=settings.audit_bytes_max, keep=settings.audit_keep) as trail:
        if failure is None:
            trail.record("backup", outcome="ok", user=user, file=str(file))
        else:
            trail.record("backup", outcome="failed", user=user, file=str(file), reason=failure)
