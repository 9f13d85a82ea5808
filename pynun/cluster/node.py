"""One node of a cluster: follows the log, campaigns, and owns the engine for a term.

The nursery of `run` has everything that asks etcd. Either the follower writes the data or a term does, never both.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from pynun import __version__
from pynun.cluster import records
from pynun.cluster.election import Begin, Campaign, Election, End, Grant, Renew, Resign, Revoke
from pynun.cluster.etcd.blocking_client import BlockingClient
from pynun.cluster.etcd.client import Client
from pynun.cluster.etcd.errors import NOT_FOUND, EtcdError, UnreachableError
from pynun.cluster.etcd.gateway import grant, renew, revoke
from pynun.cluster.follower import Follower
from pynun.cluster.keys import Owner
from pynun.cluster.owner_watch import OwnerWatch
from pynun.cluster.presence import QUIET_SECONDS, SIGN_SECONDS, Presence
from pynun.cluster.progress import Progress
from pynun.cluster.replicated_store import OwnershipLostError, ReplicatedStore
from pynun.cluster.transactions import campaign, judge_campaign, name_successor
from pynun.cluster.trimming import Trimmer
from pynun.histogram import Histogram
from pynun.timestamps import steady_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pynun.cluster.election import Action
    from pynun.cluster.etcd.members import Members
    from pynun.cluster.keys import Keys
    from pynun.cluster.link import LinkTls
    from pynun.setting_values import Address
    from pynun.storage.store import LmdbStore

UNREACHED: Final = "the node that owns the data can't be reached"

_TICK_SECONDS_MAX: Final = 0.5
"""The clock of the election may jump ahead of trio's, when a machine was asleep: look at least so often."""

_END_SECONDS: Final = 2.0
"""What is left to tell etcd at a stop may take so long; leases end by themselves."""

_log = logging.getLogger("nun_db")


class Term(Protocol):
    """What serves clients while this node owns the engine."""

    async def run(self, *, task_status: trio.TaskStatus[None] = ...) -> None:
        """Serve until `stop`; then store what is left."""

    def stop(self) -> None:
        """Have `run` return."""


class Maker(Protocol):
    """Makes a term on a store; `is_owner` tells by the clock whether replies may leave."""

    async def __call__(self, store: ReplicatedStore, is_owner: Callable[[], bool]) -> Term: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands in its cluster."""

    keys: Keys
    members: Members
    node: str
    address: Address
    """Of its link, as other nodes reach it."""
    tls: LinkTls | None
    lease_seconds: int
    has_fast_takeover: bool
    live_lease: int
    """Of its key `live/NODE`, which is there."""
    client_address: str
    """HOST:PORT of its TCP listener, which `cluster-state` shows."""


class Node:
    """One node: `run` it once."""

    def __init__(
        self,
        place: Place,
        data: LmdbStore,
        make_term: Maker,
        on_change: Callable[[], None],
        why_unserved: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`on_change` is called when another node became owner, or this one, or none is. `why_unserved` tells why
        clients of this node can't be served by another owner.
        """
        self._place = place
        self._data = data
        self._make_term = make_term
        self._on_change = on_change
        self._why_unserved = why_unserved
        self._election = Election(
            place.node, place.lease_seconds, random.random, has_fast_takeover=place.has_fast_takeover
        )
        self.has_caught_up = trio.Event()
        """Set when this node's data had all that the log had at the start."""
        self.term: Term | None = None
        """While this node owns the engine and serves."""
        self._lease_owner: Owner | None = None  # this node, as it campaigns
        self._batch_client: BlockingClient | None = None  # that of a term
        self._begun = 0  # the number of a term that is to begin
        self._is_in_term = self._is_ending_clean = self._is_stopping = False
        self._following = trio.CancelScope()
        self._owning = trio.CancelScope()
        self._changed = trio.Event()
        self._owner_watch = OwnerWatch(lambda: self.owner, place.tls, place.node, self._owner_gone)
        self._shown: tuple[object, ...] = ()
        self._data_failure: str | None = None
        self._answered_at = steady_seconds()
        self._progress = Progress()
        self.terms = self.lost_terms = 0
        """Of which this node was owner so far; those that ended although it wanted to go on."""
        self.accept_seconds = Histogram()
        """How long etcd took to accept batches."""
        self.presence = Presence(place.keys, place.node, place.live_lease)

    # --- what others ask ---------------------------------------------------------------------------------------

    @property
    def owner(self) -> Owner | None:
        """Another node that owns the engine, as far as this node knows."""
        owner = self._election.owner
        return None if owner is None or owner.node == self._place.node else owner

    def why_not_ready(self) -> str | None:
        """Why this node can't serve clients now; None if it can, itself or by the owner."""
        now = steady_seconds()
        if self._data_failure is not None:
            return f"changes can't be stored: {self._data_failure}"
        if self.term is not None:
            return None
        if now - self._answered_at > QUIET_SECONDS:
            refused = ", because of a certificate: see the log" if self.presence.is_refused else ""
            return f"no quorum: etcd does not answer{refused}"
        if self.owner is None:
            return "no node owns the data now"
        if (why := self._why_unserved()) is not None:
            return why
        if not self._owner_watch.is_linked:
            return UNREACHED
        if self._is_late(now):
            return f"{self._progress.behind} batches behind"
        return None

    def _is_late(self, now: float) -> bool:
        """Whether this node lacks batches that it has known of for long."""
        return self._progress.behind_seconds(now) > QUIET_SECONDS

    def behind(self) -> tuple[int, float]:
        """How many batches this node knows of and lacks, and for how long; the owner lacks none."""
        if self.term is not None:
            return 0, 0.0
        return self._progress.behind, self._progress.behind_seconds(steady_seconds())

    @property
    def answered_at(self) -> float:
        """When etcd last answered, in `steady_seconds`."""
        return self._answered_at

    # --- running -----------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be a node until `stop`.

        Raises StartError if this node's data does not fit the log, TakenAwayError and DamageError, within groups.
        """
        async with Client(self._place.members) as self._client, trio.open_nursery() as self._nursery:
            self._follower = Follower(self._client, self._place.keys, self._data, self)
            self._nursery.start_soon(self._keep_time)
            self._nursery.start_soon(
                self.presence.run, self._client, self._describe, lambda: self.term is not None, self._note_answer
            )
            self._nursery.start_soon(self._owner_watch.run)
            task_status.started()
            while not self._is_stopping:
                if not self._begun:
                    with trio.CancelScope() as self._following:
                        await self._follower.run()
                if self._begun:
                    number, self._begun = self._begun, 0
                    await self._own(number)
            with trio.move_on_after(_END_SECONDS):
                await self._leave()
            self._nursery.cancel_scope.cancel()

    def stop(self) -> None:
        """Have `run` return: an owner answers what has arrived, stores it, and lets another node go on."""
        self._is_stopping = True
        self._do(self._election.stop(steady_seconds()))
        self._following.cancel()

    def hand_over(self, node: str) -> None:
        """Let another node own the engine, soon: the one of that name, or whichever is furthest if it is empty."""
        self._do(self._election.hand_over(steady_seconds(), node))

    def forget(self, node: str, then: Callable[[], None]) -> None:
        """Remove what a node said of itself, for which the log is kept; call `then` at the end, whatever it is."""
        self._nursery.start_soon(self.presence.forget, self._client, node, then)

    async def _leave(self) -> None:
        """Give up the leases that are left, after a stop."""
        if self._lease_owner is not None:
            await self._revoke(self._lease_owner.lease, _END_SECONDS)
        await self._revoke(self.presence.live_lease, _END_SECONDS)

    async def _own(self, number: int) -> None:
        """Own the engine for a term."""
        place, election = self._place, self._election
        self._is_in_term, self._is_ending_clean = True, False
        self.terms += 1
        lost: BaseExceptionGroup[OwnershipLostError] | None = None
        _log.info("this node (%s) owns the data now (term %d, batch %d)", place.node, number, self._data.revision)
        try:
            with BlockingClient(place.members) as client, trio.CancelScope() as self._owning:
                self._batch_client = client
                store = ReplicatedStore(
                    self._data, client, place.keys, number, lambda: election.deadline, self.accept_seconds
                )
                term = await self._make_term(store, self._is_owner)
                async with trio.open_nursery() as meanwhile:
                    meanwhile.start_soon(Trimmer(self._client, place.keys, number).run)
                    meanwhile.start_soon(self._watch_disk, store)
                    async with trio.open_nursery() as nursery:
                        await nursery.start(term.run)
                        if self._is_ending_clean:  # it ended before it served anybody
                            term.stop()
                        else:
                            self.term = term
                            self._note_change()
                    meanwhile.cancel_scope.cancel()
        except* OwnershipLostError as group:
            lost = group
        finally:
            self.term = self._data_failure = self._batch_client = None
            self._is_in_term = False
            self.lost_terms += not self._is_ending_clean
        if lost is not None:
            self._do(election.refused(steady_seconds(), _first_text(lost)))
        self._do(election.ended(steady_seconds()))

    async def _watch_disk(self, store: ReplicatedStore) -> None:
        await store.wait_until_hanging(self._place.lease_seconds)
        self._data_failure = "its disk does not answer"
        self._do(self._election.hangs(steady_seconds(), self._data_failure))

    def _is_owner(self) -> bool:
        return self._election.may_send(steady_seconds())

    # --- what the follower sees --------------------------------------------------------------------------------

    def owner_seen(self, owner: Owner | None, term: int, revision: int) -> None:
        """See `Observer`."""
        self._answered_at = steady_seconds()
        self._do(self._election.owner_seen(steady_seconds(), owner, term, revision))

    def log_seen(self, applied: int, head: int) -> None:
        """See `Observer`."""
        now = steady_seconds()
        if self._progress.note(now, applied, head):
            self.has_caught_up.set()
        self._allow(now)
        if self._is_late(now):
            self._do(self._election.refused(now, "its own data does not get further"))
        self._do(self._election.log_seen(now, applied, head))

    def _allow(self, now: float) -> None:
        may_campaign = self._data_failure is None and self.has_caught_up.is_set() and not self._is_late(now)
        self._election.allow(now, may_campaign=may_campaign)

    def data_failed(self, reason: str | None) -> None:
        """See `Observer`. A node without room must not be owner."""
        if reason is not None:
            _log.error("changes can't be stored (%s): this node falls behind until they can", reason)
        else:
            _log.warning("changes can be stored again")
        self._data_failure = reason
        now = steady_seconds()
        self._allow(now)
        self._do([] if reason is None else self._election.refused(now, f"its own data can't take a batch: {reason}"))

    # --- the election's actions --------------------------------------------------------------------------------

    def _do(self, actions: Iterable[Action]) -> None:
        start_soon = self._nursery.start_soon
        for action in actions:
            match action:
                case Grant(seconds):
                    start_soon(self._grant, seconds)
                case Campaign(lease, until):
                    start_soon(self._campaign, lease, until)
                case Renew(lease, until):
                    start_soon(self._renew, lease, until)
                case Begin(term):
                    self._begun = term
                    self._following.cancel()
                case End(reason, is_clean):
                    self._end(reason, is_clean=is_clean)
                case Resign(term, lease, successor):
                    start_soon(self._resign, term, lease, successor)
                case Revoke(lease, seconds):
                    start_soon(self._revoke, lease, seconds)
        self._note_change()

    def _note_change(self) -> None:
        """Wake who keeps the time, and tell who is owner if that changed."""
        self._changed.set()
        shown = (self.owner, self.term)
        if shown != self._shown:
            self._shown = shown
            self._owner_watch.note_change()
            self._on_change()

    def _owner_gone(self, owner: Owner) -> None:
        self._do(self._election.owner_gone(steady_seconds(), owner.lease))

    async def _grant(self, seconds: int) -> None:
        sent_at = steady_seconds()
        try:
            answer = await self._client.call(grant(seconds), seconds)
        except (EtcdError, UnreachableError) as error:
            _log.warning("no lease to campaign with: %s", error)
            self._do(self._election.grant_failed(steady_seconds()))
        else:
            self._lease_owner = Owner(self._place.node, str(self._place.address), answer.lease)
            self._do(self._election.granted(steady_seconds(), sent_at, answer.lease, answer.seconds))

    async def _campaign(self, lease: int, until: float) -> None:
        owner = self._lease_owner
        if owner is None or owner.lease != lease:
            return
        try:
            answer = await self._client.call(campaign(self._place.keys, owner), until - steady_seconds())
            actions = self._election.campaigned(steady_seconds(), judge_campaign(owner, answer))
        except (EtcdError, UnreachableError, ValueError) as error:
            _log.warning("the campaign failed: %s", error)
            actions = self._election.campaign_failed(steady_seconds())
        self._do(actions)

    async def _renew(self, lease: int, until: float) -> None:
        sent_at = steady_seconds()
        try:
            answer = await self._client.call(renew(lease), until - sent_at)
        except (EtcdError, UnreachableError) as error:
            _log.warning("the lease was not renewed: %s", error)
            self._do(self._election.renewal_failed(steady_seconds(), lease))
        else:
            self._do(self._election.renewed(steady_seconds(), sent_at, lease, answer.seconds))

    def _end(self, reason: str, *, is_clean: bool) -> None:
        if not is_clean and self._batch_client is not None and self._batch_client.trouble is not None:
            reason += f" ({self._batch_client.trouble})"
        _log.log(logging.INFO if is_clean else logging.WARNING, "this node's term as owner ends: %s", reason)
        if not self._is_in_term:
            self._begun = 0
            self._do(self._election.ended(steady_seconds()))
            return
        self._is_ending_clean = is_clean
        term, self.term = self.term, None
        if not is_clean:
            self._owning.cancel()
        elif term is not None:
            term.stop()

    async def _resign(self, term: int, lease: int, successor: str) -> None:
        if successor and self._lease_owner is not None:
            owner = self._lease_owner._replace(successor=successor)
            try:
                await self._client.call(name_successor(self._place.keys, term, owner), SIGN_SECONDS)
            except (EtcdError, UnreachableError) as error:
                _log.debug("the successor was not named: %s", error)
        await self._revoke(lease, self._place.lease_seconds)

    async def _revoke(self, lease: int, seconds: float) -> None:
        try:
            await self._client.call(revoke(lease), seconds)
        except UnreachableError as error:
            _log.debug("a lease was not revoked: %s", error)
        except EtcdError as error:
            if error.code != NOT_FOUND:
                _log.warning("a lease can't be revoked: %s", error)

    async def _keep_time(self) -> None:
        while True:
            self._changed = trio.Event()
            rest = self._election.wake_at - steady_seconds()
            if rest <= 0:
                self._do(self._election.tick(steady_seconds()))
                await trio.lowlevel.checkpoint()
                continue
            with trio.move_on_after(min(rest, _TICK_SECONDS_MAX)):
                await self._changed.wait()

    # --- signs of life -----------------------------------------------------------------------------------------

    def _describe(self) -> dict[str, Any]:
        """What the others should know of this node."""
        return {
            "address": str(self._place.address),
            "version": __version__,
            "format": records.FORMAT,
            "applied": self._data.revision,
            "synced": self._data.revision,
            "trouble": self._data_failure or "",
            "unready": self.why_not_ready() or "",
            "clients": self._place.client_address,
        }

    def _note_answer(self) -> None:
        self._answered_at = steady_seconds()


def _first_text(group: BaseExceptionGroup[OwnershipLostError]) -> str:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first)
