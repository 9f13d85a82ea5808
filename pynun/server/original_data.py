"""A server that is started on the data folder of the original Nun-db takes its data over, once (docs/migration.md).

Whoever replaces the container keeps the folder: the new server then has to have everything, without anybody doing
anything, or nothing: data that can't all be read must be somebody's decision, so it stops the start.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from pynun.engine.database import ADMIN_DATABASE
from pynun.errors import StartError, TransferError
from pynun.server import logs
from pynun.storage.nundb_folder import holds_databases
from pynun.storage.nundb_import import changed_files, existing_databases, import_folder, imported_before

if TYPE_CHECKING:
    from pynun.audit import AuditTrail
    from pynun.server.passwords import Passwords
    from pynun.storage.lmdb_store import LmdbStore
    from pynun.storage.nundb_folder import Problem
    from pynun.storage.nundb_import import Summary

_PROGRESS_SECONDS: Final = 5.0
_PROBLEMS_LOGGED: Final = 20

_log = logging.getLogger("nun_db")


def take_over(store: LmdbStore, passwords: Passwords, trail: AuditTrail) -> Summary | None:
    """Import what the original left in the store's folder, unless that was done. Takes as long as the data is large.

    Says what it did, or what a person ought to know. Returns the summary of an import. Raises StartError if not
    everything can be read; nothing is imported then.
    """
    folder = store.folder
    if not holds_databases(folder):
        return None
    before = imported_before(store)
    if before is not None:
        changed = changed_files(folder, before)
        if changed:
            _log.warning(
                "files of the original Nun-db in %s changed after they were imported (%s): what was changed in them is"
                " not here; nun-db import-nundb --replace %s takes it over, in place of what is here",
                folder,
                ", ".join(changed),
                folder,
            )
        return None
    if existing_databases(store) - {ADMIN_DATABASE}:
        _log.warning(
            "%s also holds files of the original Nun-db, which were never imported: nun-db import-nundb %s does it,"
            " while this server is stopped",
            folder,
            folder,
        )
        return None
    summary = _import(store, passwords)
    trail.record(
        "import-nundb",
        outcome="ok",
        folder=str(folder.absolute()),
        databases=len(summary.databases),
        keys=summary.keys,
        losses=0,
    )
    return summary


def _import(store: LmdbStore, passwords: Passwords) -> Summary:
    folder = store.folder
    logs.announce(f"{folder} holds data of the original Nun-db: importing it; its files are left as they are")
    told = 0
    next_time = time.monotonic() + _PROGRESS_SECONDS

    def report(problem: Problem) -> None:
        nonlocal told
        told += 1
        if told <= _PROBLEMS_LOGGED:
            _log.warning("importing %s: %s", folder, problem)

    def progress(step: str, done: int, total: int) -> None:
        nonlocal next_time
        if time.monotonic() >= next_time:
            next_time = time.monotonic() + _PROGRESS_SECONDS
            logs.announce(f"{step}: {100 * done // total} %" if total else step)

    try:
        summary = import_folder(store, folder, passwords.hash_now, report=report, progress=progress)
    except TransferError as error:
        raise StartError(f"the data of the original Nun-db can't be imported: {error}") from None
    if not summary.is_done:
        raise StartError(
            f"not all data of the original Nun-db in {folder} can be read ({summary.losses} problems), so nothing was"
            f" imported and its files are as they were: nun-db import-nundb --dry-run {folder} lists everything, and"
            f" nun-db import-nundb --accept-damage {folder} imports what can be read; then start again"
        )
    for counts in summary.databases:
        if counts.name != ADMIN_DATABASE or counts.keys or counts.users:
            logs.announce(f"imported {counts.name} ({counts.strategy}): {counts.keys} keys, {counts.users} users")
    logs.announce(
        "the import is complete; the server's own data is in data.mdb, and the old files are not used any more"
    )
    return summary
