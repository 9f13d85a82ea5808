"""The limit on changes a second (NUN_MAX_CHANGES_PER_SECOND).

A session has a token bucket that starts empty and fills up to one second's changes. To start quickly, it may take as
many more, in all, from a bucket shared by all sessions of the same user and network. So neither repeated HTTP
requests nor reconnecting evades the limit.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from pynun import limits
from pynun.protocol import messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.engine.database import Member


class Bucket:
    """A token bucket; a change takes one token."""

    __slots__ = ("_filled_at", "_tokens", "borrowed")

    def __init__(self, tokens: float, now: float) -> None:
        self._tokens = tokens
        self._filled_at = now
        self.borrowed = 0
        """How many tokens its session has taken from the shared bucket."""

    def take(self, per_second: int, now: float) -> bool:
        """Take a token, if there is one."""
        self._tokens = min(per_second, self._tokens + (now - self._filled_at) * per_second)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class ChangeRates:
    """The buckets of one engine."""

    def __init__(self, per_second: int, clock: Callable[[], float], group_of: Callable[[str], str]) -> None:
        """`clock` is monotonic, in seconds; `group_of` maps addresses to networks."""
        self._per_second = per_second
        self._clock = clock
        self._group_of = group_of
        self._shared: OrderedDict[tuple[str, str, str], Bucket] = OrderedDict()

    def __len__(self) -> int:
        """Number of users and networks remembered."""
        return len(self._shared)

    def open(self) -> Bucket:
        """The bucket of a new session."""
        return Bucket(0, self._clock())

    def take(self, session: Member, own: Bucket) -> None:
        """Count a change. Raises Refusal if the session makes too many."""
        now, per_second = self._clock(), self._per_second
        if own.take(per_second, now):
            return
        if own.borrowed >= per_second:
            raise messages.too_many_changes(per_second)
        network = "" if session.peer is None else self._group_of(session.peer.address)
        name = (network, "" if session.database is None else session.database.name, session.user)
        shared = self._shared.get(name)
        if shared is None:
            shared = self._shared[name] = Bucket(per_second, now)
            if len(self._shared) > limits.CHANGE_RATES_MAX:
                self._shared.popitem(last=False)
        self._shared.move_to_end(name)
        if not shared.take(per_second, now):
            raise messages.too_many_changes(per_second)
        own.borrowed += 1
