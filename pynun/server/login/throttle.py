"""Slow down who guesses passwords: a leaky bucket per client network and one per account.

docs/security.md, "Guessing", has the promises. A secret that was verified before (`is_verified`) does not wait: the
engine does not ask for it. Every other attempt to log in, on any transport, passes both its buckets:

- Failures fill a bucket, and one leaks out every `LOGIN_RECOVERY_SECONDS`. While it has room, nobody waits. Once it is
  full, attempts pass one at a time, 1 s after the last failure, then 2, 4, … s, up to a maximum.
- An attempt counts as a failure while it is checked, so parallel attempts gain nothing. It waits before the check, so
  waiting costs neither memory nor CPU time. A success takes nothing out, else one's own account would serve to guess
  all others.
- Attempts of one network pass in order of arrival. Only a limited number may wait, and who disconnects loses its place.
- An account's bucket delays only networks that failed themselves, those with few failures for seconds only, and holds
  more than the bucket of one network ever does. So guessers at many networks are slowed together, and lock nobody out.
- Verified secrets do not wait, so a guesser could take any wait as "wrong", hang up and try the next. Therefore, once
  the attempts of a network that failed, wait or left would fill its bucket, only secrets verified from there skip the
  wait; and none do while several attempts wait or have left unchecked.
- Unknown names have buckets too, so a delay does not reveal which names exist.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import trio

from pynun import limits
from pynun.engine.effects import VerifySecret
from pynun.server.accepting.client_networks import client_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.engine.effects import Answer, Need
    from pynun.engine.peer import Attempt
    from pynun.server.login.passwords import Passwords

_log = logging.getLogger("nun_db")

_ACCOUNT_TIMES: Final = 2
"""The bucket of an account holds so many times what that of a network does: one guesser alone does not fill it."""

_MISTYPED_MAX: Final = 3
"""A network with fewer failures most likely mistyped: it waits for an account's bucket only for a short time, and so
comes before guessers."""

_MISTYPED_DELAY_SECONDS_MAX: Final = 6.0

_FAILED_SECONDS: Final = 3600.0
"""For this long after a failure, a network waits for the buckets of accounts."""

_UNCHECKED_MAX: Final = 3
"""Attempts of one network that wait, or recently left unchecked, before verified secrets wait too."""


@dataclass(slots=True)
class _Level:
    """A count that falls by one every `LOGIN_RECOVERY_SECONDS`."""

    number: float = 0.0
    updated_at: float = -math.inf
    """When it last grew; `number` is of then."""

    def count(self, now: float) -> float:
        return max(0.0, self.number - (now - self.updated_at) / limits.LOGIN_RECOVERY_SECONDS)

    def grow(self, now: float, most: int) -> None:
        self.number, self.updated_at = min(self.count(now) + 1, most), now


@dataclass(slots=True, eq=False)
class _Waiting:
    """An attempt that waits for its turn."""

    fingerprint: bytes | None
    """Of hash and secret; None if the name is unknown and so has no hash."""
    answer: bool | None = None
    """Given to it without a check."""
    woken: trio.Event = field(default_factory=trio.Event)


@dataclass(slots=True, eq=False)
class _Bucket:
    """The failures of one network or account, and its attempts."""

    failures: _Level = field(default_factory=_Level)
    left: _Level = field(default_factory=_Level)
    """Attempts that ended unchecked; of a network only."""
    checking: int = 0
    line: dict[_Waiting, None] = field(default_factory=dict)
    """Attempts that wait, in order of arrival."""

    def level(self, now: float) -> float:
        return self.failures.count(now) + self.checking

    def seconds_to_wait(self, now: float, burst: int, longest: float) -> float:
        """Seconds until the next attempt may be checked; infinite while others must end first."""
        if round(self.level(now)) < burst:  # ten failures within seconds are 9.9
            return 0.0
        if self.checking:
            return math.inf
        # By the count at the last failure: a wait does not get shorter while it lasts.
        return self.failures.updated_at + min(longest, 2.0 ** max(0, round(self.failures.number) - burst)) - now

    def wake(self, most: int | None = None) -> None:
        for waiting in itertools.islice(self.line, most):
            waiting.woken.set()


class _Buckets(OrderedDict["str | bytes", _Bucket]):
    """Buckets by name. When there are too many, the least recently used go."""

    def take(self, name: str | bytes) -> _Bucket:
        bucket = self[name] = self.pop(name) if name in self else _Bucket()
        if len(self) > limits.LOGIN_BUCKETS_MAX:  # at most one per connection is busy, so an idle one is found soon
            del self[next((name for name, one in self.items() if not (one.checking or one.line)), name)]
        return bucket

    def tidy(self, name: str | bytes, bucket: _Bucket) -> None:
        """Forget a bucket that nothing went into."""
        is_blank = not (bucket.checking or bucket.line or bucket.failures.number or bucket.left.number)
        if is_blank and self.get(name) is bucket:
            del self[name]


class LoginThrottle:
    """Resolves the engine's needs; makes guessers wait before it passes their attempts to `Passwords`."""

    def __init__(
        self,
        passwords: Passwords,
        *,
        burst: int,
        delay_seconds_max: float,
        on_slowed: Callable[[str], None] = lambda _address: None,
    ) -> None:
        """`on_slowed` is called with an address when its failures reach the burst."""
        self._passwords = passwords
        self.hash_limit = passwords.hash_limit
        self._burst = burst
        self._delay_seconds_max = delay_seconds_max
        self._failures_max = burst + math.ceil(math.log2(delay_seconds_max)) + 1  # more would only last longer
        self._account_burst = _ACCOUNT_TIMES * self._failures_max
        self._on_slowed = on_slowed
        self._networks = _Buckets()
        self._accounts = _Buckets()
        self._known: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        """Pairs of network and fingerprint: secrets verified from there."""
        self._is_stopped = False

    @property
    def buckets(self) -> int:
        """How many networks and accounts are remembered."""
        return len(self._networks) + len(self._accounts)

    async def answer(self, need: Need) -> Answer:
        """Answer a need of the engine; a login attempt waits first if it must."""
        if isinstance(need, VerifySecret) and need.attempt is not None:
            return await self._check(need, need.attempt)
        return await self._passwords.answer(need)

    def is_verified(self, hash_text: str, secret: str, attempt: Attempt | None) -> bool:
        """True if the secret was verified before and may skip the wait."""
        fingerprint = self._passwords.fingerprint(hash_text, secret)
        if not self._passwords.is_remembered(fingerprint):
            return False
        if attempt is None:
            return True
        name = client_network(attempt.address)
        network = self._networks.get(name)
        if network is not None:
            now = trio.current_time()
            unchecked = len(network.line) + network.left.count(now)
            is_pressed = round(network.level(now) + unchecked) >= self._burst
            if round(unchecked) >= _UNCHECKED_MAX or (is_pressed and (name, fingerprint) not in self._known):
                return False
        self._remember(name, fingerprint)
        return True

    def stop(self) -> None:
        """End all waits, because the server stops: these attempts are rejected as wrong."""
        self._is_stopped = True
        for network in self._networks.values():
            network.wake()

    def _remember(self, name: str, fingerprint: bytes) -> None:
        pair = name, fingerprint
        self._known[pair] = None
        self._known.move_to_end(pair)
        if len(self._known) > limits.VERIFIED_SECRETS_MAX:
            self._known.popitem(last=False)

    async def _check(self, need: VerifySecret, attempt: Attempt) -> bool:
        name = client_network(attempt.address)
        # A name may be as long as a message, so keep its digest.
        account_name = hashlib.blake2b(attempt.account.encode(), digest_size=16).digest()
        network, account = self._networks.take(name), self._accounts.take(account_name)
        mine = _Waiting(None if need.hash is None else self._passwords.fingerprint(need.hash, need.secret))
        unchecked: bool | None = False
        try:
            unchecked = await self._wait_for_turn(mine, attempt, network, account)
            if unchecked is not None:
                return unchecked
            is_right = await self._check_now(need, mine, attempt, network, account)
            if is_right and mine.fingerprint is not None:
                self._remember(name, mine.fingerprint)
            return is_right
        finally:
            if unchecked is False:  # or cancelled
                network.left.grow(trio.current_time(), self._burst + _UNCHECKED_MAX)
            self._networks.tidy(name, network)
            self._accounts.tidy(account_name, account)

    async def _wait_for_turn(self, mine: _Waiting, attempt: Attempt, network: _Bucket, account: _Bucket) -> bool | None:
        """Wait until the attempt may be checked, and count it as such; or until it has its answer without a check."""
        if self._is_slowed(network, trio.current_time()) and len(network.line) >= limits.LOGIN_TRIES_WAITING_MAX:
            return False
        network.line[mine] = None
        try:
            while mine.answer is None:
                now, seconds = trio.current_time(), math.inf
                if next(iter(network.line)) is mine:
                    account.line[mine] = None
                    seconds = self._seconds_to_wait(network, account, now)
                if seconds <= 0:
                    network.checking += 1
                    account.checking += 1
                    return None
                must_wait = seconds < math.inf or self._is_slowed(network, now)  # not just until others are checked
                if attempt.is_gone() or (self._is_stopped and must_wait):
                    return False
                mine.woken = trio.Event()
                with trio.move_on_after(min(seconds, limits.LOGIN_LOOK_SECONDS)):
                    await mine.woken.wait()
            return mine.answer
        finally:
            account.line.pop(mine, None)
            del network.line[mine]
            network.wake(1)

    def _seconds_to_wait(self, network: _Bucket, account: _Bucket, now: float) -> float:
        seconds = network.seconds_to_wait(now, self._burst, self._delay_seconds_max)
        if network.checking or now - network.failures.updated_at < _FAILED_SECONDS:
            is_mistyped = round(network.level(now)) < _MISTYPED_MAX
            longest = _MISTYPED_DELAY_SECONDS_MAX if is_mistyped else self._delay_seconds_max
            seconds = max(seconds, account.seconds_to_wait(now, self._account_burst, longest))
        return seconds

    async def _check_now(
        self, need: VerifySecret, mine: _Waiting, attempt: Attempt, network: _Bucket, account: _Bucket
    ) -> bool:
        is_right: Answer = None
        try:
            # A verified secret that had to wait has no further cost.
            is_known = mine.fingerprint is not None and self._passwords.is_remembered(mine.fingerprint)
            is_right = is_known or await self._passwords.answer(need)
            return is_right is True
        finally:
            network.checking -= 1
            account.checking -= 1
            if is_right is not True:  # also cancelled
                self._count_failure(network, account, attempt.address)
            for waiting in network.line if is_right is True else ():  # with the same secret: they need no check
                if waiting.fingerprint == mine.fingerprint:
                    waiting.answer = True
                    waiting.woken.set()
            network.wake(1)
            account.wake()

    def _count_failure(self, network: _Bucket, account: _Bucket, address: str) -> None:
        now = trio.current_time()
        was_slowed = self._is_slowed(network, now)
        network.failures.grow(now, self._failures_max)
        account.failures.grow(now, self._account_burst + self._failures_max - self._burst)
        if not self._is_slowed(network, now):
            return
        for waiting in itertools.islice(network.line, limits.LOGIN_TRIES_WAITING_MAX, None):
            waiting.answer = False
            waiting.woken.set()
        if not was_slowed:
            _log.warning("wrong passwords or tokens from %s: its next tries must wait", address)
            self._on_slowed(address)

    def _is_slowed(self, network: _Bucket, now: float) -> bool:
        return round(network.failures.count(now)) >= self._burst
