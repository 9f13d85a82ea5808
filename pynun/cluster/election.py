"""Who owns the engine: one node's part in it, as a state machine. Pure.

The node calls a method for everything that it sees, with the clock's time (`pynun.timestamps.steady_seconds`), does the
actions that the method returns, and calls `tick` when `wake_at` is reached. An action that asks etcd is repeated by the
client; the node tells here how it ended. Actions may be done at the same time, in tasks of their own.

    following -> campaigning -> catching up -> owning -> stepping down -> following

`deadline` guards replies: until then no other node can own the engine, because etcd keeps the lease at least so long.
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.cluster.keys import Owner
    from pynun.cluster.transactions import Campaigned

MARGIN_SECONDS: Final = 0.25
"""The deadline is so long before the end of the lease: for clocks of different speeds, and replies on their way."""

RENEWALS: Final = 4
"""In the time of a lease."""

DELAY_SECONDS: Final = 0.3
"""Candidates wait up to so long, at random, so that mostly only one campaigns."""

DELAY_SECONDS_PER_BATCH: Final = 0.005
DELAY_BEHIND_SECONDS_MAX: Final = 1.0
"""Who is further behind waits longer, because it would have to catch up first."""

PRECEDENCE_SECONDS: Final = 1.0
"""How much later than a named successor the others campaign, and the owner that steps down last of all."""

CLEAN_SECONDS: Final = 4.0
"""A clean end may take so long, also if etcd takes no changes: with all else that a stop does, that is less than the
10 s after which service managers kill. It is more than etcd's elections take."""

RETRY_SECONDS: Final = 0.3
"""After etcd did not answer."""


class Role(enum.Enum):
    """What a node is."""

    FOLLOWING = "following"
    CAMPAIGNING = "campaigning"
    CATCHING_UP = "catching up"
    OWNING = "owning"
    STEPPING_DOWN = "stepping down"


class Grant(NamedTuple):
    """Have a lease granted; then call `granted` or `grant_failed`."""

    seconds: int


class Campaign(NamedTuple):
    """Put the owner's key (`transactions.campaign`); then call `campaigned` or `campaign_failed`."""

    lease: int
    until: float
    """When to give up."""


class Renew(NamedTuple):
    """Renew the lease; then call `renewed` or `renewal_failed`."""

    lease: int
    until: float
    """When to give up."""


class Begin(NamedTuple):
    """Begin the term: open the engine. All batches of earlier terms are applied."""

    term: int


class End(NamedTuple):
    """End the term, which may not have begun; then call `ended`. May come again: clean first, and then not."""

    reason: str
    is_clean: bool
    """Answer what has arrived and commit it. Otherwise send nothing more, close all sessions, forget the engine."""


class Resign(NamedTuple):
    """Name the successor, if there is one (`transactions.name_successor`). Then revoke the lease, as for `Revoke`, even
    if that failed."""

    term: int
    lease: int
    successor: str


class Revoke(NamedTuple):
    """Revoke a lease, and repeat it until etcd answers or the lease's time is over."""

    lease: int
    seconds: int
    """How long the lease can last, so how long it is worth repeating."""


Action = Grant | Campaign | Renew | Begin | End | Resign | Revoke


class Election:
    """One node's part in the election."""

    def __init__(
        self, node: str, lease_seconds: int, random: Callable[[], float], *, has_fast_takeover: bool = True
    ) -> None:
        """`random` gives numbers from 0 to 1. Before it is used, the node must hold its key `live/NODE`: an owner's key
        with its name is then one of its own earlier life."""
        self._node = node
        self._lease_seconds = lease_seconds
        self._random = random
        self._has_fast_takeover = has_fast_takeover
        self.role = Role.FOLLOWING
        self.owner: Owner | None = None
        """The owner as last seen; None: there is none, or `is_owner_known` is false."""
        self.is_owner_known = False
        self.term = 0
        """The number of this node's own newest term; 0 before its first."""
        self.deadline = -math.inf
        """While owner: replies may leave and batches be tried until then. May be read in any thread."""
        self.wake_at = math.inf
        """When to call `tick`."""
        self._may_campaign = False
        self._is_stopped = False
        self._applied = 0
        self._head = 0
        self._owner_term = 0
        self._seen_revision = 0
        self._successor = ""  # whom the last owner named
        self._hand_over_to = ""
        self._has_resigned = False  # as the last owner, so that another goes on
        self._lease = 0
        self._ttl = 0
        self._ends_at = -math.inf  # the lease; `deadline` is this while owner
        self._renew_at = math.inf
        self._is_renewing = False
        self._is_ending_clean = False
        self._end_by = math.inf  # while ending clean
        self._campaign_at = math.inf

    def may_send(self, now: float) -> bool:
        """Whether a reply that was computed before `now` may leave: no other node can have owned the engine since."""
        return now < self.deadline

    # --- what the node sees ------------------------------------------------------------------------------------

    def allow(self, now: float, *, may_campaign: bool) -> None:
        """Whether this node could be owner: its data is complete, its disk has room. At first it may not."""
        self._may_campaign = may_campaign
        if self.role is Role.FOLLOWING:
            self._plan(now)

    def owner_seen(self, now: float, owner: Owner | None, term: int, revision: int) -> list[Action]:
        """The owner's key was read or watched: its value and create revision, or None and 0 if it is gone.

        `revision` is etcd's, from which this is known. Calls may come late and in any order."""
        if revision <= self._seen_revision:
            return []
        self._note_owner(owner, term, revision)
        if self.role is Role.CAMPAIGNING:
            return []  # its transaction tells
        if self.role is Role.FOLLOWING:
            return self._follow(now)
        if owner is not None and term == self.term:
            return []
        return self._lose("another node is the owner" if owner is not None else "the lease is gone")

    def log_seen(self, now: float, applied: int, head: int) -> list[Action]:
        """So far the log is applied here, and so far it reaches as this node knows."""
        self._applied = applied
        self._head = max(self._head, head)
        if self.role is Role.CATCHING_UP:
            return self._begin(now)
        return []

    def owner_gone(self, now: float, lease: int) -> list[Action]:
        """The process of the owner with that lease is gone for certain: its machine refuses connections to its link."""
        if (
            self._has_fast_takeover
            and self.role is Role.FOLLOWING
            and self.owner is not None
            and self.owner.lease == lease
        ):
            return [Revoke(lease, self._lease_seconds)]
        return []

    def tick(self, now: float) -> list[Action]:
        """Time has passed."""
        actions: list[Action] = []
        if self.role is Role.FOLLOWING:
            if now >= self._campaign_at:
                self._campaign_at = math.inf
                self.role = Role.CAMPAIGNING
                actions.append(Grant(self._lease_seconds))
        elif self.role is not Role.CAMPAIGNING:  # a campaign ends by its own deadline
            if now >= self.deadline:
                actions += self._lose("the lease could not be renewed in time")
            elif now >= self._end_by:
                actions += self._lose("etcd has not accepted the last changes in time: they get no answer")
            elif now >= self._renew_at and not self._is_renewing:
                self._is_renewing = True
                actions.append(Renew(self._lease, self.deadline))
        self._set_alarm()
        return actions

    # --- how actions ended -------------------------------------------------------------------------------------

    def granted(self, now: float, sent_at: float, lease: int, seconds: int) -> list[Action]:
        """A lease was granted; the request was first sent at `sent_at`."""
        self._lease, self._ttl = lease, seconds
        self._extend(sent_at)
        if now >= self._ends_at or self._is_stopped:
            return self._give_up(now)
        self._set_alarm()
        return [Campaign(lease, self._ends_at)]

    def grant_failed(self, now: float) -> list[Action]:
        """etcd did not answer, or refused."""
        return self._give_up(now)

    def campaigned(self, now: float, ended: Campaigned) -> list[Action]:
        """The campaign's transaction was answered."""
        if self.role is not Role.CAMPAIGNING:
            return []
        if ended.revision > self._seen_revision:
            self._note_owner(ended.owner, ended.term, ended.revision)
        # What was seen may be newer than the answer: the lease could be gone again.
        has_won = ended.has_won and self.owner is not None and self._owner_term == ended.term
        if not has_won or not self._may_campaign or now >= self._ends_at:
            return self._give_up(now)
        self.deadline = self._ends_at
        self.term = ended.term
        self._head = ended.head or 0
        self.role = Role.CATCHING_UP
        return self._begin(now)

    def campaign_failed(self, now: float) -> list[Action]:
        """etcd did not answer in time, or refused. The key may be there all the same: it goes with the lease."""
        return self._give_up(now) if self.role is Role.CAMPAIGNING else []

    def renewed(self, now: float, sent_at: float, lease: int, seconds: int) -> list[Action]:
        """The lease was renewed for so many seconds, or is gone: 0. The request was first sent at `sent_at`."""
        if lease != self._lease:
            return []
        self._is_renewing = False
        if seconds <= 0:
            return self._lose("the lease is gone")
        if now >= self.deadline:  # an action for that is on its way, or comes now
            return self.tick(now)
        self._ttl = seconds
        self._extend(sent_at)
        self.deadline = self._ends_at
        self._set_alarm()
        return []

    def renewal_failed(self, now: float, lease: int) -> list[Action]:
        """No member answered, or one refused."""
        if lease == self._lease:
            self._is_renewing = False
            self._renew_at = now + RETRY_SECONDS
        return self.tick(now)

    def ended(self, now: float) -> list[Action]:
        """The term is ended: sessions and engine are gone."""
        if self.role is not Role.STEPPING_DOWN:
            return []
        resign = Resign(self.term, self._lease, self._hand_over_to)
        self._hand_over_to = ""
        self._drop_lease()
        self.role = Role.FOLLOWING
        self._plan(now)
        return [resign]

    # --- why a term ends ---------------------------------------------------------------------------------------

    def refused(self, now: float, reason: str) -> list[Action]:
        """A batch was not accepted, or the own data could not take it: the term is over."""
        if self.role in (Role.CATCHING_UP, Role.OWNING, Role.STEPPING_DOWN):
            return self._lose(reason)
        return []

    def hangs(self, now: float, reason: str) -> list[Action]:
        """The own disk does not answer: the end of the term may take long, so another node goes on before it."""
        actions = self.refused(now, reason)
        return [*actions, Revoke(self._lease, self._lease_seconds)] if actions else []

    def hand_over(self, now: float, successor: str = "") -> list[Action]:
        """Let another node be owner: this one, or whichever is furthest."""
        if self.role is not Role.OWNING:
            return []
        self._hand_over_to = successor
        self._has_resigned = True
        return self._end_clean(now, "hand-over")

    def stop(self, now: float) -> list[Action]:
        """End the term, if there is one, and never campaign again."""
        self._is_stopped = True
        if self.role is Role.OWNING:
            return self._end_clean(now, "the server stops")
        if self.role is Role.CATCHING_UP:
            return self._lose("the server stops")
        if self.role is Role.CAMPAIGNING and self._lease:
            return self._give_up(now)
        if self.role is Role.FOLLOWING:
            self._plan(now)
        return []

    # --- within ------------------------------------------------------------------------------------------------

    def _note_owner(self, owner: Owner | None, term: int, revision: int) -> None:
        self._seen_revision = revision
        self.is_owner_known = True
        if owner is not None:
            self._successor = owner.successor
            if term != self._owner_term:
                self._has_resigned = False
        self.owner, self._owner_term = owner, term

    def _follow(self, now: float) -> list[Action]:
        """Do what follows from the owner that was seen."""
        self._plan(now)
        if self.owner is not None and self.owner.node == self._node:
            return [Revoke(self.owner.lease, self._lease_seconds)]  # of an earlier life or term
        return []

    def _plan(self, now: float, wait_seconds: float = 0.0) -> None:
        """Plan a campaign if one is due, or none."""
        if not (self.is_owner_known and self.owner is None and self._may_campaign and not self._is_stopped):
            self._campaign_at = math.inf
        elif self._campaign_at == math.inf:
            self._campaign_at = now + self._delay() + wait_seconds
        self._set_alarm()

    def _delay(self) -> float:
        """How long to wait before a campaign."""
        if self._successor == self._node:
            return 0.0
        behind = max(0, self._head - self._applied)
        delay = self._random() * DELAY_SECONDS + min(behind * DELAY_SECONDS_PER_BATCH, DELAY_BEHIND_SECONDS_MAX)
        if self._successor:
            delay += PRECEDENCE_SECONDS
        if self._has_resigned:
            delay += PRECEDENCE_SECONDS
        return delay

    def _begin(self, now: float) -> list[Action]:
        """Begin the term when all of the log is applied."""
        self._set_alarm()
        if self._applied > self._head:
            return self._lose(f"this node has batch {self._applied}, and etcd has only {self._head}")
        if self._applied < self._head or now >= self.deadline:
            return []
        self.role = Role.OWNING
        return [Begin(self.term)]

    def _extend(self, sent_at: float) -> None:
        """The lease was granted or renewed by a request sent then."""
        self._ends_at = sent_at + self._ttl - MARGIN_SECONDS
        self._renew_at = sent_at + self._ttl / RENEWALS

    def _lose(self, reason: str) -> list[Action]:
        """The term is over: nothing more may be sent."""
        self.deadline = -math.inf
        return self._end(reason, is_clean=False)

    def _end_clean(self, now: float, reason: str) -> list[Action]:
        self._end_by = now + CLEAN_SECONDS
        return self._end(reason, is_clean=True)

    def _end(self, reason: str, *, is_clean: bool) -> list[Action]:
        if self.role is Role.STEPPING_DOWN and not (self._is_ending_clean and not is_clean):
            return []
        self._is_ending_clean = is_clean
        self.role = Role.STEPPING_DOWN
        self._set_alarm()
        return [End(reason, is_clean)]

    def _give_up(self, now: float) -> list[Action]:
        """End a campaign that was not won."""
        lease = self._lease
        self._drop_lease()
        self.role = Role.FOLLOWING
        self._plan(now, RETRY_SECONDS)
        return [Revoke(lease, self._lease_seconds)] if lease else []

    def _drop_lease(self) -> None:
        self.deadline = -math.inf
        self._lease = 0
        self._is_renewing = False
        self._renew_at = self._end_by = math.inf

    def _set_alarm(self) -> None:
        if self.role is Role.FOLLOWING:
            self.wake_at = self._campaign_at
        elif self.role is Role.CAMPAIGNING or self.deadline == -math.inf:
            self.wake_at = math.inf
        else:
            self.wake_at = min(self.deadline, self._end_by, math.inf if self._is_renewing else self._renew_at)
