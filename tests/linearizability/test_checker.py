"""The checker itself: it must let through what can have been, and find each way in which a history can be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.linearizability.checker import MissingCheckerError, check, find_checker
from tests.linearizability.histories import Found, Kind, Operation

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]  # the first time, it is built


@pytest.fixture(scope="module", autouse=True)
def _checker() -> None:
    try:
        find_checker()
    except MissingCheckerError as error:
        pytest.skip(str(error))


def one(
    kind: Kind,
    text: str,
    called: int,
    returned: int | None,
    outcome: str = "ok",
    *,
    found: tuple[int, str] | None = None,
    key: str = "k",
    client: int = 0,
) -> Operation:
    """An operation from a short description: `text` is the value, or version and value."""
    version, _, value = text.rpartition(" ")
    return Operation(
        client, kind, key, int(version or 0), value, called, returned, outcome, None if found is None else Found(*found)
    )


def get(called: int, returned: int, version: int | None, value: str = "") -> Operation:
    """A `get-safe` and what it found."""
    found = None if version is None else (version, value)
    return one("get-safe", "", called, returned, "value", found=found, client=1)


POSSIBLE = {
    "one-after-another": [one("set", "1", 1, 2), get(3, 4, 0, "1"), one("remove", "", 5, 6), get(7, 8, None)],
    "a-removed-key-is-new": [one("set", "1", 1, 2), one("remove", "", 3, 4), one("set", "2", 5, 6), get(7, 8, 0, "2")],
    "an-absent-key-takes-the-version": [one("set-safe", "5 1", 1, 2), get(3, 4, 6, "1")],
    "a-conflict": [one("set-safe", "5 1", 1, 2), one("set-safe", "4 2", 3, 4, "conflict"), get(5, 6, 6, "1")],
    "counted-from-nothing": [one("increment", "2", 1, 2), one("increment", "3", 3, 4), get(5, 6, 2, "5")],
    "two-at-once-in-either-order": [one("set", "1", 1, 9), one("set", "2", 2, 8, client=1), get(10, 11, 1, "1")],
    "read-while-it-is-changed": [one("set", "1", 1, 9), get(2, 3, None), get(4, 5, 0, "1")],
    "without-an-answer-and-there": [one("set", "1", 1, None), get(5, 6, 0, "1")],
    "without-an-answer-and-not-there": [one("set", "1", 1, None), get(5, 6, None)],
    "without-an-answer-and-there-later": [one("set", "1", 1, None), get(5, 6, None), get(7, 8, 0, "1")],
    "of-two-keys-each": [one("set", "1", 1, 2), one("set", "1", 3, 4, key="j"), get(5, 6, 0, "1")],
}

IMPOSSIBLE = {
    "an-acknowledged-change-is-lost": [one("set", "1", 1, 2), get(3, 4, None)],
    "read-again-it-is-older": [one("set", "1", 1, 2), one("set", "2", 3, 9), get(4, 5, 1, "2"), get(6, 7, 0, "1")],
    "a-new-version-with-an-old-value": [one("set", "1", 1, 2), one("set", "2", 3, 4), get(5, 6, 1, "1")],
    "a-value-nobody-set": [one("set", "1", 1, 2), get(3, 4, 0, "7")],
    "seen-before-it-was-sent": [get(1, 2, 0, "1"), one("set", "1", 3, 4)],
    "one-of-two-counts-is-lost": [
        one("increment", "1", 1, 9),
        one("increment", "1", 2, 8, client=1),
        get(10, 11, 1, "1"),
    ],
    "both-of-two-that-name-one-version-win": [
        one("set", "1", 1, 2),
        one("set-safe", "0 2", 3, 9),
        one("set-safe", "0 3", 4, 8, client=1),
        get(10, 11, 2, "3"),
    ],
    "a-conflict-that-was-none": [one("set-safe", "5 1", 1, 2), one("set-safe", "6 2", 3, 4, "conflict")],
    "a-conflict-that-was-applied": [one("set-safe", "5 1", 1, 2), one("set-safe", "4 2", 3, 4), get(5, 6, 5, "2")],
    "there-and-gone-though-nobody-removed-it": [one("set", "1", 1, None), get(5, 6, 0, "1"), get(7, 8, None)],
    "removed-and-still-there": [one("set", "1", 1, 2), one("remove", "", 3, 4), get(5, 6, 0, "1")],
    "counted-up-from-no-number": [one("set", "x", 1, 2), one("increment", "1", 3, 4)],
}


@pytest.mark.parametrize("history", POSSIBLE.values(), ids=POSSIBLE)
def test_what_can_have_been(history: list[Operation], tmp_path: Path) -> None:
    verdict = check(history, tmp_path)
    assert verdict.is_linearizable
    assert verdict.operations == len(history)
    assert verdict.page is None


@pytest.mark.parametrize("history", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_can_not_have_been(history: list[Operation], tmp_path: Path) -> None:
    verdict = check(history, tmp_path)
    assert not verdict.is_linearizable
    assert verdict.page is not None
    assert "<html" in verdict.page.read_text(encoding="utf-8").lower()


def test_where_the_newer_one_wins_an_old_version_is_applied(tmp_path: Path) -> None:
    history = [one("set-safe", "5 1", 1, 2), one("set-safe", "4 2", 3, 4), get(5, 6, 7, "2")]
    assert check(history, tmp_path, strategy="newer").is_linearizable
    assert not check(history, tmp_path, strategy="none").is_linearizable


def test_a_file_that_is_no_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"exit code 2: .*not a command of a history"):
        check([one("set", "1", 9, 2)], tmp_path)
