"""What can be stored as a value, and what comes back."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynun.client import ChangeEvent, SyncClient, Versioned
from pynun.client.frames import checked_step, checked_text, checked_version, checked_word
from pynun.client.values import Json, json_value, value_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.client.conftest import Database

TEXT = st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(JSON.filter(lambda value: not isinstance(value, str)))
def test_json_value_is_sent_as_text_that_means_the_same(value: Json) -> None:
    text = checked_text("the value", value_text(value))
    assert json.loads(text) == value
    assert json_value(text) == value


def test_text_is_stored_as_it_is_and_the_rest_as_compact_json() -> None:
    assert value_text("true") == "true"
    assert value_text('{"a": 1}') == '{"a": 1}'
    assert value_text({"a": [1, 2.5, None, True], "ö": {"b": "c d"}}) == '{"a":[1,2.5,null,true],"ö":{"b":"c d"}}'
    assert value_text((1, (2,))) == "[1,[2]]"
    assert value_text(None) == "null"
    assert value_text({"a": "1; 2\n3"}) == '{"a":"1\\u003b 2\\n3"}'


def holding_itself() -> list[Any]:
    value: list[Any] = []
    value.append({"again": value})
    return value


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "kind", "complaint"),
    [
        (b"bytes", TypeError, r"of type bytes can't be stored; text and JSON values can"),
        ({1, 2}, TypeError, "of type set can.t be stored"),
        ({"a": [object()]}, TypeError, "of type object can.t be stored"),
        ({"a": {1: "b"}}, TypeError, "a dict with a key of type int"),
        ([{None: 1}], TypeError, "a dict with a key of type NoneType"),
        (math.nan, ValueError, "infinite or NaN"),
        ([math.inf], ValueError, "infinite or NaN"),
        (holding_itself(), ValueError, "holds itself"),
        (nested(100_000), ValueError, "nests too deeply"),
        ("a;b", ValueError, "semicolon"),
        (["\ud800"], ValueError, "lone surrogate"),
    ],
)
def test_the_rest_is_refused_with_what_is_wrong(value: Json, kind: type[Exception], complaint: str) -> None:
    with pytest.raises(kind, match=f"^(a|the) value.*{complaint}"):
        checked_text("the value", value_text(value))


@pytest.mark.parametrize("check", [lambda one: checked_word("the key", one), lambda one: checked_text("the key", one)])
def test_what_must_be_text_is_not_guessed_from_something_else(check: Callable[[Any], str]) -> None:
    for wrong in (5, None, b"key", ["key"]):
        with pytest.raises(TypeError, match=r"^the key must be text"):
            check(wrong)


def test_numbers_of_commands_are_integers() -> None:
    with pytest.raises(TypeError, match="the step must be an int, not float"):
        checked_step(1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the version must be an int, not str"):
        checked_version("1")  # type: ignore[arg-type]


def test_value_that_is_not_json_says_so_where_json_is_asked_for() -> None:
    assert Versioned("[1]", 0).json() == [1]
    assert ChangeEvent("k", None, None, removed=True).json() is None
    for text in ("hello", "", "[" * 100_000):
        with pytest.raises(ValueError, match="the value is not JSON"):
            Versioned(text, 0).json()


def test_json_goes_to_the_server_and_comes_back(database: Database) -> None:
    with SyncClient(database.url, database=database.name, token=database.token) as client:
        camera = {"zoom": 2.5, "name": "up; down\nright", "at": [1, -2], "is_locked": False, "by": None}
        with client.watch("camera") as changes:
            client.set("camera", camera)
            assert changes.get(60).json() == camera
        assert client.get_json("camera") == camera
        seen = client.get_safe("camera")
        assert seen is not None
        assert seen.json() == camera
        client.set_safe("camera", seen.version, [camera])
        assert client.get_json("camera") == [camera]
        assert client.get_json("absent") is None
        client.set("count", 41)
        client.increment("count")
        assert (client.get("count"), client.get_json("count")) == ("42", 42)
        client.set("text", "hello")
        with pytest.raises(ValueError, match="the value is not JSON"):
            client.get_json("text")
        with pytest.raises(TypeError, match="a value of type bytes"):
            client.set("text", b"hello")  # type: ignore[arg-type]
        assert client.get("text") == "hello"
