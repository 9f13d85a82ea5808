"""Every shape of arguments: what it reads, and exactly how it refuses (docs/protocol.md sections 1 and 2)."""

from __future__ import annotations

from typing import Any

import pytest

from pynun.engine.commands.table import COMMANDS
from pynun.protocol import arguments
from pynun.protocol.arguments import Shape
from pynun.protocol.framing import words
from pynun.protocol.messages import Refusal

USE_WORDS = "set-safe must be followed by a version and key"
OUT_OF_RANGE = (
    "version out of range: at most 2130706432 can be given; remove k lets it start anew if it has come so far"
)

READ: dict[str, list[tuple[str, tuple[Any, ...]]]] = {
    "NOTHING": [("x", ()), ("x a b", ())],
    "ACKNOWLEDGEMENT": [("x 7 n", ()), ("x 007 n more", ()), ("x 18446744073709551615 n", ())],
    "ELECTION": [("x", ()), ("x win", ()), ("x candidate 7", ()), ("x candidate 7 n", ()), ("x anything a b", ())],
    "NODE": [("x n", ()), ("x n more", ()), ("x ", ())],
    "NAMED_NODE": [("x n", ("n",)), ("x n more", ("n",)), ("x ", ("",))],
    "NODE_SINCE": [("x n 1", ()), ("x  0", ())],
    "REPLICATE_SNAPSHOT": [("x d", (["d"],)), ("x d|e true", (["d", "e"],)), ("x ", ([""],))],
    "KEY": [("x k", ("k",)), ("x k and more", ("k",)), ("x k ", ("k",)), ("x ключ", ("ключ",))],
    "KEY_VALUE": [
        ("x k v", ("k", "v")),
        ("x k two  words ", ("k", "two  words ")),
        ("x k ", ("k", "")),
        ("x k", ("k", "")),
    ],
    "KEY_VERSION_VALUE": [
        ("x k 5 v", ("k", 5, "v")),
        ("x k 5 two  words ", ("k", 5, "two  words ")),
        ("x k 5 ", ("k", 5, "")),
        ("x k -1 v", ("k", -1, "v")),
        ("x k -2 v", ("k", -2, "v")),
        ("x k +5 v", ("k", 5, "v")),
        ("x k  v", ("k", -1, "v")),
        ("x k five v", ("k", -1, "v")),
        ("x k 2130706432 v", ("k", 2130706432, "v")),
        ("x k -2147483649 v", ("k", -2147483648, "v")),
        (f"x k -{'9' * 5000} v", ("k", -2147483648, "v")),
    ],
    "KEY_STEP": [
        ("x k", ("k", 1)),
        ("x k ", ("k", 1)),
        ("x k 5", ("k", 5)),
        ("x k -5", ("k", -5)),
        ("x k 0", ("k", 0)),
        ("x k five", ("k", 1)),
        ("x k 5 6", ("k", 1)),
        ("x k 9223372036854775807", ("k", 9223372036854775807)),
        ("x k 9223372036854775808", ("k", 1)),
    ],
    "AFTER": [("x", ("",)), ("x ", ("",)), ("x d", ("d",)), ("x d more", ("d",))],
    "AFTER_SESSION": [("x", (0,)), ("x 7", (7,)), ("x seven", (0,)), ("x 7 8", (7,))],
    "SESSION": [("x 7", (7,)), ("x 7 8", (7,))],
    "PASSWORD": [("x p", ("p",)), ("x two words", ("two words",)), ("x a b  c", ("a b  c",))],
    "DATABASE": [("x d", ("d",)), ("x d more", ("d",))],
    "DATABASE_AFTER": [("x d", ("d", "")), ("x d ", ("d", "")), ("x d ana", ("d", "ana"))],
    "DATABASE_USER": [("x d ana", ("d", "ana"))],
    "DATABASE_USER_TOKEN": [("x d ana t", ("d", "ana", "t"))],
    "GRANT": [("x d ana rwix a*", ("d", "ana", "rwix", "a*")), ("x d ana r a*,*b,c", ("d", "ana", "r", "a*,*b,c"))],
    "QUESTION": [("x d ana w k", ("d", "ana", "w", "k"))],
    "PATTERN": [("x", ("",)), ("x ", ("",)), ("x a*", ("a*",)), ("x a* b", ("a*",))],
    "CREDENTIALS": [
        ("x", ("", "")),
        ("x u", ("u", "")),
        ("x u p", ("u", "p")),
        ("x u p q", ("u", "p q")),
        ("x  p", ("", "p")),
    ],
    "CREATE_DATABASE": [
        ("x d t", ("d", "t", "")),
        ("x d t ", ("d", "t", "")),
        ("x d t newer", ("d", "t", "newer")),
        ("x d t newer or so", ("d", "t", "newer or so")),
    ],
    "USE": [
        ("x d t", ("d", None, "t")),
        ("x d ", ("d", None, "")),
        ("x d u t", ("d", "u", "t")),
        ("x d u t more", ("d", "u", "t more")),
        ("x d  t", ("d", "", "t")),
        ("x  t", ("", None, "t")),
    ],
    "USER_TOKEN": [("x u t", ("u", "t")), ("x u two words", ("u", "two words")), ("x", ("", "")), ("x u", ("u", ""))],
    "USER_PERMISSIONS": [("x u r", ("u", "r")), ("x u ", ("u", "")), ("x u r *|rwx a*", ("u", "r *|rwx a*"))],
    "RESOLVE": [
        ("x 7 d k 5 v", (7, "d", "k", 5, "v")),
        ("x 7 d k 5 ", (7, "d", "k", 5, "")),
        ("x 7 d k five two  words", (7, "d", "k", -1, "two  words")),
        ("x 7  k 5 v", (7, "", "k", 5, "v")),
        ("x 18446744073709551615 d k 5 v", (2**64 - 1, "d", "k", 5, "v")),
    ],
    "SNAPSHOT": [
        ("x", ([],)),
        ("x true", ([],)),
        ("x false d", (["d"],)),
        ("x true d|e", (["d", "e"],)),
        ("x true |d||", (["d"],)),
        ("x true two words", (["two words"],)),
    ],
    "OPERATION": [("x 7 get k", (7, "get k")), ("x 007  get", (7, " get")), ("x +7 get k", (7, "get k"))],
    "REPLICATE": [
        ("x d k 5 v", ("d", "k", 5, "v")),
        ("x d k 5 two  words", ("d", "k", 5, "two  words")),
        ("x d k five ", ("d", "k", -1, "")),
        ("x d k", ("d", "k", -1, "")),
        ("x d k 5", ("d", "k", 5, "")),
        ("x  k 5 v", ("", "k", 5, "v")),
    ],
    "REPLICATE_REMOVE": [("x d k", ("d", "k")), ("x d k l", ("d", "k l")), ("x", ("", "")), ("x  k", ("", "k"))],
    "REPLICATE_INCREMENT": [
        ("x d k", ("d", "k", 1)),
        ("x  k", ("", "k", 1)),
        ("x d k 5", ("d", "k", 5)),
        ("x d k five", ("d", "k", 1)),
    ],
    "ADMIN": [("x bea", ("bea",))],
    "ADMIN_PASSWORD": [("x bea pwd", ("bea", "pwd")), ("x bea two words", ("bea", "two words"))],
    "PATTERN_AFTER": [("x", ("", "")), ("x a*", ("a*", "")), ("x a* ab", ("a*", "ab"))],
    "TWO_DATABASES": [("x d e", ("d", "e"))],
    "COPY": [("x d e", ("d", "e", None)), ("x d e t", ("d", "e", "t"))],
    "IMPORT": [("x d none", ("d", "none", False)), ("x d arbiter replace", ("d", "arbiter", True))],
    "IMPORT_KEYS": [("x 7 [1, 2]", (7, "[1, 2]")), ("x 7", (7, ""))],
    "IMPORT_END": [("x 7", (7, None)), ("x 7 t", (7, "t"))],
    "IMPORT_ID": [("x 7", (7,))],
    "DEBUG": [("x list-dbs", ("list-dbs",)), ("x anything at all", ("anything",)), ("x ", ("",))],
}

REFUSED: dict[str, list[tuple[str, str]]] = {
    "KEY": [(text, "x must contain a key") for text in ("x", "x ", "x  v")],
    "KEY_VALUE": [(text, "x must contain a key") for text in ("x", "x ", "x  v")],
    "KEY_VERSION_VALUE": [
        ("x  5 v", "x must contain a key"),
        *((text, USE_WORDS) for text in ("x", "x ", "x k")),
        *((text, "set-safe must be followed by a key") for text in ("x k ", "x k 5", "x  5")),
        *((f"x k {number} v", OUT_OF_RANGE) for number in (2130706433, 2147483647, 2147483648, 10**30, "9" * 5000)),
    ],
    "KEY_STEP": [("x", "x must contain a key"), ("x  5", "x must contain a key")],
    "CREATE_DATABASE": [
        ("x", "create-db must be followed by a token"),
        ("x ", "create-db must be followed by a token"),
        ("x  t", "create-db must contain a db name"),
        ("x d", "create-db must be followed by a token"),
        ("x d ", "create-db must be followed by a token"),
        ("x d  newer", "create-db must be followed by a token"),
    ],
    "USE": [("x", USE_WORDS), ("x ", USE_WORDS), ("x d", USE_WORDS)],
    "USER_PERMISSIONS": [
        ("x", "user is mandatory"),
        ("x  r *", "user is mandatory"),
        ("x ", "permission list is mandatory"),
        ("x u", "permission list is mandatory"),
    ],
    "RESOLVE": [
        ("x", "opp id mandatory"),
        *((f"x {text} d k 5 v", "Invalid opp_id") for text in ("", "seven", "-7", "-0", 2**64, "9" * 5000)),
        ("x ", "Invalid opp_id"),
        ("x 7", "resoved must be followed by db_name, key version and value"),
        *((text, "key must be provided") for text in ("x 7 ", "x 7 d")),
        *((text, "set-safe must be followed by a key") for text in ("x 7 d ", "x 7 d k", "x 7 d k 5", "x 7 d  5")),
        ("x 7 d k 2130706433 v", OUT_OF_RANGE),
        ("x 7 d  5 v", "resolve must contain a key"),
    ],
    "OPERATION": [
        *(
            (f"x{text}", "Invalid request Id")
            for text in ("", " ", " x get k", " -7 get k", "  get k", f" {2**64} get")
        ),
        *((text, "Invalid replication request str") for text in ("x 7", "x 7 ")),
    ],
    "ACKNOWLEDGEMENT": [
        *((f"x{text}", "Invalid request Id") for text in ("", " ", " x", " -7 n", f" {2**64} n")),
        *((text, "Invalid server name") for text in ("x 7", "x 7 ")),
    ],
    "ELECTION": [
        (f"x candidate{text}", "candidate must contain process id and server name")
        for text in ("", " ", " n", " -7 n", "  n")
    ],
    "NODE": [("x", "x must contain a name")],
    "NAMED_NODE": [("x", "x must contain a name")],
    "NODE_SINCE": [
        ("x", "replicate-since must contain a node name"),
        *((text, "replicate-since must contain a start at") for text in ("x n", "x ")),
        *((f"x n {text}", "replicate-since start_at must be a u64") for text in ("", "x", "-1", "1 2", 2**64)),
    ],
    "REPLICATE_SNAPSHOT": [("x", "replicate-snapshot must contain a db name")],
    "REPLICATE": [
        *((text, "no command sent") for text in ("x", "x ", "x d")),
        *((text, "replicate must contain a key") for text in ("x d ", "x d  5 v", "x  ")),
        ("x d k 2130706433 v", OUT_OF_RANGE),
    ],
    "REPLICATE_REMOVE": [(text, "replicate-remove must contain a key") for text in ("x d", "x d ")],
    "SESSION": [(text, "x must be followed by the id of a session") for text in ("x", "x ", "x seven", "x  7")],
    "PASSWORD": [("x", "x must be followed by a password"), ("x ", "x must be followed by a password")],
    "DATABASE": [("x", "x must contain a db name"), ("x ", "x must contain a db name")],
    "DATABASE_AFTER": [("x", "x must contain a db name"), ("x  a", "x must contain a db name")],
    "DATABASE_USER": [
        ("x", "x must contain a db name"),
        *((text, "x must be followed by a database and a user") for text in ("x d", "x d ", "x d ana more")),
    ],
    "DATABASE_USER_TOKEN": [
        ("x", "x must contain a db name"),
        *(
            (text, "x must be followed by a database, a user and a token")
            for text in ("x d", "x d ana", "x d ana ", "x d  t", "x d ana two words")
        ),
    ],
    "GRANT": [
        ("x", "x must contain a db name"),
        *(
            (text, "x must be followed by a database, a user, kinds and patterns")
            for text in ("x d", "x d ana", "x d ana r", "x d ana r ", "x d ana r ,", "x d ana r a b", "x d  r a")
        ),
        ("x d ana q a", "kinds are letters of r (read), w (write), i (increment) and x (remove)"),
        ("x d ana r a|w b*", "x must be followed by a database, a user, kinds and patterns"),
        ("x d ana r a|b", "a pattern can't hold a bar"),
    ],
    "QUESTION": [
        ("x", "x must contain a db name"),
        *(
            (text, "x must be followed by a database, a user, a kind and a key")
            for text in ("x d", "x d ana r", "x d ana r ", "x d ana r k more")
        ),
        ("x d ana rw k", "a kind is one of r (read), w (write), i (increment) and x (remove)"),
    ],
    "REPLICATE_INCREMENT": [
        ("x", "replicate-snapshot must contain a db name"),
        ("x d", "replicate-increment must be followed by a key"),
        *((text, "replicate-increment must contain a key") for text in ("x d ", "x d  5")),
    ],
    "DEBUG": [("x", "command is mandatory")],
    "ADMIN": [(text, "x must be followed by the name of an administrator") for text in ("x", "x ", "x a b")],
    "ADMIN_PASSWORD": [
        (text, "x must be followed by the name of an administrator and a password") for text in ("x", "x a", "x a ")
    ],
    "TWO_DATABASES": [
        ("x", "x must contain a db name"),
        *((text, "x must be followed by two names") for text in ("x d", "x d ", "x d e f")),
    ],
    "COPY": [
        ("x", "x must contain a db name"),
        *((text, "x must be followed by two names, and perhaps a token") for text in ("x d", "x d e ", "x d e t u")),
    ],
    "IMPORT": [
        ("x", "x must contain a db name"),
        *(
            (text, "x must be followed by a database, a strategy, and perhaps replace")
            for text in ("x d", "x d best", "x d none ", "x d none merge")
        ),
    ],
    "IMPORT_KEYS": [(text, "x must be followed by the id of an import") for text in ("x", "x y [])", "x  []")],
    "IMPORT_END": [
        *((text, "x must be followed by the id of an import") for text in ("x", "x y")),
        ("x 1 two words", "x must be followed by the id of an import, and perhaps a token"),
    ],
    "IMPORT_ID": [(text, "x must be followed by the id of an import") for text in ("x", "x y")],
}

NEVER_REFUSED = {
    "NOTHING",
    "AFTER",
    "AFTER_SESSION",
    "PATTERN",
    "PATTERN_AFTER",
    "CREDENTIALS",
    "USER_TOKEN",
    "SNAPSHOT",
}

SHAPES = {name: shape for name, shape in vars(arguments).items() if isinstance(shape, Shape)}


@pytest.mark.parametrize(
    ("shape", "text", "expected"),
    [
        pytest.param(shape, text, values, id=f"{shape}: {text}")
        for shape, cases in READ.items()
        for text, values in cases
    ],
)
def test_a_shape_reads(shape: str, text: str, expected: tuple[Any, ...]) -> None:
    read = SHAPES[shape].parse(words(text))
    assert read == expected
    assert [type(value) for value in read] == [type(value) for value in expected]


@pytest.mark.parametrize(
    ("shape", "text", "error"),
    [
        pytest.param(shape, text, error, id=f"{shape}: {text}")
        for shape, cases in REFUSED.items()
        for text, error in cases
    ],
)
def test_a_shape_refuses(shape: str, text: str, error: str) -> None:
    with pytest.raises(Refusal) as caught:
        SHAPES[shape].parse(words(text))
    assert (caught.value.error, caught.value.messages) == (error, ())


def test_every_shape_is_asked_for() -> None:
    assert set(READ) == set(SHAPES)
    assert set(REFUSED) | NEVER_REFUSED == set(SHAPES)
    assert not set(REFUSED) & NEVER_REFUSED


def test_every_shape_belongs_to_a_command() -> None:
    assert {id(row.shape) for row in COMMANDS} == {id(shape) for shape in SHAPES.values()}


def test_a_command_that_checks_a_key_reads_it_first() -> None:
    for row in COMMANDS:
        if row.permission is not None:
            assert row.parse(words(f"{row.name} the-key 1 v"))[0] == "the-key"
