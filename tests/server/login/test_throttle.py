"""Wrong secrets make the next tries wait, by network and by account: the real thing on a clock that jumps.

It jumps to the next deadline when nothing else can happen, so that an hour of guessing takes a second. A check takes
its time on that clock, but computes nothing (what does is in test_guessing.py, over sockets).
"""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from pynun import limits
from pynun.engine.effects import VerifySecret
from pynun.engine.peer import Attempt
from pynun.server.accepting.client_networks import client_network
from pynun.server.login.passwords import Passwords
from pynun.server.login.throttle import LoginThrottle
from tests.engine.world import FakeCredentials, fake_hash

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pynun.engine.effects import Answer, Need

ACCOUNT = "db $$token"
GUESSER = "192.0.2.66"
CHECK_SECONDS = 0.02
PROMPT_SECONDS = 0.5


class Checks(Passwords):
    """Checks secrets whose hashes are no secret, two at a time, as long as Argon2 would take for it."""

    def __init__(self) -> None:
        super().__init__(memory_kib=8, passes=1, lanes=1)
        self.checks = 0
        self._credentials = FakeCredentials()
        self._two = trio.CapacityLimiter(2)

    def fingerprint(self, hash_text: str, secret: str) -> bytes:
        """What stands for a pair."""
        return f"{hash_text} {secret}".encode()

    def is_remembered(self, fingerprint: bytes) -> bool:
        """Whether this pair was right before."""
        hash_text, _, secret = fingerprint.decode().partition(" ")
        return self._credentials.is_verified(hash_text, secret)

    async def answer(self, need: Need) -> Answer:
        """The answer to a need."""
        async with self._two:
            self.checks += 1
            with trio.CancelScope(shield=True):  # a thread is not cancelled
                await trio.sleep(CHECK_SECONDS)
        return self._credentials.answer(need)


class Gate:
    """A login delay, the checks behind it, and what was tried."""

    def __init__(self, *, burst: int = 10, delay_seconds_max: float = 60) -> None:
        self.slowed: list[str] = []
        self.checks = Checks()
        self.throttle = LoginThrottle(
            self.checks, burst=burst, delay_seconds_max=delay_seconds_max, on_slowed=self.slowed.append
        )
        self.answered_at: list[float] = []
        """When each wrong try was answered."""
        self._numbers = itertools.count()

    async def attempt(
        self,
        address: str,
        secret: str,
        hash_text: str | None,
        *,
        account: str = ACCOUNT,
        is_gone: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Try to log in."""
        attempt = Attempt(address, account, is_gone)
        answer = await self.throttle.answer(VerifySecret(hash_text, secret, attempt))
        assert isinstance(answer, bool)
        return answer

    async def fail(self, address: str, count: int, *, account: str = ACCOUNT) -> None:
        """Try wrong secrets, one after another."""
        for _ in range(count):
            assert not await self.attempt(address, f"wrong {next(self._numbers)}", None, account=account)
            self.answered_at.append(trio.current_time())

    async def fail_for_ever(self, address: str, *, account: str = ACCOUNT) -> None:
        """Guess."""
        while True:
            await self.fail(address, 1, account=account)

    def answered_between(self, start: float, end: float) -> int:
        """How many wrong tries were answered in a time."""
        return sum(start <= at < end for at in self.answered_at)


@pytest.fixture(autouse=True)
def _look_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the clock makes few jumps; the test of those who leave looks as often as the server does."""
    monkeypatch.setattr(limits, "LOGIN_LOOK_SECONDS", 3600.0)


def run(test: Callable[[Gate], Awaitable[None]], **settings: int) -> None:
    """Run a test with a gate of its own; the clock begins with 0."""

    async def main() -> None:
        await test(Gate(**settings))

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def guess(gate: Gate, seconds: float, guessers: list[tuple[str, str]]) -> None:
    """Have guessers, each an address and an account, try as fast as they can for a time."""
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for address, account in guessers:
                nursery.start_soon(partial(gate.fail_for_ever, address, account=account))


async def seconds_of(gate: Gate, address: str, secret: str, hash_text: str) -> float:
    """How long somebody who has the right secret waits."""
    began = trio.current_time()
    assert await gate.attempt(address, secret, hash_text)
    return trio.current_time() - began


# --- a guesser -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 30])
@pytest.mark.parametrize("accounts", [1, 100])
def test_a_guesser_gets_fewer_than_twenty_tries_a_minute(at_once: int, accounts: int) -> None:
    async def test(gate: Gate) -> None:
        await guess(gate, 600, [("192.0.2.1", f"account {number % accounts}") for number in range(at_once)])
        assert 10 <= gate.answered_between(0, 60) < 20
        for minute in range(1, 10):
            assert gate.answered_between(minute * 60, minute * 60 + 60) < 4
        assert gate.slowed == ["192.0.2.1"]

    run(test)


@pytest.mark.parametrize("delay_seconds_max", [10, 60, 3600])
def test_no_pause_gives_a_guesser_twenty_tries_in_any_minute(delay_seconds_max: int) -> None:
    async def test(gate: Gate) -> None:
        for pause in (0, 30, 59, 61, 120, 600, 3600):
            await guess(gate, 90, [("192.0.2.1", ACCOUNT)])
            await trio.sleep(pause)
        for start in gate.answered_at:
            assert gate.answered_between(start, start + 60) < 20

    run(test, delay_seconds_max=delay_seconds_max)


def test_the_waits_double_up_to_the_longest() -> None:
    async def test(gate: Gate) -> None:
        await gate.fail("192.0.2.1", 20)
        waits = [round(later - earlier) for earlier, later in itertools.pairwise(gate.answered_at)]
        assert waits[:14] == [0] * 9 + [1, 2, 4, 8, 16]
        assert waits[14:] == sorted(waits[14:]), "while some are forgotten already"
        assert waits[-1] == 60

    run(test)


def test_failures_are_forgotten_with_time() -> None:
    async def test(gate: Gate) -> None:
        await gate.fail("192.0.2.1", 16)
        await trio.sleep(limits.LOGIN_RECOVERY_SECONDS * 20)
        began = trio.current_time()
        await gate.fail("192.0.2.1", 10)
        assert trio.current_time() - began < 1

    run(test)


def test_a_success_forgets_nothing() -> None:
    """Else a user of one account could guess all others with it."""

    async def test(gate: Gate) -> None:
        began = trio.current_time()
        for number in range(14):
            own = fake_hash(f"own {number}")
            await gate.fail("192.0.2.1", 1)
            assert await gate.attempt("192.0.2.1", f"own {number}", own, account="own")
        assert trio.current_time() - began > 10

    run(test)


# --- others ----------------------------------------------------------------------------------------------------


def test_who_is_elsewhere_notices_nothing_of_a_guesser() -> None:
    """Not even with the account that is being guessed, a secret that was never used, and a mistake before it."""

    async def test(gate: Gate) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(gate.fail_for_ever, "192.0.2.1")
            for minute in range(10):
                await trio.sleep(60)
                began = trio.current_time()
                await gate.fail(f"192.0.2.{10 + minute}", 1)
                hash_text = fake_hash(f"secret {minute}")
                await seconds_of(gate, f"192.0.2.{10 + minute}", f"secret {minute}", hash_text)
                assert trio.current_time() - began < PROMPT_SECONDS
            nursery.cancel_scope.cancel()

    run(test)


def test_many_who_come_at_once_through_one_proxy_do_not_wait() -> None:
    """As after a restart: hundreds of right secrets from one address, none of them used before."""

    async def test(gate: Gate) -> None:
        count = 300
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(seconds_of, gate, "192.0.2.1", f"secret {number}", fake_hash(f"secret {number}"))
        assert trio.current_time() < count * CHECK_SECONDS / 2 + PROMPT_SECONDS, "as long as the computing takes"

    run(test)


def test_one_correct_login_admits_all_that_wait_with_the_same_secret() -> None:
    async def test(gate: Gate) -> None:
        hash_text = fake_hash("secret")
        await gate.fail("192.0.2.1", 13)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(seconds_of, gate, "192.0.2.1", "secret", hash_text)
            await trio.sleep(0.1)
            nursery.start_soon(gate.fail, "192.0.2.1", 1)
            await trio.sleep(0.1)
            for _ in range(20):
                nursery.start_soon(seconds_of, gate, "192.0.2.1", "secret", hash_text)
        assert trio.current_time() - began < 10, "else they had to wait for what the wrong one before them costs"

    run(test)


# --- what the prompt answer to a known secret tells a guesser -----------------------------------------------------

KNOWN, KNOWN_HASH = "secret", fake_hash("secret")


def is_told_at_once(gate: Gate, address: str) -> bool:
    """Whether a guess from there, if it is right, is answered before it is metered, so that silence means wrong."""
    return gate.throttle.is_verified(KNOWN_HASH, KNOWN, Attempt(address, ACCOUNT))


@pytest.mark.parametrize("is_used_there", [False, True])
@pytest.mark.parametrize("patience_seconds", [0.001, 0.5, 7, math.inf])
@pytest.mark.parametrize("at_once", [1, 4, 20])
def test_a_guesser_who_does_not_wait_for_the_answer_gets_no_more_tries(
    is_used_there: bool, patience_seconds: float, at_once: int
) -> None:
    """Tries that are checked, and those of which the guesser learns by the time of the answer, are few together."""

    async def test(gate: Gate) -> None:
        assert await gate.attempt(GUESSER if is_used_there else "192.0.2.9", KNOWN, KNOWN_HASH)
        told_at: list[float] = []

        async def guess_for_ever() -> None:
            while True:
                is_told = is_told_at_once(gate, GUESSER)
                if is_told:
                    told_at.append(trio.current_time())
                with trio.move_on_after(patience_seconds):
                    await gate.attempt(GUESSER, f"wrong {len(told_at)}", KNOWN_HASH)
                    if not is_told:
                        told_at.append(trio.current_time())
                await trio.sleep(0.5)

        with trio.move_on_after(130):
            async with trio.open_nursery() as nursery:
                for _ in range(at_once):
                    nursery.start_soon(guess_for_ever)
        assert len(told_at) >= 10
        for start in told_at:
            assert sum(start <= at < start + 60 for at in told_at) < 20

    run(test)


def test_a_known_secret_is_known_everywhere_but_where_somebody_guesses() -> None:
    async def test(gate: Gate) -> None:
        assert await gate.attempt("192.0.2.9", KNOWN, KNOWN_HASH)
        assert is_told_at_once(gate, "192.0.2.8")
        await gate.fail("192.0.2.8", 10, account="of 8")
        assert is_told_at_once(gate, "192.0.2.8"), "it was used there before"
        await gate.fail("192.0.2.7", 10, account="of 7")
        assert not is_told_at_once(gate, "192.0.2.7")
        assert await seconds_of(gate, "192.0.2.7", KNOWN, KNOWN_HASH) == pytest.approx(1, abs=0.1)
        assert is_told_at_once(gate, "192.0.2.7")
        await trio.sleep(limits.LOGIN_RECOVERY_SECONDS * 2)
        await gate.fail("192.0.2.6", 8, account="of 6")
        assert is_told_at_once(gate, "192.0.2.6"), "fewer than the burst"

    run(test)


def test_who_had_to_wait_with_a_known_secret_costs_no_check() -> None:
    async def test(gate: Gate) -> None:
        assert await gate.attempt("192.0.2.9", KNOWN, KNOWN_HASH)
        await gate.fail("192.0.2.7", 10)
        checks = gate.checks.checks
        assert await gate.attempt("192.0.2.7", KNOWN, KNOWN_HASH)
        assert gate.checks.checks == checks

    run(test)


def test_known_secrets_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VERIFIED_SECRETS_MAX", 5)

    async def test(gate: Gate) -> None:
        for number in range(20):
            assert await gate.attempt(f"192.0.2.{number}", KNOWN, KNOWN_HASH)
        for address in ("192.0.2.0", "192.0.2.19"):
            await gate.fail(address, 10, account=address)
        assert not is_told_at_once(gate, "192.0.2.0")
        assert is_told_at_once(gate, "192.0.2.19")

    run(test)


# --- an account ------------------------------------------------------------------------------------------------


def test_many_guessers_of_one_account_are_slowed_together() -> None:
    async def test(gate: Gate) -> None:
        await guess(gate, 900, [(f"192.0.2.{number}", ACCOUNT) for number in range(100)])
        assert gate.answered_between(0, 60) <= 100 + 10, "each one that has not failed before, then one in six seconds"
        for minute in range(2, 15):
            assert gate.answered_between(minute * 60, minute * 60 + 60) < 20

    run(test)


@pytest.mark.parametrize("guessers", [5, 100])
def test_guessers_of_one_account_lock_nobody_out(guessers: int) -> None:
    """Who has not failed does not wait. Who mistypes waits for seconds, unless the guessers are dozens."""

    async def test(gate: Gate) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(guessers):
                nursery.start_soon(gate.fail_for_ever, f"192.0.2.{number}")
            await trio.sleep(120)
            hash_text = fake_hash("secret")
            for number in range(10):
                assert await seconds_of(gate, f"198.51.100.{number}", "secret", hash_text) < PROMPT_SECONDS
                await trio.sleep(1)
            if guessers == 5:
                await gate.fail("198.51.100.99", 1)
                assert await seconds_of(gate, "198.51.100.99", "secret", hash_text) < 7
            nursery.cancel_scope.cancel()
        if guessers == 5:
            assert gate.answered_between(0, 60) <= 2 * 17 + 11, "as many as two alone, then one in six seconds"

    run(test)


def test_another_account_is_not_slowed() -> None:
    async def test(gate: Gate) -> None:
        await guess(gate, 60, [(f"192.0.2.{number}", ACCOUNT) for number in range(100)])
        began = trio.current_time()
        await gate.fail("192.0.2.200", 5, account="another")
        assert trio.current_time() - began < PROMPT_SECONDS

    run(test)


# --- bounds ----------------------------------------------------------------------------------------------------


def test_too_many_who_wait_are_refused_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOGIN_TRIES_WAITING_MAX", 5)

    async def test(gate: Gate) -> None:
        hash_text = fake_hash("secret")
        async with trio.open_nursery() as nursery:
            for _ in range(50):  # more than may wait, before anybody has to
                nursery.start_soon(gate.fail, "192.0.2.1", 1)
            await trio.sleep(0.9)
            assert (gate.checks.checks, len(gate.answered_at)) == (10, 45)
            began = trio.current_time()
            assert not await gate.attempt("192.0.2.1", "secret", hash_text)
            assert trio.current_time() == began
            assert gate.checks.checks == 10
            nursery.cancel_scope.cancel()

    run(test)


def test_who_leaves_loses_its_place_and_nothing_is_left_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOGIN_LOOK_SECONDS", 3.0)

    async def test(gate: Gate) -> None:
        hash_text = fake_hash("secret")
        await gate.fail("192.0.2.1", 13)
        left = False
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(1):  # cancelled
                await gate.attempt("192.0.2.1", "secret", hash_text)
            for _ in range(20):  # hung up
                nursery.start_soon(lambda: gate.attempt("192.0.2.1", "x", None, is_gone=lambda: left))
            await trio.sleep(1)
            left_at, left = trio.current_time(), True
        assert trio.current_time() - left_at < 4
        assert await seconds_of(gate, "192.0.2.1", "secret", hash_text) < 8

    run(test)


def test_a_stop_lets_nobody_wait() -> None:
    async def test(gate: Gate) -> None:
        await gate.fail("192.0.2.1", 14)
        hash_text = fake_hash("secret")
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(gate.fail, "192.0.2.1", 1)
            await trio.sleep(0.5)
            gate.throttle.stop()
        assert trio.current_time() - began < 1
        await gate.fail("192.0.2.1", 3)
        assert trio.current_time() - began < 1
        assert await seconds_of(gate, "192.0.2.7", "secret", hash_text) < PROMPT_SECONDS, (
            "who need not wait is let in as ever"
        )

    run(test)


def test_addresses_and_accounts_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOGIN_BUCKETS_MAX", 50)

    async def test(gate: Gate) -> None:
        await gate.fail("192.0.2.1", 12)
        for number in range(200):
            await gate.fail(f"198.51.100.{number}", 1, account=f"account {number}")
            await gate.attempt("192.0.2.1", "x", None) if number % 40 == 0 else None  # it is used
        assert gate.throttle.buckets <= 100
        began = trio.current_time()
        await gate.fail("192.0.2.1", 1)
        assert trio.current_time() - began > 5, "the one that is used is remembered"

    run(test)


def test_who_has_not_failed_is_not_remembered() -> None:
    async def test(gate: Gate) -> None:
        hash_text = fake_hash("secret")
        await seconds_of(gate, "192.0.2.1", "secret", hash_text)
        assert gate.throttle.buckets == 0

    run(test)


def test_an_ipv6_network_is_one_address() -> None:
    async def test(gate: Gate) -> None:
        await guess(gate, 60, [(f"2001:db8::{number:x}:1", f"account {number}") for number in range(300)])
        assert gate.answered_between(0, 60) < 20

    run(test)


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("what is this", "what is this"),
    ],
)
def test_which_addresses_count_as_one(address: str, group: str) -> None:
    assert client_network(address) == group


def test_whose_attempt_it_is_not_is_never_slowed() -> None:
    """As when the administrator gives a user a new token: the old one is compared first."""

    async def test(gate: Gate) -> None:
        for number in range(50):
            assert await gate.throttle.answer(VerifySecret(None, f"x{number}")) is False
        assert trio.current_time() < 50 * CHECK_SECONDS + PROMPT_SECONDS
        assert gate.throttle.buckets == 0

    run(test)
