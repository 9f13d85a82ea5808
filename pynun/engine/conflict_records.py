"""Which entries say that a conflict waits for an arbiter (docs/protocol.md section 5).

The index of unresolved conflicts is no part of what databases are moved as: an import makes it anew from the records.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pynun.language.numbers import parse_integer

_RECORD_PREFIX: Final = "$conflicts_"
_UNRESOLVED: Final = "resolve "


class Waiting(NamedTuple):
    """What a record says whose conflict is unresolved."""

    key: str
    identifier: int
    database: str
    text_behind: str
    """The record's text behind the database's name."""


def is_record(key: str) -> bool:
    """Whether a key has the form of a conflict's record."""
    return key.startswith(_RECORD_PREFIX)


def is_unresolved(text: str) -> bool:
    """Whether the text of a record says that its conflict still waits."""
    return text.startswith(_UNRESOLVED)


def parse_waiting(key: str, text: str) -> Waiting | None:
    """Read a record `$conflicts_KEY_ID` with the text `resolve ID DATABASE VERSION KEY OLD NEW`.

    None if it is resolved, or only looks like a record: anybody may set such a key.
    """
    if not key.startswith(_RECORD_PREFIX) or not text.startswith(_UNRESOLVED):
        return None
    of, _, digits = key[len(_RECORD_PREFIX) :].rpartition("_")
    parts = text.split(" ", 5)
    identifier = parse_integer(digits, 0)
    if len(parts) < 6 or not of or identifier is None or digits != str(identifier):
        return None
    if parts[1] != digits or parts[4] != of:
        return None
    return Waiting(of, identifier, parts[2], " ".join(parts[3:]))


def renamed(waiting: Waiting, database: str) -> str:
    """The text of a record of a database that has another name now."""
    return f"{_UNRESOLVED}{waiting.identifier} {database} {waiting.text_behind}"
