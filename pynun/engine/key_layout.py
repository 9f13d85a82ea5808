"""The layout of stored keys: databases, catalogue, the server's own notes, conflicts.

A stored key is four bytes, its owner, and text (docs/storage.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

from pynun.protocol.numbers import parse_unsigned

if TYPE_CHECKING:
    from collections.abc import Iterable

Strategy = Literal["none", "newer", "arbiter"]
STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)

ADMIN_DATABASE = "$admin"
CONNECTIONS_KEY = "$connections"
ARBITER_KEY = "$conflicts"
"""Sessions that watch this key are arbiters (docs/protocol.md section 5)."""

ID_BYTES: Final = 4
"""Length of the prefix that says which database a stored key belongs to."""

CATALOGUE: Final = bytes(ID_BYTES)
"""Stored keys of the catalogue, one per database, begin with it: version = identifier, text = strategy."""

LAST_IDENTIFIER: Final = CATALOGUE
"""The catalogue's entry without a name: the highest identifier given so far. Names are never empty."""

CONFLICT_BIT: Final = 0x8000_0000
"""Set in those bytes: the index of the database's unresolved conflicts."""

HOUSEKEEPING: Final = CONFLICT_BIT.to_bytes(ID_BYTES, "big")
"""Stored keys of the server's own notes begin with it: no database has the identifier 0."""

LAST_CONFLICT: Final = HOUSEKEEPING + b"last-conflict"
"""The stored key of the highest id that a conflict was given, as its version; there from the first conflict on."""

CLUSTER: Final = HOUSEKEEPING + b"cluster"
"""The stored key of the id of the cluster that the data belongs to, as its text; there only in a cluster."""

RECORD_PREFIX: Final = "$conflicts_"
"""The keys of conflicts' records begin with it: `$conflicts_KEY_ID`."""

CLOCK_ID_MAX: Final = 2**62
"""Nanoseconds up to the year 2116. Anybody may set a key that looks like a record: a higher id in its name is not ours,
so ids can always grow further within 63 bits."""


def parse_strategy(word: str) -> Strategy:
    """The strategy that `word` names; unknown words mean `none` (docs/protocol.md section 2)."""
    for strategy in STRATEGIES:
        if word == strategy:
            return strategy
    return "none"


def prefixes(identifier: int) -> tuple[bytes, bytes]:
    """What stored keys of a database begin with: of its data, and of the index of its unresolved conflicts."""
    return identifier.to_bytes(ID_BYTES, "big"), (identifier | CONFLICT_BIT).to_bytes(ID_BYTES, "big")


def index_key(pending_prefix: bytes, key: str, identifier: int) -> bytes:
    """The stored key of an unresolved conflict in the index: `KEY ID`; a key holds no space."""
    return pending_prefix + f"{key} {identifier}".encode()


def record_key(key: str, identifier: int | str) -> str:
    """The key of a conflict's record."""
    return f"{RECORD_PREFIX}{key}_{identifier}"


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


def newest_of(keys: Iterable[str], newest: int = 0) -> int:
    """The highest id among the records that are among `keys`, if it is above `newest`."""
    for key in keys:
        named = parse_record(key)
        if named is not None and newest < named[1] <= CLOCK_ID_MAX:
            newest = named[1]
    return newest
