"""Which version a change gives a key (docs/protocol.md section 4)."""

from __future__ import annotations

from typing import Final

from pynun.protocol.arguments import UNCONDITIONAL
from pynun.protocol.numbers import INT32_MAX

VERSION_MAX: Final = INT32_MAX
"""No change gives a key a higher one; keys of older servers and of imports may have it."""

IMPORTED_VERSION_MAX: Final = 2**62
"""Versions have 64 bits on disk and grow by one with each change: the one after the highest could not be written."""

IN_CONFLICT: Final = -2
"""The version of a key whose conflict no arbiter has resolved yet (docs/protocol.md section 5)."""


def following(version: int) -> int:
    """The version after `version`: at least 0, also after one that means something else (IN_CONFLICT) or is damaged."""
    return version + 1 if version > UNCONDITIONAL else 0


def next_version(old: int | None, given: int) -> int | None:
    """The version after a change with version `given`, or None if it is a conflict.

    `old` is the key's present version, None for an absent key, and never IN_CONFLICT. A version below -1 counts as -1
    where it is taken: literally, it would make a key that reads as deleted or as being in conflict.
    """
    if old is None:
        return following(given)
    if given == UNCONDITIONAL:
        given = old
    elif given < old:
        return None
    return given + 1 if given > UNCONDITIONAL else 0  # as `following`, without the call: each `set` comes here
