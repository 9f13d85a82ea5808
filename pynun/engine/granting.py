"""Adding to and taking from what a user may do, on the text of its permission entry (docs/protocol.md section 3).

An entry is a union of grants, so their order and how they are split mean nothing: both functions give the shortest text
of the same meaning, patterns in the order in which they first stood, those with the same kinds in one grant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.engine.permissions import Grant, Permission, parse_grants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pynun.engine.patterns import Pattern


def added(text: str, grants: tuple[Grant, ...]) -> str:
    """The entry `text` with more grants."""
    return _written(_by_pattern((*parse_grants(text), *grants)))


def taken(text: str, grants: tuple[Grant, ...]) -> str | None:
    """The entry `text` without these kinds on exactly these patterns; None if it grants none of them."""
    kinds_of = _by_pattern(parse_grants(text))
    is_changed = False
    for grant in grants:
        for pattern in grant.patterns:
            kinds = kinds_of.get(pattern, frozenset())
            is_changed = is_changed or bool(kinds & grant.kinds)
            kinds_of[pattern] = kinds - grant.kinds
    return _written(kinds_of) if is_changed else None


def still_granted(text: str, grants: tuple[Grant, ...]) -> list[Grant]:
    """What of `grants` the entry `text` allows as a whole all the same, by other patterns."""
    left = parse_grants(text)
    return [
        Grant(frozenset({kind}), (pattern,))
        for grant in grants
        for pattern in grant.patterns
        for kind in Permission
        if kind in grant.kinds
        and any(kind in other.kinds and any(wide.covers(pattern) for wide in other.patterns) for other in left)
    ]


def _by_pattern(grants: tuple[Grant, ...]) -> dict[Pattern, frozenset[Permission]]:
    kinds_of: dict[Pattern, frozenset[Permission]] = {}
    for grant in grants:
        for pattern in grant.patterns:
            kinds_of[pattern] = kinds_of.get(pattern, frozenset()) | grant.kinds
    return kinds_of


def _written(kinds_of: Mapping[Pattern, frozenset[Permission]]) -> str:
    patterns_of: dict[frozenset[Permission], list[Pattern]] = {}
    for pattern, kinds in kinds_of.items():
        if kinds:
            patterns_of.setdefault(kinds, []).append(pattern)
    return "|".join(str(Grant(kinds, tuple(patterns))) for kinds, patterns in patterns_of.items())
