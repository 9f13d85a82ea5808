"""The check of the crash tests itself: it must find each kind of damage it is there to find."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.clients.load import Change, ChangeSource, HttpWriter, State, Writer, check_writer
from tools.clients.server import Server

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="writer")
def _writer(tmp_path: Path) -> Writer:
    """A writer that sent seven changes and had five acknowledged, without a server's help."""
    writer = HttpWriter(Server(tmp_path), "none", "w", seed=1)
    first, second, *_ = writer.source.keys
    writer.sent = [
        Change("", first, State(0, "a")),
        Change("", second, State(0, "a")),
        Change("", first, State(1, "b")),
        Change("", second, None),
        Change("", second, State(0, "c")),
        Change("", first, State(2, "d")),
        Change("", second, State(1, "e")),
    ]
    writer.acknowledged = 5
    return writer


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param((1, "b"), (0, "c"), id="just-the-acknowledged"),
        pytest.param((2, "d"), (0, "c"), id="one-more"),
        pytest.param((2, "d"), (1, "e"), id="all-that-was-sent"),
    ],
)
def test_what_may_be_found(writer: Writer, first: tuple[int, str], second: tuple[int, str]) -> None:
    keys = writer.source.keys
    check_writer(writer, {keys[0]: State(*first), keys[1]: State(*second)})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param((1, "b"), None, id="an-acknowledged-change-lost"),
        pytest.param((0, "a"), (0, "a"), id="several-lost"),
        pytest.param(None, None, id="all-lost"),
        pytest.param((2, "b"), (0, "c"), id="a-new-version-with-an-old-value"),
        pytest.param((1, "d"), (0, "c"), id="an-old-version-with-a-new-value"),
        pytest.param((1, "b"), (1, "e"), id="a-change-without-the-one-before-it"),
        pytest.param((3, "f"), (1, "e"), id="a-change-that-was-never-sent"),
    ],
)
def test_what_must_not_be_found(writer: Writer, first: tuple[int, str] | None, second: tuple[int, str] | None) -> None:
    keys = writer.source.keys
    found = {key: State(*state) for key, state in zip(keys, (first, second), strict=False) if state is not None}
    with pytest.raises(AssertionError, match="5 changes acknowledged, 7 sent"):
        check_writer(writer, found)


def test_changes_are_the_same_from_the_same_seed() -> None:
    one, other = ChangeSource("k", 7), ChangeSource("k", 7)
    changes = [one.next() for _ in range(500)]
    assert changes == [other.next() for _ in range(500)]
    assert {change.command.split(" ")[0] for change in changes} == {"set", "set-safe", "remove", "increment"}
