"""Whether the data is still where the server has it open (`pynun.storage.open_files`): looked at every few seconds."""

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
    """Before a start is called ready. Raises StartError if the data is not there any more, and DamageError."""
    why = await trio.to_thread.run_sync(store.files.look)
    if why is not None:
        raise taken_away(store, why)


def taken_away(store: LmdbStore, why: str) -> StartError:
    """What to raise when the data is taken away during the start."""
    return StartError(f"{why} during the start: find out who cleans or changes {store.folder}, and start again")


async def watch_data(store: LmdbStore, committer: Committer, disk: DiskProbe) -> None:
    """Return when the data is not where it belongs any more, and the committer knows it."""
    while not committer.is_over:
        await trio.sleep(limits.DATA_LOOK_SECONDS)
        await look(store, committer, disk)


async def look(store: LmdbStore, committer: Committer, disk: DiskProbe) -> None:
    """Look once, and tell the committer what is wrong."""
    try:
        why = await disk.ask(store.files.look)
    except DamageError as damage:
        committer.fail(damage)
    else:
        if why is not None:
            committer.give_up(why)
