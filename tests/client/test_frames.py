"""Reading frames and checking what goes into commands: docs/protocol.md sections 1, 2, 4 and 5, without a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynun.client import ChangeEvent, Conflict, ProtocolError, Versioned
from pynun.client.frames import (
    End,
    Frame,
    Message,
    Repeated,
    auth_command,
    checked_step,
    checked_text,
    checked_version,
    checked_word,
    read_frame,
    read_keys,
    read_value,
    read_versioned,
    use_command,
)
from pynun.protocol import messages

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = st.text(min_size=1).filter(lambda key: not set(key) & set(" ;\n"))
VALUES = st.text().filter(lambda value: not set(value) & set(";\n"))


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ("ok \n", End(None)),
        ("error Invalid token \n", End("Invalid token")),
        ("error empty command \n", End("empty command")),
        ("error permission denied\n \n", End("permission denied")),
        ("error error no-db-selected\n \n", End("error no-db-selected")),
        ("permission denied\n", Message("permission denied")),
        ("error no-db-selected\n", Message("error no-db-selected")),
        ("value ok \n", Message("value ok ")),
        ("value error x \n", Message("value error x ")),
        ("value \n", Message("value ")),
        ("valid auth\n", Message("valid auth")),
        ("changed k v\n", Repeated()),
        ("changed-version k 3 two words  kept\n", ChangeEvent("k", "two words  kept", 3, removed=False)),
        ("changed-version k -1 \n", ChangeEvent("k", "", -1, removed=False)),
        ("removed k\n", ChangeEvent("k", None, None, removed=True)),
        ("resolve 7 db 3 k old new", Conflict("resolve 7 db 3 k old new")),
        ("", Message("")),
        ("ok\n", Message("ok")),
    ],
)
def test_frame_is_what_the_protocol_says(text: str, frame: Frame) -> None:
    assert read_frame(text) == frame


@pytest.mark.parametrize("text", ["changed-version k\n", "changed-version k 1\n", "changed-version k x v\n"])
def test_change_without_key_version_and_value_is_no_frame(text: str) -> None:
    with pytest.raises(ProtocolError):
        read_frame(text)


@given(
    st.text()
    | st.sampled_from(("ok", "error ", "changed-version ", "removed ")).flatmap(lambda p: st.text().map(p.__add__))
)
def test_any_text_is_a_frame_or_a_protocol_error(text: str) -> None:
    try:
        read_frame(text)
    except ProtocolError:
        assert text.startswith("changed-version ")


@given(KEYS, st.integers(-(2**31), 2**31 - 1), VALUES)
def test_change_as_the_server_writes_it_is_read_back(key: str, version: int, value: str) -> None:
    first, second = messages.changed(key, version, value)
    assert read_frame(first) == Repeated()
    assert read_frame(second) == ChangeEvent(key, value, version, removed=False)
    (removal,) = messages.removed(key)
    assert read_frame(removal) == ChangeEvent(key, None, None, removed=True)


@given(VALUES.filter(lambda value: value != "<Empty>"), st.integers(-(2**31), 2**31 - 1))
def test_value_as_the_server_writes_it_is_read_back(value: str, version: int) -> None:
    frame = read_frame(messages.value(value))
    assert isinstance(frame, Message)
    assert read_value(frame.text) == value
    frame = read_frame(messages.value_version(version, value))
    assert isinstance(frame, Message)
    assert read_versioned(frame.text) == Versioned(value, version)


def test_absent_key_is_none_and_so_is_the_text_that_says_so() -> None:
    assert read_value(messages.value(None).removesuffix("\n")) is None
    assert read_versioned(messages.VALUE_VERSION_ABSENT.removesuffix("\n")) is None
    assert read_versioned("value-version 7 <Empty>") is None
    assert read_value("value  <Empty>") == " <Empty>"


@pytest.mark.parametrize("text", ["", "value", "keys ,a", "value-version 1", "value-version x y"])
def test_message_of_another_command_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        read_versioned(text)


def test_keys_are_separated_by_commas() -> None:
    assert read_keys("keys ") == []
    assert read_keys("keys ,a") == ["a"]
    assert read_keys("keys ,$connections,a b,ö") == ["$connections", "a b", "ö"]


@pytest.mark.parametrize(
    ("word", "complaint"), [("", "empty"), ("a b", "space"), ("a;b", "semicolon"), ("a\nb", "newline")]
)
def test_word_that_a_command_cannot_carry_is_refused(word: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^the key.*{complaint}"):
        checked_word("the key", word)


@pytest.mark.parametrize("text", ["a;b", "a\nb", ";", "\n", "\ud800"])
def test_text_that_a_command_cannot_carry_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^the value"):
        checked_text("the value", text)


def test_text_may_hold_spaces_and_be_empty() -> None:
    assert checked_text("the value", "  two  words ") == "  two  words "
    assert checked_text("the value", "") == ""


def test_numbers_that_the_server_would_read_as_something_else_are_refused() -> None:
    assert checked_version(2**31 - 1) == 2**31 - 1
    assert checked_step(-(2**63)) == -(2**63)
    with pytest.raises(ValueError, match="32 bits"):
        checked_version(2**31)
    with pytest.raises(ValueError, match="64 bits"):
        checked_step(2**63)


def test_secret_is_never_in_the_complaint() -> None:
    makers: tuple[Callable[[], str], ...] = (
        lambda: use_command("db", "hunter2;", None),
        lambda: use_command("db", "hunter2 x", None),
        lambda: use_command("db", "hunter2\n", "ana"),
        lambda: auth_command("admin", "hunter2;"),
    )
    for make in makers:
        with pytest.raises(ValueError, match=r"token|password") as complaint:
            make()
        assert "hunter2" not in str(complaint.value)


def test_token_of_a_user_may_hold_a_space_and_that_of_a_database_not() -> None:
    assert use_command("db", "two words", "ana") == "use-db db ana two words"
    with pytest.raises(ValueError, match="space"):
        use_command("db", "two words", None)
