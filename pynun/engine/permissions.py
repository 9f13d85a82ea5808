"""Who may do what to a key (docs/protocol.md section 3)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from pynun.engine.patterns import Pattern, parse_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping

EVERYONE = "all"
"""User name of sessions that used the database token."""

ADMINISTRATOR = ""
"""User name of sessions whose administrator opened the database without a token (`open-db`)."""

_DECISIONS_MAX = 4096  # decisions remembered per user and database; beyond it they are simply made again

_DECISION_CHARACTERS_MAX = 256  # decisions on longer keys are not remembered: they would take the room of many


class Secret(NamedTuple):
    """The secret that a session used to select its database."""

    key: str
    hash: str
    """The key's value at that time."""


class Permission(Enum):
    """The four kinds, by wire letter. Another letter counts as `r`."""

    READ = "r"
    WRITE = "w"
    INCREMENT = "i"
    REMOVE = "x"

    # Identity hash and comparison: members are singletons, and every command looks one up in a dict.
    __hash__ = object.__hash__


class Grant(NamedTuple):
    """One `KINDS PATTERNS` of an entry."""

    kinds: frozenset[Permission]
    patterns: tuple[Pattern, ...]

    def __str__(self) -> str:
        """As it is written: kinds in the order `rwix`."""
        kinds = "".join(kind.value for kind in Permission if kind in self.kinds)
        return f"{kinds} {','.join(map(str, self.patterns))}"


def permission_key(user: str) -> str:
    return f"$$permission_${user}"


def user_key(user: str) -> str:
    return f"$$user_{user}"


def is_security_key(key: str) -> bool:
    """Keys that only an admin session may touch."""
    return key.startswith("$$")


def is_secret_key(key: str) -> bool:
    """Keys whose value is a secret: only its Argon2id hash is ever stored."""
    return key == "$$token" or key.startswith("$$user_")


def user_of_secret(key: str) -> str | None:
    """The user whose token is in `key`; None if it is not a secret or not usable (`$$user_all`)."""
    if key == "$$token":
        return EVERYONE
    return key[len("$$user_") :] if key.startswith("$$user_") and key != user_key(EVERYONE) else None


def permitted_user(key: str) -> str | None:
    """The user whose permission entry `key` is, or None if it is another key."""
    return key[len("$$permission_$") :] if key.startswith("$$permission_$") else None


def _kind(letter: str) -> Permission:
    try:
        return Permission(letter)
    except ValueError:
        return Permission.READ


def parse_grants(text: str) -> tuple[Grant, ...]:
    """Parse `KINDS PATTERNS[|KINDS PATTERNS…]`. Any text is accepted; a part without patterns grants nothing."""
    grants = []
    for part in text.split("|"):
        kinds, _, patterns = part.strip().partition(" ")
        if patterns:
            grants.append(
                Grant(
                    frozenset(map(_kind, kinds)),
                    tuple(parse_pattern(pattern.strip()) for pattern in patterns.split(",") if pattern.strip()),
                )
            )
    return tuple(grants)


def normalised(text: str) -> str:
    """`KINDS PATTERNS[|KINDS PATTERNS…]` as the original stores it: unknown letters are `r`, each part has a blank."""
    parts = [part.partition(" ") for part in text.split("|")]
    return "|".join(f"{''.join(_kind(letter).value for letter in kinds)} {patterns}" for kinds, _, patterns in parts)


class Rules:
    """What one user may do in one database, with cached decisions: every command asks.

    A new `Rules` replaces it when the user's entry changes, so that the cache never outlives the entry.
    """

    __slots__ = ("__weakref__", "_decisions", "_grants")

    def __init__(self, grants: tuple[Grant, ...]) -> None:
        self._grants = grants
        self._decisions: dict[tuple[Permission, str], bool] = {}

    def allow(self, permission: Permission, key: str) -> bool:
        if not self._grants:
            return False
        if len(key) > _DECISION_CHARACTERS_MAX:
            return self._decide(permission, key)
        decision = self._decisions.get((permission, key))
        if decision is None:
            decision = self._decide(permission, key)
            if len(self._decisions) >= _DECISIONS_MAX:
                self._decisions.clear()
            self._decisions[permission, key] = decision
        return decision

    def _decide(self, permission: Permission, key: str) -> bool:
        return self.ruling_grant(permission, key) is not None

    def ruling_grant(self, permission: Permission, key: str) -> Grant | None:
        """The first grant that allows this kind on this key; None: it is denied."""
        for grant in self._grants:
            if permission in grant.kinds and any(pattern.matches(key) for pattern in grant.patterns):
                return grant
        return None


NO_GRANTS = Rules(())
"""Rules of a named user without an entry: nothing is allowed."""


# --- adding to and taking from an entry -------------------------------------------------------------------------------
#
# An entry is a union of grants, so their order and how they are split mean nothing: both functions give the shortest
# text of the same meaning, patterns in the order in which they first stood, those with the same kinds in one grant.


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
    """The `grants` that the entry `text` still allows completely, by other patterns."""
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
