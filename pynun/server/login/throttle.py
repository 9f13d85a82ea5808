"""Wrong secrets make the next tries wait, by address and by account (docs/security.md, "Guessing").

A secret that was verified before (`is_verified`) does not wait: the engine does not ask for it. Every other login
attempt, on any transport, passes the bucket of its address and that of its account. A bucket counts failures and
forgets one every `LOGIN_RECOVERY_SECONDS`. Below the burst nobody waits. From there on attempts pass one at a time,
delayed after the last failure by 1 s, 2, 4, … up to the maximum.

- Attempts of one address pass in order of arrival. Only a limited number may wait per address. Further ones are
  rejected at once, unchecked. A client that disconnects loses its place.
- An account's bucket must not lock out its owner. An address with few failures (a newcomer) waits for it only once the
  failures are several times the burst, and then only seconds. One guesser can't cause that, because its own address
  makes it wait first. All other addresses that try the account share its delay as if they were one guesser.
- An attempt counts as a failure while it is checked, so parallel attempts gain nothing. It waits before the check, so
  waiting costs neither memory nor CPU time.
- Verified secrets do not wait, so a guesser could take any wait as "wrong", hang up and try the next. Therefore, once a
  burst of attempts from an address fail, wait or leave, only secrets verified from that same address skip the wait; and
  none do while several of its attempts wait or have left unchecked.
- A success does not reset failures, else the owner of one account could guess all others.
- Names that do not exist have buckets too, so a delay does not reveal which names exist.
"""

from __future__ import annotations

import enum
import hashlib
import logging
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import trio

from pynun import limits
from pynun.engine.effects import VerifySecret
from pynun.server.accepting.client_networks import client_network
from pynun.transports.service import Resolver

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.engine.effects import Answer, Need
    from pynun.engine.peer import Attempt
    from pynun.engine.secret_hashes import HashLimit

_log = logging.getLogger("nun_db")

_NEWCOMER_FAILURES_MAX: Final = 3
"""An address with fewer failures is a newcomer, who most likely mistyped."""
_NEWCOMER_BURSTS: Final = 3
_NEWCOMER_DELAY_SECONDS_MAX: Final = 6.0

_UNCHECKED_MAX: Final = 3
"""Attempts of one address that wait, or recently left unchecked, before verified secrets wait too."""

_HALF: Final = 0.5
"""Failures fade from the moment they happen: ten within seconds are 9.9 and must count as ten."""


class Checker(Resolver, Protocol):
    """Checks secrets: `Passwords`."""

    @property
    def hash_limit(self) -> HashLimit:
        """The highest cost a hash may have to be checked."""

    def fingerprint(self, hash_text: str, secret: str) -> bytes:
        """A keyed digest of a hash and its secret; reveals neither."""

    def is_remembered(self, fingerprint: bytes) -> bool:
        """True if the pair with this fingerprint was verified before."""


class _Turn(enum.Enum):
    """How a wait ended."""

    CHECK = enum.auto()
    """The attempt may be checked now."""
    KNOWN = enum.auto()
    """Another attempt with the same secret, from the same address, succeeded meanwhile."""
    REFUSED = enum.auto()
    """Too many wait, the client left, or the server stops."""


class _WaitingAttempt:
    """An attempt that waits for its turn."""

    __slots__ = ("fingerprint", "is_known", "is_refused", "moved")

    def __init__(self, fingerprint: bytes | None) -> None:
        self.fingerprint = fingerprint
        """Of hash and secret; None if the name is unknown and so has no hash."""
        self.moved = trio.Event()
        self.is_known = False
        self.is_refused = False


@dataclass(slots=True)
class _DecayingCount:
    """A count that falls by one every `LOGIN_RECOVERY_SECONDS`."""

    number: float = 0.0
    """The value at `updated_at`."""
    updated_at: float = -math.inf

    def value(self, now: float) -> float:
        return max(0.0, self.number - (now - self.updated_at) / limits.LOGIN_RECOVERY_SECONDS)

    def grow(self, now: float, most: float) -> None:
        self.number = min(self.value(now) + 1, most)
        self.updated_at = now


@dataclass(slots=True, eq=False)
class _Bucket:
    """The failures of one address or account, and the attempts that run or wait."""

    failures: _DecayingCount = field(default_factory=_DecayingCount)
    left: _DecayingCount = field(default_factory=_DecayingCount)
    """Attempts that ended unchecked; of an address only."""
    running: int = 0
    waiting: dict[_WaitingAttempt, None] = field(default_factory=dict)
    """In order of arrival."""

    def failures_at(self, now: float) -> float:
        return self.failures.value(now)

    def unchecked_at(self, now: float) -> float:
        return len(self.waiting) + self.left.value(now)

    def seconds_to_wait(self, now: float, burst: int, delay_seconds_max: float) -> float:
        """Seconds until the next attempt may be checked; infinite while one that is running must end first."""
        if self.failures_at(now) + self.running < burst - _HALF:
            return 0.0
        if self.running:
            return math.inf
        # By the count at the last failure: a wait does not get shorter while it lasts.
        delay_seconds = min(delay_seconds_max, 2.0 ** max(0, math.floor(self.failures.number - burst + _HALF)))
        return max(0.0, self.failures.updated_at + delay_seconds - now)

    def wake_first(self) -> None:
        for waiting in self.waiting:
            waiting.moved.set()
            break

    def wake_all(self) -> None:
        for waiting in self.waiting:
            waiting.moved.set()

    @property
    def is_busy(self) -> bool:
        return bool(self.running or self.waiting)


class _Buckets:
    """Buckets by name. When there are too many, the least recently used go."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str | bytes, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def find(self, name: str | bytes) -> _Bucket | None:
        return self._buckets.get(name)

    def get(self, name: str | bytes) -> _Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket()
            if len(self._buckets) > limits.LOGIN_BUCKETS_MAX:
                self._forget_one()
        else:
            self._buckets.move_to_end(name)
        return bucket

    def _forget_one(self) -> None:
        """At most one bucket per connection is busy, so an idle one is found soon."""
        for name, bucket in self._buckets.items():
            if not bucket.is_busy:
                del self._buckets[name]
                return

    def tidy(self, name: str | bytes, bucket: _Bucket, now: float) -> None:
        """Forget a bucket that has become empty."""
        is_blank = not (bucket.is_busy or bucket.failures.value(now) or bucket.left.value(now))
        if is_blank and self._buckets.get(name) is bucket:
            del self._buckets[name]


class LoginThrottle:
    """Resolves the engine's needs; makes guessers wait before it passes their attempts to `Passwords`."""

    def __init__(
        self,
        passwords: Checker,
        *,
        burst: int,
        delay_seconds_max: float,
        on_slowed: Callable[[str], None] = lambda _address: None,
    ) -> None:
        """`on_slowed` is called with an address when its failures reach the burst."""
        self._passwords = passwords
        self._burst = burst
        self._delay_seconds_max = delay_seconds_max
        self._failures_max = burst + math.ceil(math.log2(delay_seconds_max)) + 1  # more would only last longer
        self._on_slowed = on_slowed
        self._addresses = _Buckets()
        self._accounts = _Buckets()
        self._known: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        """Pairs of address and fingerprint: secrets verified from there."""
        self._waiting: set[_WaitingAttempt] = set()
        self._is_stopped = False

    @property
    def hash_limit(self) -> HashLimit:
        return self._passwords.hash_limit

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
        network = client_network(attempt.address)
        known = (network, fingerprint)
        address = self._addresses.find(network)
        if address is not None:
            now = trio.current_time()
            unchecked = address.unchecked_at(now)
            is_pressed = address.failures.value(now) + address.running + unchecked > self._burst - _HALF
            if unchecked > _UNCHECKED_MAX - _HALF or (is_pressed and known not in self._known):
                return False
        self._remember(known)
        return True

    def _remember(self, known: tuple[str, bytes]) -> None:
        if known in self._known:
            self._known.move_to_end(known)
            return
        self._known[known] = None
        if len(self._known) > limits.VERIFIED_SECRETS_MAX:
            self._known.popitem(last=False)

    def stop(self) -> None:
        """End all waits, because the server stops: these attempts are rejected as wrong."""
        self._is_stopped = True
        for waiting in self._waiting:
            waiting.moved.set()

    @property
    def waiting(self) -> int:
        """How many attempts wait."""
        return len(self._waiting)

    @property
    def buckets(self) -> int:
        """How many addresses and accounts are remembered."""
        return len(self._addresses) + len(self._accounts)

    async def _check(self, need: VerifySecret, attempt: Attempt) -> bool:
        network = client_network(attempt.address)
        # A name may be as long as a message, so keep its digest.
        account_name = hashlib.blake2b(attempt.account.encode(), digest_size=16).digest()
        address, account = self._addresses.get(network), self._accounts.get(account_name)
        fingerprint = None if need.hash is None else self._passwords.fingerprint(need.hash, need.secret)
        turn = _Turn.REFUSED
        try:
            turn = await self._wait_for_turn(_WaitingAttempt(fingerprint), attempt, address, account)
            match turn:
                case _Turn.KNOWN:
                    return True
                case _Turn.REFUSED:
                    return False
                case _Turn.CHECK:
                    is_right = await self._check_now(need, fingerprint, attempt, address, account)
                    if is_right and fingerprint is not None:
                        self._let_in(network, address, fingerprint)
                    return is_right
        finally:
            now = trio.current_time()
            if turn is _Turn.REFUSED:  # or cancelled
                address.left.grow(now, self._burst + _UNCHECKED_MAX)
            self._addresses.tidy(network, address, now)
            self._accounts.tidy(account_name, account, now)

    def _let_in(self, network: str, address: _Bucket, fingerprint: bytes) -> None:
        """End the waits of attempts with the same secret from the same address."""
        self._remember((network, fingerprint))
        for waiting in address.waiting:
            if waiting.fingerprint == fingerprint:
                waiting.is_known = True
                waiting.moved.set()

    async def _check_now(
        self, need: VerifySecret, fingerprint: bytes | None, attempt: Attempt, address: _Bucket, account: _Bucket
    ) -> bool:
        """Check the secret. Both buckets count the attempt as running already."""
        is_right: Answer = None
        try:
            # A verified secret that had to wait has no further cost.
            is_known = fingerprint is not None and self._passwords.is_remembered(fingerprint)
            is_right = is_known or await self._passwords.answer(need)
            return is_right is True
        finally:
            address.running -= 1
            account.running -= 1
            now = trio.current_time()
            if is_right is not True:  # also cancelled
                self._count_failure(address, account, attempt, now)
            address.wake_first()
            account.wake_all()

    def _count_failure(self, address: _Bucket, account: _Bucket, attempt: Attempt, now: float) -> None:
        was_slowed = self._is_slowed(address, now)
        for bucket in (address, account):
            bucket.failures.grow(
                now, self._failures_max if bucket is address else self._failures_max + self._newcomer_burst
            )
        if not self._is_slowed(address, now):
            return
        while len(address.waiting) > limits.LOGIN_TRIES_WAITING_MAX:
            last, _ = address.waiting.popitem()
            last.is_refused = True
            last.moved.set()
        if not was_slowed:
            _log.warning("wrong passwords or tokens from %s: its next tries have to wait", attempt.address)
            self._on_slowed(attempt.address)

    def _is_slowed(self, address: _Bucket, now: float) -> bool:
        return address.failures_at(now) > self._burst - _HALF

    @property
    def _newcomer_burst(self) -> int:
        return _NEWCOMER_BURSTS * self._burst

    async def _wait_for_turn(
        self, mine: _WaitingAttempt, attempt: Attempt, address: _Bucket, account: _Bucket
    ) -> _Turn:
        """Wait until the attempt may be checked and count it as running, or until it need not be checked."""
        if self._is_slowed(address, trio.current_time()) and len(address.waiting) >= limits.LOGIN_TRIES_WAITING_MAX:
            return _Turn.REFUSED
        address.waiting[mine] = None
        self._waiting.add(mine)
        try:
            while not mine.is_refused:
                if mine.is_known:
                    return _Turn.KNOWN
                now = trio.current_time()
                seconds = math.inf
                if next(iter(address.waiting)) is mine:
                    account.waiting[mine] = None
                    seconds = self._seconds_to_wait(address, account, now)
                if seconds <= 0:
                    address.running += 1
                    account.running += 1
                    return _Turn.CHECK
                if attempt.is_gone():
                    return _Turn.REFUSED
                if self._is_stopped and (seconds < math.inf or self._is_slowed(address, now)):
                    return _Turn.REFUSED
                with trio.move_on_after(min(seconds, limits.LOGIN_LOOK_SECONDS)):
                    await mine.moved.wait()
                if mine.moved.is_set():
                    mine.moved = trio.Event()
            return _Turn.REFUSED
        finally:
            self._waiting.discard(mine)
            account.waiting.pop(mine, None)
            address.waiting.pop(mine, None)
            address.wake_first()

    def _seconds_to_wait(self, address: _Bucket, account: _Bucket, now: float) -> float:
        if address.failures_at(now) + address.running < _NEWCOMER_FAILURES_MAX - _HALF:
            burst, longest = self._newcomer_burst, min(_NEWCOMER_DELAY_SECONDS_MAX, self._delay_seconds_max)
        else:
            burst, longest = self._burst, self._delay_seconds_max
        return max(
            address.seconds_to_wait(now, self._burst, self._delay_seconds_max),
            account.seconds_to_wait(now, burst, longest),
        )
