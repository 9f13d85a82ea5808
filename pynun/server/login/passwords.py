"""Argon2id in bounded threads, and the memory of what was verified (docs/protocol.md sections 3 and 9).

Checking a correct password takes tens of milliseconds once. After that, a digest of hash and secret, keyed with a
random secret of this process, is remembered: memory holds no password. A wrong password, or an unknown name, takes the
full time every time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple, assert_never

import argon2
import trio

from pynun import limits
from pynun.engine.effects import Drain, HashSecret, Pause, Turn, VerifySecret
from pynun.engine.secret_hashes import HashCost, HashLimit
from pynun.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.engine.effects import Answer, Need
    from pynun.engine.peer import Attempt


_log = logging.getLogger("nun_db")

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")


class Passwords:
    """Hashes and verifies secrets for the engine, and remembers the verified ones."""

    def __init__(self, *, memory_kib: int, passes: int, lanes: int) -> None:
        self._hasher = argon2.PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=lanes)
        self.hash_limit = HashLimit(HashCost(memory_kib, passes, lanes))
        self._is_told = False
        self._limiter = trio.CapacityLimiter(limits.PASSWORD_CHECKS_MAX)
        self._pausing = trio.Lock()
        self._key = os.urandom(32)
        self._verified: OrderedDict[bytes, None] = OrderedDict()
        self._running: dict[bytes, trio.Event] = {}
        self._stand_in: str | None = None
        self.check_seconds = Histogram()
        """How long commands waited for a hash, time in the queue included."""

    def is_verified(self, hash_text: str, secret: str, attempt: Attempt | None = None) -> bool:
        """True if this process has verified or made the pair, for any client. Takes about a microsecond."""
        return self.is_remembered(self.fingerprint(hash_text, secret))

    def is_remembered(self, fingerprint: bytes) -> bool:
        """True if this process has verified or made the pair with this fingerprint."""
        if fingerprint not in self._verified:
            return False
        self._verified.move_to_end(fingerprint)
        return True

    def hash_now(self, secret: str) -> str:
        """The hash of a secret. Takes tens of milliseconds: not for the loop."""
        return self._hasher.hash(secret)

    def verify_now(self, hash_text: str, secret: str) -> bool:
        """Whether the secret has that hash. Takes tens of milliseconds: not for the loop."""
        try:
            self._hasher.verify(hash_text, secret)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
        return True

    async def admin_token_hash(self, stored: str | None, at_last_start: str | None, password: str) -> tuple[str, str]:
        """The hash of the admin password from now on, and that of the password given at this start.

        `stored` is the hash in force, `at_last_start` that of the password given at the last start. A password that is
        new takes precedence. One that was given at the last start too does not undo later changes: a restart must not
        bring back a leaked password.
        """
        if stored is not None and await self._verify(VerifySecret(stored, password)):
            return stored, stored
        if (
            stored is not None
            and at_last_start is not None
            and at_last_start != stored
            and await self._verify(VerifySecret(at_last_start, password))
        ):
            return stored, at_last_start
        hash_text = await self.answer(HashSecret(password))
        assert isinstance(hash_text, str)
        return hash_text, hash_text

    async def answer(self, need: Need) -> Answer:
        """The answer to a need of the engine."""
        if isinstance(need, Pause):
            # One at a time: between two turns of the loop, one slice of one scan runs, however many clients scan.
            await self._pausing.acquire()
            self._pausing.release()
            return None
        if isinstance(need, Turn):
            has_come = trio.Event()
            need.ask(has_come.set)
            await has_come.wait()
            return None
        assert not isinstance(need, Drain), need  # the transport's own
        began = time.perf_counter()
        answer = await self._compute(need)
        self.check_seconds.observe(time.perf_counter() - began)
        return answer

    async def _compute(self, need: VerifySecret | HashSecret) -> Answer:
        match need:
            case HashSecret():
                hash_text = await self._apart(self.hash_now, need.secret)
                self._remember(hash_text, need.secret)
                return hash_text
            case VerifySecret():
                return await self._verify(need)
            case _:
                assert_never(need)

    async def _verify(self, need: VerifySecret) -> bool:
        hash_text = need.hash
        if hash_text is not None and not self.hash_limit.allows(hash_text):
            self._tell_cost(hash_text)
            hash_text = None  # and takes as long as any other
        if hash_text is None:
            if self._stand_in is None:  # hashing takes as long as verifying: timing reveals nothing
                self._stand_in = await self._apart(self._hasher.hash, os.urandom(16).hex())
                return False
            await self._apart(self.verify_now, self._stand_in, need.secret)
            return False
        digest = self.fingerprint(hash_text, need.secret)
        # A hundred browsers that reconnect with one token need one computation, not a hundred.
        running = self._running.get(digest)
        if running is not None:
            await running.wait()
            if digest in self._verified:
                return True
        event = self._running[digest] = trio.Event()
        try:
            is_right = await self._apart(self.verify_now, hash_text, need.secret)
            if is_right:
                self._remember(hash_text, need.secret)
            return is_right
        finally:
            event.set()
            if self._running.get(digest) is event:
                del self._running[digest]

    async def _apart(self, function: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        """Call it in one of a limited number of threads. A stop does not wait for it."""
        return await trio.to_thread.run_sync(function, *arguments, limiter=self._limiter, abandon_on_cancel=True)

    def _tell_cost(self, hash_text: str) -> None:
        if not self._is_told:
            self._is_told = True
            _log.warning(
                "a stored hash of a password or token costs too much to check (%s; accepted: %s), so nothing matches "
                "it: set it again",
                hash_text.split("$")[3],
                self.hash_limit,
            )

    def fingerprint(self, hash_text: str, secret: str) -> bytes:
        """A keyed digest (with a random secret of this process) of a hash and its secret."""
        text = f"{len(hash_text)}:{hash_text}{secret}".encode()
        return hashlib.blake2b(text, key=self._key, digest_size=16).digest()

    def _remember(self, hash_text: str, secret: str) -> None:
        self._verified[self.fingerprint(hash_text, secret)] = None
        while len(self._verified) > limits.VERIFIED_SECRETS_MAX:
            self._verified.popitem(last=False)
