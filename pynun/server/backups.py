"""Backups on a schedule (NUN_BACKUP_DIR). Each is made by a process of its own, at the lowest priority.

A backup that fails is a warning and is tried again; it never stops the server, nor does a folder that is not there:
the disk of the backups may come back later than the server does.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from pynun import limits
from pynun.audit import AuditTrail
from pynun.storage import backup_folder
from pynun.storage.children import command, environment
from pynun.storage.partial_file import partial_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pynun.settings import Settings
    from pynun.storage.lmdb_store import LmdbStore

_log = logging.getLogger("nun_db")

_Result = TypeVar("_Result")

_LOOK_SECONDS_MAX: Final = 3600.0
"""Wait no longer without a look at the clock, which somebody may set."""


@dataclass(slots=True)
class BackupFigures:
    """What the schedule has done, for whoever watches the server."""

    newest_at: float = 0.0
    """When the newest backup was begun, in seconds since 1970; 0: there is none, or no schedule."""
    failures: int = 0
    """Backups that were not made when they were due, each try counted."""


async def clear_dead_readers(store: LmdbStore) -> None:
    """Forget, for ever again, readers of the data that were killed."""
    while True:
        await trio.sleep(limits.DEAD_READERS_SECONDS)
        store.clear_dead_readers()


async def make_backups(settings: Settings, figures: BackupFigures) -> None:
    """Make backups on the schedule until cancelled; a backup that is being made then is given up."""
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
    while True:
        try:
            due_seconds = await _apart(_look, folder, settings.backup_interval_seconds)
            if due_seconds > 0:
                figures.newest_at = time.time() + due_seconds - settings.backup_interval_seconds
                await trio.sleep(min(due_seconds, _LOOK_SECONDS_MAX))
                continue
            began = time.time()
            file = folder / backup_folder.new_name(began)
            failure = await _make(settings.data_dir, file)
            with _shielded():
                await trio.to_thread.run_sync(_record, settings, file, failure, abandon_on_cancel=True)
            if failure is None:
                figures.newest_at = began
                await _remove_oldest(folder, settings.backup_keep)
                continue
        except OSError as error:
            failure = f"the folder {folder} can't be used: {error.strerror}; {_cure(error)}"
        figures.failures += 1
        _log.warning(
            "no backup was made (%s): the server goes on, older backups stay, and the next try is in %d s",
            failure,
            retry_seconds,
        )
        await trio.sleep(retry_seconds)


async def _remove_oldest(folder: Path, keep: int) -> None:
    try:
        for old in await _apart(backup_folder.remove_oldest, folder, keep):
            _log.info("old backup removed: %s", old)
    except OSError as error:
        _log.warning(
            "old backups in %s can't be removed (%s): remove them yourself before the disk is full",
            folder,
            error.strerror,
        )


def _shielded() -> trio.CancelScope:
    """A stop waits for what is done in it, but not for ever."""
    return trio.CancelScope(shield=True, deadline=trio.current_time() + limits.BACKUP_END_SECONDS)


async def _apart(function: Callable[[Path, int], _Result], folder: Path, number: int) -> _Result:
    """Call it in a thread: the folder may be on a disk of the network that does not answer."""
    return await trio.to_thread.run_sync(function, folder, number, abandon_on_cancel=True)


def _look(folder: Path, interval_seconds: int) -> float:
    """How long the next backup has time. Raises OSError if none could be made."""
    backup_folder.remove_leftovers(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        code = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(code, os.strerror(code))
    return backup_folder.seconds_until_due(folder, interval_seconds, time.time())


def _cure(error: OSError) -> str:
    if error.errno == errno.EROFS:
        # What a service of systemd may not write looks so to it, whoever owns the folder.
        return "as a service of systemd, the unit needs ReadWritePaths= for it"
    return "make it, writable for the server's user"


async def _make(data_dir: Path, file: Path) -> str | None:
    """Have a process make a backup. Returns why it did not."""
    process = await trio.lowlevel.open_process(
        command("pynun.storage.backup", str(data_dir), str(file)),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    output, errors = bytearray(), bytearray()
    try:
        # Not trio.run_process: it waits for ever for a process that was killed and hangs in a write.
        async with trio.open_nursery() as reading:
            reading.start_soon(_read, process.stdout, output)
            reading.start_soon(_read, process.stderr, errors)
            await process.wait()
    except BaseException:  # cancelled
        with _shielded():
            process.kill()  # a child of its own ends when nobody reads its pipe
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


def _record(settings: Settings, file: Path, failure: str | None) -> None:
    path = None if settings.audit_file is None else settings.data_dir / settings.audit_file
    with AuditTrail(path, bytes_max=settings.audit_bytes_max, keep=settings.audit_keep) as trail:
        if failure is None:
            trail.record("backup", outcome="ok", file=str(file))
        else:
            trail.record("backup", outcome="failed", file=str(file), reason=failure)
