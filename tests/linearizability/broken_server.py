"""The server with one protection taken out, to show that the histories tell: run as the wrapper of a server's command.

`python -m tests.linearizability.broken_server BREAKAGE PYTHON -m pynun ARGUMENTS…`. The breakages:

- `blind-to-changes`: a command reads what is on disk, not what was changed and not yet written. A change is then
  acknowledged before those who come after it see it.
- `no-deadline`: a node of a cluster answers while it believes to be owner, whatever the time.
- `no-compare`: it adds its batches to the log in etcd whether or not it is owner, or the log ends elsewhere.
- `early-reply`: it acknowledges a batch that etcd has not accepted yet.
- `late-watch`: it watches etcd from a second after it has read who is owner.
"""

from __future__ import annotations

import contextlib
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from pynun.cli.main import main
from pynun.cluster import replicated_store
from pynun.cluster.election import Election, Role
from pynun.cluster.etcd.gateway import Put, Range, transaction
from pynun.cluster.follower import Follower
from pynun.cluster.keys import encode_number
from pynun.cluster.replicated_store import OwnershipLostError, ReplicatedStore
from pynun.engine.overlay import View

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.cluster.etcd.gateway import Request, TransactionAnswer
    from pynun.cluster.keys import Keys
    from pynun.engine.overlay import Batch, Entry


def _read_from_disk(self: View, key: bytes) -> Entry | None:
    if key in self.volatile:
        return self.volatile[key]
    return self.store.get(key)


def _may_send(self: Election, _now: float) -> bool:
    return self.role is Role.OWNING


def _append(keys: Keys, _term: int, number: int, value: bytes) -> Request[TransactionAnswer]:
    return transaction((), (Put(keys.log(number), value), Put(keys.head, encode_number(number))))


_LATER: Final = ThreadPoolExecutor(1)


def _log_early(self: ReplicatedStore, batch: Batch, operations: int, *, is_rescue: bool = False) -> None:
    def have_accepted() -> None:
        with contextlib.suppress(OwnershipLostError):
            self._have_accepted(batch, operations)

    self._data.log(batch, operations, is_rescue=is_rescue)
    _LATER.submit(have_accepted)


async def _watch_late(self: Follower, _revision: int) -> None:
    await trio.sleep(1)
    answer = await self._client.call(transaction((), (Range(self._keys.head),)), 5)
    await _WATCH(self, answer.revision + 1)


_WATCH: Final = Follower._watch

BREAKAGES: Final[dict[str, Callable[[], Any]]] = {
    "blind-to-changes": partial(setattr, View, "read", _read_from_disk),
    "no-deadline": partial(setattr, Election, "may_send", _may_send),
    "no-compare": partial(setattr, replicated_store, "append", _append),
    "early-reply": partial(setattr, ReplicatedStore, "log", _log_early),
    "late-watch": partial(setattr, Follower, "_watch", _watch_late),
}


def _run() -> None:
    breakage, _python, _m, _pynun, *arguments = sys.argv[1:]
    BREAKAGES[breakage]()
    sys.argv = ["nun-db", *arguments]
    main()


if __name__ == "__main__":
    _run()
