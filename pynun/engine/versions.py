"""Which version a change gives a key (docs/protocol.md section 4)."""

from __future__ import annotations

from typing import Final

from pynun.language.arguments import UNCONDITIONAL

IN_CONFLICT: Final = -2
"""The version of a key whose conflict no arbiter has resolved yet (docs/protocol.md section 5)."""


def next_version(old: int | None, given: int) -> int | None:
    """The version after a change that names version `given`, or None if the change is a conflict.

    `old` is the key's present version, None for an absent key, and never IN_CONFLICT. A version below -1 on an absent
    key counts as -1: taken literally it would make a key that reads as deleted or as being in conflict.
    """
    if old is None:
        return max(given, UNCONDITIONAL) + 1
    if given == UNCONDITIONAL:
        return old + 1
    return given + 1 if given >= old else None
