"""Which entries say that a conflict waits for an arbiter (docs/protocol.md section 5).

The index of unresolved conflicts is no part of what databases are moved as: an import makes it anew from the records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pynun.protocol.numbers import parse_unsigned

if TYPE_CHECKING:
    from collections.abc import Iterable

RECORD_PREFIX: Final = "$conflicts_"
_UNRESOLVED: Final = "resolve "

CLOCK_ID_MAX: Final = 2**62
"""Nanoseconds up to the year 2116. Anybody may set a key that looks like a record: a higher id in its name is not ours,
so ids can always grow further within 63 bits."""


class Waiting(NamedTuple):
    """What a record says whose conflict is unresolved."""

    key: str
    identifier: int
    database: str
    text_behind: str
    """The record's text behind the database's name."""


def is_record(key: str) -> bool:
    """Whether a key has the form of a conflict's record."""
    return key.startswith(RECORD_PREFIX)


def parse_record(key: str) -> tuple[str, int] | None:
    """The key and the id in the name of a conflict's record; None if it is none. Its conflict need not have been."""
    if not key.startswith(RECORD_PREFIX):
        return None
    of, _, digits = key[len(RECORD_PREFIX) :].rpartition("_")
    identifier = parse_unsigned(digits)
    return None if not of or identifier is None or digits != str(identifier) else (of, identifier)


def is_unresolved(text: str) -> bool:
    """Whether the text of a record says that its conflict still waits."""
    return text.startswith(_UNRESOLVED)


def parse_waiting(key: str, text: str) -> Waiting | None:
    """Read a record `$conflicts_KEY_ID` with the text `resolve ID DATABASE VERSION KEY OLD NEW`.

    None if it is resolved, or only looks like a record: anybody may set such a key.
    """
    named = parse_record(key) if text.startswith(_UNRESOLVED) else None
    parts = text.split(" ", 5)
    if named is None or len(parts) < 6:
        return None
    of, identifier = named
    if parts[1] != str(identifier) or parts[4] != of:
        return None
    return Waiting(of, identifier, parts[2], " ".join(parts[3:]))


def renamed(waiting: Waiting, database: str) -> str:
    """The text of a record of a database that has another name now."""
    return f"{_UNRESOLVED}{waiting.identifier} {database} {waiting.text_behind}"


def newest_of(keys: Iterable[str], newest: int = 0) -> int:
    """The highest id among the records that are among `keys`, if it is above `newest`."""
    for key in keys:
        named = parse_record(key)
        if named is not None and newest < named[1] <= CLOCK_ID_MAX:
            newest = named[1]
    return newest
