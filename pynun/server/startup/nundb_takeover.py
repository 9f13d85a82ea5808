"""Import the data of the original Nun-db once, when started on its data folder (docs/migration.md).

If you replace the container and keep the folder, the new server has all data without further steps. If some data can't
be read, the start fails and imports nothing: accepting the loss is the administrator's decision.

The import runs in its own thread before clients are served (`status_page`), and checks for stop signals between steps
(`pynun.stop_signals`).
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from pynun import stop_signals
from pynun.engine.key_layout import ADMIN_DATABASE
from pynun.errors import StartError, TransferError
from pynun.server.process import logs
from pynun.transfer.nundb_files import holds_databases
from pynun.transfer.nundb_import import (
    compare_files,
    existing_databases,
    import_folder,
    imported_before,
    note_imported,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pynun.audit_file import AuditTrail
    from pynun.server.login.passwords import Passwords
    from pynun.server.startup.status_page import StatusPage
    from pynun.storage.store import LmdbStore
    from pynun.transfer.nundb_files import Problem
    from pynun.transfer.nundb_import import Summary

_PROGRESS_SECONDS: Final = 5.0
_PROBLEMS_LOGGED: Final = 20
_IMPORTING: Final = "importing the data of the original Nun-db"

_log = logging.getLogger("nun_db")


def take_over(store: LmdbStore, passwords: Passwords, trail: AuditTrail, start: StatusPage) -> Summary | None:
    """Import the original's data in the store's folder, unless that was done. Takes time in proportion to the data.
    Logs what it did and what an administrator should know. Returns the summary of an import. Raises StartError, without
    importing anything, if some data can't be read. Raises Stopped when the server is told to stop.
    """
    if not holds_databases(store.folder):
        return None
    summary = start.run(partial(_take_over, store, passwords, trail, start.tell))
    stop_signals.check()
    return summary


def _take_over(
    store: LmdbStore, passwords: Passwords, trail: AuditTrail, tell: Callable[[str], None]
) -> Summary | None:
    folder = store.folder
    itself = _into_itself(folder)
    tell("looking at the files of the original Nun-db")
    before = imported_before(store)
    if before is not None:
        changed, now = compare_files(folder, before, lambda _: stop_signals.check())
        if now != before:
            note_imported(store, now)  # else each start would read the whole files again
        if changed:
            _log.warning(
                "files of the original Nun-db in %s changed after they were imported (%s): these changes are not in "
                "this server; nun-db import-nundb --replace %s imports them, replacing the data here",
                folder,
                ", ".join(changed),
                itself,
            )
        return None
    if existing_databases(store) - {ADMIN_DATABASE}:
        _log.warning(
            "%s also holds files of the original Nun-db, which were never imported: nun-db import-nundb %s imports "
            "them while this server is stopped",
            folder,
            itself,
        )
        return None
    summary = _import(store, passwords, tell)
    trail.record(
        "import-nundb",
        outcome="ok",
        folder=str(folder.absolute()),
        databases=summary.databases_made,
        keys=summary.keys,
        losses=0,
    )
    return summary


def _into_itself(folder: Path) -> str:
    """Arguments that make import-nundb import into the folder of the files, from any current folder."""
    return f"{folder.absolute()} --data-dir {folder.absolute()}"


def _import(store: LmdbStore, passwords: Passwords, tell: Callable[[str], None]) -> Summary:
    folder = store.folder
    logs.announce(f"{folder} holds data of the original Nun-db: importing it; its files stay unchanged")
    tell(_IMPORTING)
    told = 0
    next_time = time.monotonic() + _PROGRESS_SECONDS

    def report(problem: Problem) -> None:
        nonlocal told
        stop_signals.check()
        told += 1
        if told <= _PROBLEMS_LOGGED:
            _log.warning("importing %s: %s", folder, problem)

    def progress(step: str, done: int, total: int) -> None:
        nonlocal next_time
        stop_signals.check()
        share = f": {100 * done // total} %" if total else ""
        # No database names: anyone may ask for /healthz.
        tell(f"{_IMPORTING if step.startswith('importing ') else step}{share}")
        if time.monotonic() >= next_time:
            next_time = time.monotonic() + _PROGRESS_SECONDS
            logs.announce(f"{step}{share}")

    def hash_secret(secret: str) -> str:
        stop_signals.check()
        return passwords.hash_now(secret)

    try:
        summary = import_folder(
            store, folder, hash_secret, report=report, progress=progress, hash_limit=passwords.hash_limit
        )
    except TransferError as error:
        raise StartError(f"the data of the original Nun-db can't be imported: {error}") from None
    if not summary.is_done:
        raise StartError(
            f"not all data of the original Nun-db in {folder} can be read ({summary.losses} problems), so nothing was "
            f"imported and its files are unchanged: nun-db import-nundb --dry-run {folder} lists everything, and"
            f" nun-db import-nundb --accept-damage {_into_itself(folder)} imports what can be read; then start again"
        )
    for counts in summary.databases:
        if counts.name != ADMIN_DATABASE or counts.keys or counts.users:
            logs.announce(f"imported {counts.name} ({counts.strategy}): {counts.keys} keys, {counts.users} users")
    logs.announce("the import is complete; the data is now in data.mdb, and the old files are no longer used")
    return summary
