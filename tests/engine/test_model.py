"""The model's own tests: it must answer the recordings too, and each rule is asked by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pynun.protocol.messages import Refusal
from tests.engine import model
from tests.engine.model import Base
from tests.engine.model_sessions import Client, Model, matches
from tests.engine.recordings import model_talkers, play, recordings
from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER, fake_hash

if TYPE_CHECKING:
    from tests.support.transcript import Scenario

LINES_MAX = 100


def test_the_model_is_short_enough_to_be_read() -> None:
    assert len(Path(model.__file__).read_text(encoding="utf-8").splitlines()) < LINES_MAX


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(one, id=one.name)
        for one in recordings()
        if not any("metrics-state" in step.send for step in one.steps)
    ],
)
def test_the_model_answers_as_recorded(scenario: Scenario) -> None:
    play(scenario, model_talkers())


@pytest.fixture(name="base")
def _base() -> Base:
    return Base("d", "arbiter", "pwd")


@pytest.mark.parametrize(("given", "version"), [(-1, 0), (0, 1), (5, 6), (-7, 0)])
def test_a_new_key_gets_the_given_version_plus_one(base: Base, given: int, version: int) -> None:
    base.change("k", given, "v", now=1)
    assert base.keys["k"] == (version, "v")


@pytest.mark.parametrize(("given", "version"), [(-1, 7), (6, 7), (100, 101)])
def test_a_key_gets_its_next_version(base: Base, given: int, version: int) -> None:
    base.change("k", 5, "v", now=1)
    base.change("k", given, "w", now=1)
    assert base.keys["k"] == (version, "w")


@pytest.mark.parametrize("strategy", ["none", "newer", "arbiter"])
def test_an_old_version_is_a_conflict(strategy: str) -> None:
    base = Base("d", strategy, "pwd")
    base.change("k", 5, "v", now=1)
    if strategy == "newer":
        base.change("k", 4, "w", now=1)
        assert base.keys["k"] == (7, "w")
        return
    with pytest.raises(Refusal, match="Invalid version" if strategy == "none" else "no arbiter client"):
        base.change("k", 4, "w", now=1)
    assert base.keys["k"] == (6, "v")


def test_an_arbiter_is_asked_and_decides(base: Base) -> None:
    arbiter = Client()
    arbiter.watches = {"$conflicts": None}
    base.watchers.append(arbiter)
    base.change("k", 5, "v", now=1)
    for number in (2, 3):
        with pytest.raises(Refusal, match=f"unresolved \\$conflicts_k_{number}"):
            base.change("k", 4, "w", now=number)
    assert arbiter.told == ["resolve 2 d 6 k v w", "resolve 3 d 5 k $conflicts_k_2 w"]
    assert base.keys["k"] == (-2, "v")
    for forbidden in ("$conflicts_k_2", "$connections"):
        with pytest.raises(Refusal, match=r"waits for its arbiter|is counted"):
            base.change(forbidden, -1, "x", now=4)
    base.resolve(3, "k", 5, "x")
    assert base.keys["k"] == (-2, "x")
    base.resolve(2, "k", 6, "w")
    assert base.keys["k"] == (7, "w")
    assert base.keys["$conflicts_k_2"] == (1, "resolved w")


def test_watchers_are_told_of_their_keys(base: Base) -> None:
    watcher = Client()
    watcher.watches = {"k": None}
    base.watchers.append(watcher)
    base.change("k", -1, "v", now=1)
    base.change("j", -1, "v", now=1)
    base.remove("k")
    base.remove("k")
    assert watcher.told == ["changed k v\n", "changed-version k 0 v\n", "removed k\n"]


def test_numbers_are_counted_within_64_bits(base: Base) -> None:
    base.increment("n", 5, now=1)
    base.increment("n", -7, now=1)
    assert base.keys["n"] == (2, "-2")
    with pytest.raises(Refusal, match="out of range"):
        base.increment("n", -(2**63), now=1)
    base.change("n", -1, "x", now=1)
    with pytest.raises(Refusal, match="not numeric"):
        base.increment("n", 1, now=1)


@pytest.mark.parametrize("key", ["$$token", "$$user_ana"])
def test_a_secret_is_kept_as_its_hash(base: Base, key: str) -> None:
    base.change(key, -1, "word", now=1)
    assert base.keys[key][1] == fake_hash("word")


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("a*", "ab", True),
        ("a*", "ba", False),
        ("*a", "ba", True),
        ("*a", "ab", False),
        ("a", "bab", True),
        ("*", "", True),
    ],
)
def test_patterns(pattern: str, key: str, expected: bool) -> None:
    assert matches(pattern, key) is expected


def test_only_who_may_does() -> None:
    model_of_all = Model(ADMIN_PASSWORD)
    admin, ana = Client(), Client()
    for text in (f"auth {ADMIN_USER} {ADMIN_PASSWORD}", "create-db d pwd", "use-db d pwd", "create-user ana ana-pwd"):
        model_of_all.execute(admin, text)
    assert admin.told == ["valid auth\n", "ok \n", "create-db success\n", "ok \n", "ok \n", "ok \n"]
    model_of_all.execute(ana, "use-db d ana ana-pwd")
    model_of_all.execute(ana, "watch a1")
    model_of_all.execute(admin, "set-permissions ana r a*")
    model_of_all.execute(ana, "watch a1")
    model_of_all.execute(admin, "set a1 v")
    model_of_all.execute(admin, "set-permissions ana w a*")
    model_of_all.execute(admin, "set a1 w")
    denied = ["permission denied\n", "error permission denied\n \n"]
    assert ana.told == ["ok \n", *denied, "ok \n", "changed a1 v\n", "changed-version a1 0 v\n"]
