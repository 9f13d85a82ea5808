"""Commands drawn from a seed: few names, so that they meet each other, and many that are right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER

if TYPE_CHECKING:
    import random

DATABASES: Final = ("one", "two")
LATE_DATABASE: Final = "three"
"""Made in the middle of it all, so that its making can be lost."""

USERS: Final = ("ana", "bob")
STRATEGIES: Final = ("none", "newer", "arbiter")

_KEYS: Final = ("a", "ab", "a_1", "n", "ü", "a", "n", "$connections")
_VALUES: Final = ("1", "2", "two words", "x", "", "ü🙂", "r a*", "long-" + "y" * 120)
_PATTERNS: Final = ("*", "a*", "*b", "a", "$*", "*1")
_GRANTS: Final = ("rwix *", "r a*", "rw a*|rix n", "w *", "r *|rwx a")

_WEIGHTS: Final = {
    "set": 14,
    "set-safe": 14,
    "increment": 8,
    "remove": 3,
    "get": 5,
    "get-safe": 6,
    "keys": 2,
    "watch": 7,
    "unwatch": 2,
    "unwatch-all": 1,
    "use-db": 6,
    "auth": 3,
    "arbiter": 4,
    "resolve": 3,
    "create-user": 2,
    "set-permissions": 4,
    "set-secret": 1,
    "create-db": 2,
    "snapshot": 1,
    "unknown": 1,
}
_NAMES: Final = tuple(_WEIGHTS)
_CUMULATIVE: Final = [sum(list(_WEIGHTS.values())[: place + 1]) for place in range(len(_WEIGHTS))]


def token(name: str) -> str:
    """The token of a database or a user, unless it was changed."""
    return f"{name}-pwd"


def use_database(chance: random.Random) -> str:
    """Select a database, as its user or by its token, now and then with a wrong one."""
    name = chance.choice((*DATABASES, *DATABASES, *DATABASES, LATE_DATABASE, "nowhere"))
    user = chance.choice(("", "", "", *USERS, "nobody"))
    given = chance.choice((token(user or name),) * 6 + ("changed", "wrong"))
    return f"use-db {name} {user} {given}" if user else f"use-db {name} {given}"


def draw_command(chance: random.Random, pending: list[tuple[str, str, int]], *, is_slow: bool) -> str:
    """One command. `pending` are the unresolved conflicts (database, key, id).

    A slow client never arbitrates: what arbiters are told has no end of line, and is never left out.
    """
    name = chance.choices(_NAMES, cum_weights=_CUMULATIVE)[0]
    key, value = chance.choice(_KEYS), chance.choice(_VALUES)
    match name:
        case "set":
            return f"set {key} {value}"
        case "set-safe":
            return f"set-safe {key} {chance.choice((-1, -1, 0, 1, 2, 3, 5, 40, -2))} {value}"
        case "increment":
            return f"increment n {chance.choice((1, 1, -3, 2**63 - 1))}"
        case "get" | "get-safe" | "remove" | "watch" | "unwatch":
            return f"{name} {key}"
        case "keys":
            return f"keys {chance.choice(_PATTERNS)}"
        case "use-db":
            return use_database(chance)
        case "auth":
            return f"auth {ADMIN_USER} {chance.choice((ADMIN_PASSWORD, ADMIN_PASSWORD, 'wrong'))}"
        case "arbiter":
            return "get a" if is_slow else "arbiter"
        case "resolve":
            if pending:
                base, resolved, identifier = chance.choice(pending)
                return f"resolve {identifier} {base} {resolved} {chance.randrange(-1, 6)} {value}"
            return f"resolve 7 one {key} 1 {value}"
        case "create-user":
            user = chance.choice(USERS)
            return f"create-user {user} {chance.choice((token(user), token(user), 'changed'))}"
        case "set-permissions":
            return f"set-permissions {chance.choice((*USERS, 'all'))} {chance.choice(_GRANTS)}"
        case "set-secret":
            return f"set {chance.choice(('$$token', '$$user_ana'))} {chance.choice(('changed', 'one-pwd', 'ana-pwd'))}"
        case "create-db":
            return f"create-db {LATE_DATABASE} {token(LATE_DATABASE)} {chance.choice(STRATEGIES)}"
        case "snapshot":
            return "snapshot"
        case _:
            return chance.choice(("", "nonsense", "set", "increment n x", "unwatch-all"))
