"""From the unit of a transport to commands, and from a command to its words (docs/protocol.md section 1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynun.protocol.framing import http_commands, websocket_commands, words
from tests.properties.effort import effort

anything = st.text(st.sampled_from("ab ;\n\r\t\0é🙂") | st.characters(exclude_categories=["Cs"]), max_size=30)


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("get a", ["get a"]),
        ("get a;get b", ["get a", "get b"]),
        ("get a;", ["get a", ""]),
        ("get a;;get b", ["get a", "", "get b"]),
        ("", [""]),
        (";", ["", ""]),
        (" get a ; get b ", [" get a ", " get b "]),
    ],
)
def test_a_frame_is_split_at_every_semicolon(text: str, commands: list[str]) -> None:
    assert list(websocket_commands(text)) == commands


@pytest.mark.parametrize(
    ("body", "commands"),
    [
        ("get a", ["get a"]),
        ("get a; get b;", ["get a", "get b"]),
        ("  get a\n;\r\n get b\t", ["get a", "get b"]),
        ("", []),
        (";;", []),
        (" ; ; ", []),
        ("set a two  words ;", ["set a two  words"]),
    ],
)
def test_a_body_is_split_and_trimmed_and_empty_commands_are_skipped(body: str, commands: list[str]) -> None:
    assert list(http_commands(body)) == commands


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("get", ["get"]),
        ("get a", ["get", "a"]),
        ("set a two  words ", ["set", "a", "two  words "]),
        ("set  a", ["set", "", "a"]),
        ("set a ", ["set", "a", ""]),
        (" get a", ["", "get", "a"]),
        ("", [""]),
        ("\n\n", [""]),
        ("get a\n", ["get", "a"]),
        ("\nget a", ["get", "a"]),
        ("set a one\ntwo", ["set", "a", "onetwo"]),
        ("ge\nt a", ["get", "a"]),
        ("get a;", ["get", "a"]),
        ("get a;;;", ["get", "a"]),
        ("get a;\n", ["get", "a"]),
        ("set a 1;2;", ["set", "a", "1;2"]),
        (";", [""]),
        (";get a", [";get", "a"]),
        ("set a ; ", ["set", "a", "; "]),
        ("get\ta", ["get\ta"]),
        ("get a\r", ["get", "a\r"]),
    ],
)
def test_a_command_has_at_most_three_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(text=anything)
@effort(300)
def test_words_put_together_are_the_text_without_newlines_and_last_semicolons(text: str) -> None:
    parts = words(text)
    assert 1 <= len(parts) <= 3
    assert " ".join(parts) == text.replace("\n", "").rstrip(";")
    assert all(" " not in part for part in parts[:2])


@given(text=anything)
@effort(300)
def test_a_frame_s_commands_put_together_are_the_frame(text: str) -> None:
    assert ";".join(websocket_commands(text)) == text


@given(text=anything)
@effort(300)
def test_a_body_s_commands_are_its_parts_in_order(text: str) -> None:
    commands = list(http_commands(text))
    assert commands == [part.strip() for part in text.split(";") if part.strip()]
    assert list(http_commands(";".join(commands))) == commands
