"""Says each second that a node lives and how it is, and keeps what all nodes say."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import trio

from pynun.cluster import overview
from pynun.cluster.etcd.errors import EtcdError, UnreachableError
from pynun.cluster.etcd.gateway import Delete, Put, transaction
from pynun.cluster.joining import LIVE_SECONDS, keep_name
from pynun.errors import StartError
from pynun.timestamps import steady_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pynun.cluster.etcd.client import Client
    from pynun.cluster.keys import Keys
    from pynun.cluster.overview import NodeState

SIGN_SECONDS: Final = 1.0
"""How often; it keeps the watches of all nodes from falling silent."""

_ANSWER_SECONDS: Final = 2.0
"""A try may take so long: the name is kept in between."""

QUIET_SECONDS: Final = 3.0
"""etcd may be without an answer for so long before this node counts as not ready."""

_CERTIFICATE: Final = "certificate"
_SPACE_IS_USED_UP: Final = "database space exceeded"

_log = logging.getLogger("nun_db")


class Presence:
    """Of one node."""

    def __init__(self, keys: Keys, node: str, live_lease: int) -> None:
        """`live_lease` is that of the key `live/NODE`, which is there."""
        self._keys = keys
        self._node = node
        self.live_lease = live_lease
        """It may be a new one later."""
        self.nodes: list[NodeState] = []
        """All nodes, a second ago; at first none is known."""
        self.answered_at = steady_seconds()
        """When etcd told that."""
        self.is_full = False
        """Whether etcd takes no changes, because its disk is full or its quota used up."""
        self.is_refused = False
        """Whether etcd can't be asked because of a certificate, its own or this node's."""
        self._is_told = False

    async def run(
        self,
        client: Client,
        describe: Callable[[], Mapping[str, Any]],
        is_owner: Callable[[], bool],
        on_answer: Callable[[], None],
    ) -> None:
        """Until cancelled. `describe` says what else others should know; `on_answer` is called when etcd answers."""
        keys, was_owner, since = self._keys, False, time.time()
        while True:
            due = trio.current_time() + SIGN_SECONDS
            if was_owner != is_owner():
                was_owner, since = not was_owner, time.time()
            about = json.dumps({**describe(), "since": round(since)}).encode()
            sign = Put(keys.member(self._node), about)
            try:
                self.live_lease = await keep_name(client, keys, self._node, self.live_lease)
                answer = await client.call(transaction((), (sign, *overview.ranges(keys))), _ANSWER_SECONDS)
                with contextlib.suppress(StartError, KeyError, TypeError, ValueError):  # the follower tells
                    self.nodes = overview.judge(keys, answer.answers).nodes
                self.answered_at = steady_seconds()
                self.is_full = self.is_refused = False
                if self._is_told:
                    self._is_told = False
                    _log.info("etcd answers again")
                on_answer()
            except (EtcdError, UnreachableError) as error:
                self.is_full = self.is_full or _SPACE_IS_USED_UP in str(error)
                self.is_refused = _CERTIFICATE in str(error)
                _log.debug("no sign of life: %s", error)
                if not self._is_told and steady_seconds() - self.answered_at > QUIET_SECONDS:
                    self._is_told = True
                    _log.warning("this node can't show etcd a sign of life: %s", error)
            await trio.sleep_until(due)

    def summary(self) -> dict[str, Any]:
        """What `nun-db status` shows of this node and its cluster."""
        own = next((one for one in self.nodes if one.node == self._node), None)
        owner = next((one for one in self.nodes if one.role == overview.OWNER), None)
        roles = [one.role for one in self.nodes]
        return {
            "node": self._node,
            "role": None if own is None else own.role,
            "since": None if own is None else own.since,
            "behind": None if own is None else own.behind,
            "owner": None if owner is None else owner.node,
            "owner_since": None if owner is None else owner.since,
            "following": roles.count(overview.FOLLOWING),
            "away": roles.count(overview.AWAY),
            "etcd_answered_seconds_ago": round(steady_seconds() - self.answered_at, 1),
        }

    async def forget(self, client: Client, node: str, then: Callable[[], None]) -> None:
        """Remove what a node said of itself, for which the log is kept; call `then` at the end, whatever it is."""
        try:
            await client.call(transaction((), (Delete(self._keys.member(node)),)), LIVE_SECONDS)
            self.nodes = [one for one in self.nodes if one.node != node]
        except (EtcdError, UnreachableError) as error:
            _log.warning("the node %s was not removed: %s", node, error)
        finally:
            then()
