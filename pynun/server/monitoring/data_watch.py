"""Check every few seconds that the open data file is still in its folder (`pynun.storage.open_files`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from pynun import limits
from pynun.errors import DamageError, StartError

if TYPE_CHECKING:
    from pynun.commit.committer import Committer
    from pynun.server.monitoring.disk_probe import DiskProbe
    from pynun.storage.store import LmdbStore


async def check_data(store: LmdbStore) -> None:
    """The check before a start reports ready. Raises StartError if the data was taken away, and DamageError."""
    why = await trio.to_thread.run_sync(store.why_elsewhere)
    if why is not None:
        raise taken_away(store, why)


def taken_away(store: LmdbStore, why: str) -> StartError:
    """The error for data taken away during the start."""
    return StartError(f"{why} during the start: find out what changes {store.folder}, and start again")


async def watch_data(store: LmdbStore, committer: Committer, disk: DiskProbe) -> None:
    """Return after the data was taken away and the committer was told."""
    while not committer.is_over:
        await trio.sleep(limits.DATA_LOOK_SECONDS)
        await look(store, committer, disk)


async def look(store: LmdbStore, committer: Committer, disk: DiskProbe) -> None:
    """Check once, and tell the committer what is wrong."""
    try:
        why = await disk.ask(store.why_elsewhere)
    except DamageError as damage:
        committer.fail(damage)
    else:
        if why is not None:
            committer.give_up(why)
