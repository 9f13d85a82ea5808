"""Command texts drawn from the command table: each row's words by its usage, so that a new row is drawn too.

The names, keys and tokens are few, so that commands meet each other; one in some is wrong.
"""

from __future__ import annotations

from hypothesis import strategies as st

from pynun.engine.commands.table import BY_NAME, COMMANDS
from tests.engine.answers import DATABASES
from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER, fake_hash

USERS = ("ana", "bob")
KEYS = ("a", "ab", "a_1", "n", "ü")
SPECIAL_KEYS = (
    "$connections",
    "$conflicts",
    "$conflicts_a_1",
    "$$token",
    "$$user_ana",
    "$$user_all",
    "$$permission_$ana",
    "$$permission_$all",
)
STRATEGIES = ("none", "newer", "arbiter")

_OFTEN = (
    *(("set", "set-safe", "get", "get-safe", "increment", "remove", "keys", "watch") * 4),
    *(("use-db", "set-permissions", "resolve", "replicate", "replicate-increment", "rp", "debug") * 2),
    *("unwatch", "unwatch-all", "arbiter", "arbiter"),
)


def _mostly(usual: tuple[str, ...], rare: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.sampled_from((*usual * (1 + 3 * len(rare) // len(usual)), *rare))


def token(name: str) -> str:
    """The token of a database or a user, unless it was changed."""
    return ADMIN_PASSWORD if name == "$admin" else f"{name}-pwd"


databases = _mostly(DATABASES, ("$admin", "nowhere"))
users = _mostly(USERS, ("all", "nobody"))
keys = _mostly(KEYS, SPECIAL_KEYS)
versions = st.integers(-3, 6).map(str) | st.sampled_from(
    ("x", "+2", str(2**31 - 2**24), "2147483647", "2147483648", "-2147483648", str(10**30), str(-(10**30)), "")
)
values = _mostly(("1", "2", "two words", "x"), ("", "  spaces ", "9223372036854775807", fake_hash("x"), "r a*", "ü🙂"))
tokens = st.sampled_from((*map(token, (*DATABASES, *USERS)), "wrong"))
patterns = st.sampled_from(("*", "a*", "*b", "a", "$*", "*1", "$conn", "a*,n", "x, *b ", ",", "a*|w n", "n|x a|i *"))

_WORDS: dict[str, st.SearchStrategy[str]] = {
    "USER": users,
    "PASSWORD": tokens,
    "NAME": databases,
    "TOKEN": tokens,
    "[none|newer|arbiter]": st.sampled_from((*STRATEGIES, "other")),
    "DATABASE": databases,
    "[USER]": users,
    "[TOKEN]": tokens,
    "IMPORT": st.sampled_from(("77", "x")),
    "JSON": st.sampled_from(("[]", "x")),
    "none|newer|arbiter": st.sampled_from((*STRATEGIES, "other")),
    "[replace]": st.sampled_from(("replace", "x")),
    "KINDS": st.sampled_from(("r", "rw", "rwix", "x", "i", "q")),
    "PATTERNS[|KINDS": patterns,
    "PATTERNS…]": st.just(""),
    "KEY": keys,
    "VALUE": values,
    "VERSION": versions,
    "PATTERNS": st.sampled_from(("*", "a*", "*b", "a", "a*,n", "*,a*", "ab*", "a|b")),
    "[AFTER]": databases,
    "[ID]": st.sampled_from(("1", "3", "x")),
    "r|w|i|x": st.sampled_from(("r", "w", "i", "x", "q")),
    "[N]": st.sampled_from(("1", "-3", "9223372036854775807", "-9223372036854775808", "x", "99999999999999999999")),
    "[PATTERN]": st.sampled_from(("", "*", "a*", "*b", "a", "$$", "$*", "n")),
    "ID": st.sampled_from(("1", "7", "x")),
    "[true|false]": st.sampled_from(("true", "false")),
    "[DATABASE|DATABASE…]": st.lists(databases, max_size=3).map("|".join),
    "COMMAND": st.deferred(lambda: commands),
    "list-dbs|pending-ops|pending-conflicts|process-info|force-election": st.sampled_from(
        ("list-dbs", "pending-ops", "pending-conflicts", "pendding-conflitcts", "process-info", "force-election", "x")
    ),
    "NODE": st.just("node"),
    "[NODE]": st.just("node"),
    "[win|alive|candidate]": st.sampled_from(("win", "alive", "candidate")),
    "START": st.sampled_from(("0", "x")),
    "DATABASE|DATABASE…": st.lists(databases, min_size=1, max_size=3).map("|".join),
    "[VERSION]": versions,
    "[VALUE]": values,
}


_RIGHT_ONES: dict[str, st.SearchStrategy[str]] = {
    "use-db": databases.map(lambda name: f"use-db {name} {token(name)}"),
    "use": st.tuples(databases, users).map(lambda pair: f"use {pair[0]} {pair[1]} {token(pair[1])}"),
    "create-user": users.map(lambda name: f"create-user {name} {token(name)}"),
    "create-db": databases.flatmap(
        lambda name: st.sampled_from(STRATEGIES).map(lambda strategy: f"create-db {name} {token(name)} {strategy}")
    ),
    "set-password": st.just(f"set-password {ADMIN_PASSWORD}"),
    "add-user": st.tuples(databases, users).map(lambda pair: f"add-user {pair[0]} {pair[1]} {token(pair[1])}"),
    "set-token": st.tuples(databases, users).map(
        lambda pair: f"set-token {pair[0]} {pair[1]} {token(pair[0] if pair[1] == 'all' else pair[1])}"
    ),
    "auth": st.just(f"auth {ADMIN_USER} {ADMIN_PASSWORD}"),
}
"""Commands in which one word decides over another: drawn by words alone they would nearly never be right."""


@st.composite
def _commands(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from((*BY_NAME, *_OFTEN)))
    if name in _RIGHT_ONES and draw(st.sampled_from((True, True, True, False))):
        return draw(_RIGHT_ONES[name])
    usage = BY_NAME[name].shape.usage.split(" ")
    words = [name, *(draw(_WORDS[word]) for word in usage if word and (word[0] != "[" or draw(st.booleans())))]
    if len(words) > 1 and draw(st.sampled_from((*[False] * 15, True))):
        del words[draw(st.integers(1, len(words))) :]
    return " ".join(words)


commands: st.SearchStrategy[str] = _commands()
"""One command, right or wrong."""


def unknown_words() -> set[str]:
    """Words of usages that nothing is drawn for: must be none."""
    return {word for row in COMMANDS for word in row.shape.usage.split(" ") if word} - set(_WORDS)
