"""Argon2id hashes as texts: recognising them, and the cost of checking them.

A hash contains its cost (RFC 9106, and the encoding of the reference implementation). An attacker who can store one
could otherwise make every login take gigabytes or minutes.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from pynun import limits

_ARGON2ID_HASH = re.compile(r"\$argon2id\$v=19\$m=([0-9]+),t=([0-9]+),p=([0-9]+)\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")
_DIGITS_MAX = 10


class HashCost(NamedTuple):
    """The cost of computing a hash."""

    memory_kib: int
    passes: int
    lanes: int


class HashLimit:
    """The highest accepted cost: what is usual elsewhere, or this server's own cost if higher."""

    def __init__(self, own: HashCost) -> None:
        self._memory_kib = max(limits.HASH_MEMORY_KIB_MAX, own.memory_kib)
        self._passes = max(limits.HASH_PASSES_MAX, own.passes)
        self._lanes = max(limits.HASH_LANES_MAX, own.lanes)
        self._work_kib = max(limits.HASH_WORK_KIB_MAX, own.memory_kib * own.passes)

    def __str__(self) -> str:
        return f"at most m={self._memory_kib}, t={self._passes}, p={self._lanes} and m times t {self._work_kib}"

    def allows(self, text: str) -> bool:
        """Whether this hash may be checked. A text that is not a hash costs nothing."""
        cost = cost_of(text)
        return cost is None or (
            cost.memory_kib <= self._memory_kib
            and cost.passes <= self._passes
            and cost.lanes <= self._lanes
            and cost.memory_kib * cost.passes <= self._work_kib
        )


USUAL_LIMIT: Final = HashLimit(HashCost(0, 0, 0))
"""That of a server whose own hashes cost no more than is usual."""


def is_secret_hash(text: str) -> bool:
    """Whether a secret's value already is a hash, which is stored as it is (restore, migration)."""
    return _ARGON2ID_HASH.fullmatch(text) is not None


def cost_of(text: str) -> HashCost | None:
    """The cost of checking this hash; None if it is not a hash."""
    match = _ARGON2ID_HASH.fullmatch(text)
    if match is None:
        return None
    numbers = (digits.lstrip("0") or "0" for digits in match.groups())
    return HashCost(*(int(digits) if len(digits) <= _DIGITS_MAX else 10**_DIGITS_MAX for digits in numbers))
