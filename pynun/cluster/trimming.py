"""The owner removes batches from the log in etcd that the nodes have on their disks."""

from __future__ import annotations

import json
import logging
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from pynun.cluster import transactions
from pynun.cluster.etcd import gateway
from pynun.cluster.etcd.errors import EtcdError, UnreachableError
from pynun.cluster.etcd.gateway import Range, prefix_end, transaction
from pynun.cluster.keys import decode_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from pynun.cluster.etcd.client import Client
    from pynun.cluster.etcd.gateway import RangeAnswer
    from pynun.cluster.keys import Keys

ROUND_SECONDS: Final = 5.0
KEEP_SECONDS: Final = 60.0
"""Batches stay at least so long, and so does all that was there at the beginning of a term."""

PRESSED_BYTES: Final = 256 * 1024 * 1024
"""When etcd uses more of its file, nobody waits for nodes that are away or can't store: they need a copy then."""

BATCHES_AT_ONCE: Final = 5000
"""So that etcd does nothing else for milliseconds at most."""

_COPIES_MIN: Final = 2
_ANSWER_SECONDS: Final = 5.0

_log = logging.getLogger("nun_db")


class Nodes(NamedTuple):
    """What etcd knows of the nodes."""

    synced: dict[str, int]
    """The newest batch on the disk of each."""
    live: set[str]
    """Those that live, and whose data can take batches."""


def trim_until(synced: Mapping[str, int], live: Set[str], newest_old: int, *, is_pressed: bool) -> int:
    """The newest batch that may go, with all before it; 0: none.

    All nodes must have it on their disks, and it must be old enough. If `is_pressed`, only the nodes that are live must
    have it; but at least two, unless there is only one node: one disk alone must not hold what was acknowledged. A
    node that has just begun has not said what it has.
    """
    needed = [number for node, number in synced.items() if not is_pressed or node in live]
    copies = min(_COPIES_MIN, len(synced))
    if not needed or len(needed) < copies or not live <= synced.keys():
        return 0
    return min(newest_old, *needed)


class Trimmer:
    """Trims during one term."""

    def __init__(self, client: Client, keys: Keys, term: int) -> None:
        self._client = client
        self._keys = keys
        self._term = term
        self._heads: deque[tuple[float, int]] = deque()  # when the log ended where
        self._is_pressed = False

    async def run(self) -> None:
        """Trim every few seconds, until cancelled or the term is over."""
        is_owner = True
        while is_owner:
            await trio.sleep(ROUND_SECONDS)
            try:
                is_owner = await self.trim(trio.current_time())
            except (EtcdError, UnreachableError, ValueError) as error:
                _log.debug("the log in etcd was not trimmed: %s", error)

    async def trim(self, now: float) -> bool:
        """Remove what may go; False if this node is not owner any more. Raises EtcdError and UnreachableError."""
        keys = self._keys
        ranges = (
            Range(keys.head),
            Range(keys.log_prefix, keys.log_end, count_max=1, is_keys_only=True),
            Range(keys.member_prefix, prefix_end(keys.member_prefix)),
            Range(keys.live_prefix, prefix_end(keys.live_prefix), is_keys_only=True),
        )
        answer = await self._client.call(transaction((), ranges), _ANSWER_SECONDS)
        head, oldest, members, live = (one for one in answer.answers if one is not None)
        if head.first is None or oldest.first is None:
            return True
        self._heads.append((now, decode_number(head.first.value)))
        newest_old = 0
        while self._heads and self._heads[0][0] <= now - KEEP_SECONDS:
            newest_old = self._heads.popleft()[1]
        if newest_old:
            self._heads.appendleft((now - KEEP_SECONDS, newest_old))  # still as old in the next round
        await self._look_at_size()
        nodes = _nodes(keys, members, live)
        until = trim_until(nodes.synced, nodes.live, newest_old, is_pressed=self._is_pressed)
        first = keys.number_of(oldest.first.key)
        assert first is not None
        while first <= until:
            first = min(first + BATCHES_AT_ONCE, until + 1)
            request = transactions.trim(keys, self._term, first)
            if not (await self._client.call(request, _ANSWER_SECONDS)).succeeded:
                return False
        return True

    async def _look_at_size(self) -> None:
        status = await self._client.call(gateway.status(), _ANSWER_SECONDS)
        was_pressed, self._is_pressed = self._is_pressed, status.used_bytes > PRESSED_BYTES
        if self._is_pressed and not was_pressed:
            _log.warning("etcd holds much: nodes that are away, or can't store, will need a copy of the data to go on")


def _nodes(keys: Keys, members: RangeAnswer, live: RangeAnswer) -> Nodes:
    """Raises ValueError if a node's key can't be read: then nothing must go."""
    synced, failing = {}, set()
    for pair in members.pairs:
        try:
            about, node = json.loads(pair.value), pair.key.removeprefix(keys.member_prefix).decode()
            synced[node] = int(about["synced"])
            if about.get("trouble"):
                failing.add(node)
        except (KeyError, TypeError) as error:
            raise ValueError(f"a node's key can't be read: {error!r}") from None
    return Nodes(synced, {pair.key.removeprefix(keys.live_prefix).decode() for pair in live.pairs} - failing)
