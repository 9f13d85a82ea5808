"""Secrets are hashed and checked off the loop, few at once, and a right one once (docs/protocol.md sections 3 and 9).

The computations are real, only cheap; they are counted, and can be held, at argon2's own door.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import argon2
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pynun import limits
from pynun.engine.effects import HashSecret, Pause, VerifySecret
from pynun.server.login.passwords import Passwords

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from pynun.engine.effects import Answer, Need

WAIT_SECONDS_MAX = 20.0


class Door:
    """Counts the computations, and holds them when told to."""

    def __init__(self) -> None:
        self.hashes = 0
        self.checks = 0
        self.at_once = 0
        self.at_once_max = 0
        self.threads: set[int] = set()
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._open.set()

    def hold(self) -> None:
        """Have computations wait."""
        self._open.clear()

    def let_go(self) -> None:
        """Have them go on."""
        self._open.set()

    def enter(self) -> None:
        """A computation begins."""
        with self._lock:
            self.at_once += 1
            self.at_once_max = max(self.at_once_max, self.at_once)
            self.threads.add(threading.get_ident())
        assert self._open.wait(WAIT_SECONDS_MAX)

    def leave(self) -> None:
        """It is done."""
        with self._lock:
            self.at_once -= 1


@pytest.fixture(name="door")
def _door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    door = Door()
    real_hash, real_verify = argon2.PasswordHasher.hash, argon2.PasswordHasher.verify

    def hash_counted(hasher: argon2.PasswordHasher, password: str) -> str:
        door.hashes += 1
        door.enter()
        try:
            return real_hash(hasher, password)
        finally:
            door.leave()

    def verify_counted(hasher: argon2.PasswordHasher, hash_text: str, password: str) -> bool:
        door.checks += 1
        door.enter()
        try:
            return real_verify(hasher, hash_text, password)
        finally:
            door.leave()

    monkeypatch.setattr(argon2.PasswordHasher, "hash", hash_counted)
    monkeypatch.setattr(argon2.PasswordHasher, "verify", verify_counted)
    yield door
    door.let_go()


def new_passwords() -> Passwords:
    """Passwords whose computations take microseconds."""
    return Passwords(memory_kib=8, passes=1, lanes=1)


def run(test: Callable[[Passwords], Awaitable[None]]) -> None:
    """Run a test with passwords of its own."""

    async def main() -> None:
        with trio.fail_after(WAIT_SECONDS_MAX):
            await test(new_passwords())

    trio.run(main)


async def answer_all(passwords: Passwords, needs: list[Need], meanwhile: Callable[[], None]) -> list[Answer]:
    """The answers to needs that come at once; `meanwhile` is called when all of them wait."""
    answers: list[Answer] = [None] * len(needs)

    async def answer(place: int, need: Need) -> None:
        answers[place] = await passwords.answer(need)

    async with trio.open_nursery() as nursery:
        for place, need in enumerate(needs):
            nursery.start_soon(answer, place, need)
        await wait_all_tasks_blocked(0.1)
        meanwhile()
    return answers


async def hashed(passwords: Passwords, secret: str) -> str:
    """The hash of a secret."""
    hash_text = await passwords.answer(HashSecret(secret))
    assert isinstance(hash_text, str)
    return hash_text


# --- right and wrong -------------------------------------------------------------------------------------------


def test_a_hash_is_one_of_argon2id_and_another_each_time() -> None:
    async def test(passwords: Passwords) -> None:
        one, other = await hashed(passwords, "secret"), await hashed(passwords, "secret")
        assert one != other
        for hash_text in (one, other):
            assert hash_text.startswith("$argon2id$v=19$m=8,t=1,p=1$")
            assert "secret" not in hash_text

    run(test)


@pytest.mark.parametrize("secret", ["secret", "", "two words", "é🙂", "x" * 100_000])
def test_the_right_secret_is_right_and_any_other_wrong(secret: str) -> None:
    async def test(passwords: Passwords) -> None:
        hash_text = await hashed(passwords, secret)
        later = new_passwords()  # which remembers nothing
        assert await later.answer(VerifySecret(hash_text, secret)) is True
        for wrong in (secret + " ", secret[:-1] + "y", "other"):
            assert await later.answer(VerifySecret(hash_text, wrong)) is False

    run(test)


@pytest.mark.parametrize("hash_text", ["", "plain text", "$argon2id$", "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$"])
def test_what_is_no_hash_is_the_hash_of_nothing(hash_text: str) -> None:
    async def test(passwords: Passwords) -> None:
        assert await passwords.answer(VerifySecret(hash_text, "")) is False
        assert await passwords.answer(VerifySecret(hash_text, hash_text)) is False
        assert not passwords.is_verified(hash_text, hash_text)

    run(test)


def test_a_stored_hash_that_costs_too_much_is_the_hash_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It may have been there before, or come with a backup. It takes the time of a name that does not exist."""
    costly = Passwords(memory_kib=8, passes=17, lanes=1).hash_now("secret")

    async def test(passwords: Passwords) -> None:
        for secret in ("secret", "other", "secret"):
            assert await passwords.answer(VerifySecret(costly, secret)) is False
        assert not passwords.is_verified(costly, "secret")
        in_force, given = await passwords.admin_token_hash(costly, None, "secret")
        assert in_force == given != costly, "the administrator's is replaced at the start"

    run(test)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("a stored hash of a password or token costs too much to check (m=8,t=17,p=1; accepted: ")
    assert "secret" not in told


def test_what_this_servers_own_hashes_cost_is_never_too_much() -> None:
    async def main() -> None:
        passwords = Passwords(memory_kib=8, passes=17, lanes=1)
        assert await passwords.answer(VerifySecret(passwords.hash_now("secret"), "secret")) is True

    trio.run(main)


def test_a_pause_lets_others_work() -> None:
    async def test(passwords: Passwords) -> None:
        ran = trio.Event()

        async def other() -> None:
            ran.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for _ in range(2):  # whose turn comes first is left to chance
                assert await passwords.answer(Pause()) is None
            assert ran.is_set()

    run(test)


# --- once ------------------------------------------------------------------------------------------------------


def test_a_right_secret_is_computed_once(door: Door) -> None:
    async def test(passwords: Passwords) -> None:
        hash_text = await hashed(new_passwords(), "secret")
        assert not passwords.is_verified(hash_text, "secret")
        assert await passwords.answer(VerifySecret(hash_text, "secret")) is True
        assert passwords.is_verified(hash_text, "secret")
        assert door.checks == 1

    run(test)


def test_what_was_just_hashed_counts_as_verified(door: Door) -> None:
    async def test(passwords: Passwords) -> None:
        hash_text = await hashed(passwords, "secret")
        assert passwords.is_verified(hash_text, "secret")
        assert not passwords.is_verified(hash_text, "other")
        assert not passwords.is_verified("other", "secret")
        assert (door.hashes, door.checks) == (1, 0)

    run(test)


def test_a_wrong_secret_is_computed_every_time_and_never_remembered(door: Door) -> None:
    async def test(passwords: Passwords) -> None:
        hash_text = await hashed(passwords, "secret")
        for checks in range(1, 4):
            assert await passwords.answer(VerifySecret(hash_text, "wrong")) is False
            assert door.checks == checks
            assert not passwords.is_verified(hash_text, "wrong")

    run(test)


def test_hash_and_secret_are_not_confused_with_another_pair_of_the_same_letters() -> None:
    async def test(passwords: Passwords) -> None:
        hash_text = await hashed(passwords, "secret")
        assert not passwords.is_verified(hash_text[:-1], hash_text[-1] + "secret")
        assert not passwords.is_verified(hash_text + "s", "ecret")

    run(test)


def test_a_hundred_that_come_at_once_with_one_secret_cost_one_computation(door: Door) -> None:
    async def test(passwords: Passwords) -> None:
        hash_text = await hashed(new_passwords(), "secret")
        door.hold()
        answers = await answer_all(passwords, [VerifySecret(hash_text, "secret")] * 100, door.let_go)
        assert answers == [True] * 100
        assert door.checks == 1

    run(test)


def test_those_who_come_at_once_with_a_wrong_secret_are_all_wrong(door: Door) -> None:
    async def test(passwords: Passwords) -> None:
        hash_text = await hashed(passwords, "secret")
        door.hold()
        answers = await answer_all(passwords, [VerifySecret(hash_text, "wrong")] * 10, door.let_go)
        assert answers == [False] * 10
        assert door.checks == 10
        assert await passwords.answer(VerifySecret(hash_text, "secret")) is True

    run(test)


def test_who_waits_for_a_computation_that_is_given_up_makes_it(door: Door) -> None:
    async def test(passwords: Passwords) -> None:
        hash_text = await hashed(new_passwords(), "secret")
        need = VerifySecret(hash_text, "secret")
        door.hold()
        answers: list[Answer] = []

        async def given_up(scope: trio.CancelScope) -> None:
            with scope:
                await passwords.answer(need)

        async def wait_behind() -> None:
            answers.append(await passwords.answer(need))

        async with trio.open_nursery() as nursery:
            for number in range(limits.PASSWORD_CHECKS_MAX):  # so that the next has to wait for its turn
                nursery.start_soon(passwords.answer, VerifySecret(hash_text, f"wrong {number}"))
            await wait_all_tasks_blocked(0.1)
            scope = trio.CancelScope()
            nursery.start_soon(given_up, scope)
            await wait_all_tasks_blocked(0.1)
            nursery.start_soon(wait_behind)
            await wait_all_tasks_blocked(0.1)
            scope.cancel()
            await wait_all_tasks_blocked(0.1)
            door.let_go()
        assert answers == [True]
        assert door.checks == limits.PASSWORD_CHECKS_MAX + 1

    run(test)


def test_the_secret_longest_unused_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VERIFIED_SECRETS_MAX", 3)

    async def test(passwords: Passwords) -> None:
        hashes = {secret: await hashed(passwords, secret) for secret in "abc"}
        assert passwords.is_verified(hashes["a"], "a")  # used again
        hashes["d"] = await hashed(passwords, "d")
        remembered = [secret for secret, hash_text in hashes.items() if passwords.is_verified(hash_text, secret)]
        assert remembered == ["a", "c", "d"]
        assert await passwords.answer(VerifySecret(hashes["b"], "b")) is True

    run(test)


# --- few at once, and none on the loop -------------------------------------------------------------------------


def test_only_so_many_are_computed_at_once_and_never_on_the_loop(door: Door) -> None:
    async def test(passwords: Passwords) -> None:
        hash_text = await hashed(passwords, "secret")
        door.threads.clear()
        door.hold()
        needs: list[Need] = [VerifySecret(hash_text, f"wrong {number}") for number in range(5)]
        needs += [HashSecret(f"new {number}") for number in range(5)]
        needs += [VerifySecret(None, "unknown")] * 5
        answers = await answer_all(passwords, needs, door.let_go)
        assert answers[:5] + answers[10:] == [False] * 10
        assert door.at_once_max == limits.PASSWORD_CHECKS_MAX
        assert threading.get_ident() not in door.threads

    run(test)


def test_an_unknown_name_costs_a_computation_like_a_wrong_secret(door: Door) -> None:
    async def test(passwords: Passwords) -> None:
        assert await passwords.answer(VerifySecret(None, "secret")) is False  # and makes what to check against
        checks = door.checks
        for number in range(1, 4):
            assert await passwords.answer(VerifySecret(None, "secret")) is False
            assert door.checks == checks + number

    run(test)


# --- the admin's password at the start -------------------------------------------------------------------------


def test_the_stored_hash_stays_while_the_password_is_the_same() -> None:
    async def test(passwords: Passwords) -> None:
        stored, given = await passwords.admin_token_hash(None, None, "secret")
        assert given == stored
        assert new_passwords().verify_now(stored, "secret")
        assert passwords.is_verified(stored, "secret")
        again = new_passwords()
        assert await again.admin_token_hash(stored, stored, "secret") == (stored, stored)
        assert again.is_verified(stored, "secret")

    run(test)


def test_another_password_at_the_start_rules() -> None:
    async def test(passwords: Passwords) -> None:
        stored, _ = await passwords.admin_token_hash(None, None, "secret")
        for at_last_start in (None, stored, await hashed(passwords, "before")):
            new, given = await passwords.admin_token_hash(stored, at_last_start, "other")
            assert given == new != stored
            assert passwords.verify_now(new, "other")
            assert not passwords.verify_now(new, "secret")

    run(test)


def test_a_password_given_before_does_not_undo_what_was_changed_since() -> None:
    async def test(passwords: Passwords) -> None:
        given_before, changed = await hashed(passwords, "old"), await hashed(passwords, "new")
        assert await passwords.admin_token_hash(changed, given_before, "old") == (changed, given_before)
        assert await passwords.admin_token_hash(changed, given_before, "new") == (changed, changed)

    run(test)
