"""What the shell makes of a line, with rows of its own and with the real command table."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pynun.cli.commands.shell_lines import CommandRow, commands_of, completions, first_word, help_text, is_secret
from pynun.engine.commands.table import COMMANDS


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    usage: str
    help: str = "Does this. And that."
    aliases: tuple[str, ...] = ()
    differs: str | None = None


ROWS: tuple[CommandRow, ...] = (
    Row("get", "get KEY", "Read a key: `value VALUE`."),
    Row("get-safe", "get-safe KEY"),
    Row("use-db", "use-db DATABASE [USER] TOKEN", aliases=("use",), differs="It does not leak."),
    Row("debug", "debug this-command|has-a-very-long|usage"),
)


def test_line_is_cut_at_semicolons_and_values_keep_their_spaces() -> None:
    assert commands_of("  set a  two  words ; ;get a;\n") == ["set a  two  words ", "get a"]
    assert commands_of(" \n") == []
    assert commands_of("set a ") == ["set a "]
    assert first_word("set a b") == "set"


@pytest.mark.parametrize(
    "line",
    [
        "auth root pwd",
        "  auth root pwd",
        "get k; auth root pwd",
        "use-db d t",
        "use d t",
        "create-db d t",
        "create-user u t",
        "set $$token new",
        "set-safe $$user_ana 1 new",
        "increment $$token",
        "rp 1 auth root pwd",
        "rp 1 set $$token new",
        "replicate d $$token 1 new",
        "atuh root pwd",
        "pwd",
    ],
)
def test_line_that_may_hold_a_secret_is_kept_from_the_history(line: str) -> None:
    assert is_secret(line, COMMANDS)


@pytest.mark.parametrize(
    "line",
    [
        "get k",
        "set k auth",
        "keys $$",
        "get $$token",
        "watch k;get k",
        "help auth",
        "exit",
        "snapshot",
        "rp 1 get k",
        "",
    ],
)
def test_other_lines_are_written(line: str) -> None:
    assert not is_secret(line, COMMANDS)


def test_every_command_whose_arguments_are_credentials_is_taken_for_secret() -> None:
    for row in COMMANDS:
        if "TOKEN" in row.usage or "PASSWORD" in row.usage:
            for name in (row.name, *row.aliases):
                assert is_secret(f"{name} a b c", COMMANDS), name


def test_help_lists_the_commands_within_the_width_of_a_terminal() -> None:
    assert help_text("", ROWS).splitlines()[:4] == [
        "get KEY                       Read a key",
        "get-safe KEY                  Does this",
        "use-db DATABASE [USER] TOKEN  Does this",
        "debug …                       Does this",
    ]
    listed = help_text("", COMMANDS)
    assert all(row.name in listed for row in COMMANDS)
    assert max(map(len, listed.splitlines())) <= 120


def test_help_of_a_command_says_all() -> None:
    wanted = "use-db DATABASE [USER] TOKEN\nDoes this. And that.\nThe same: use\nUnlike the original: It does not leak."
    assert help_text("use-db", ROWS) == wanted
    assert help_text("use", ROWS) == wanted
    assert help_text("quit", ROWS) == "exit: leave the shell; Ctrl-D does too"
    assert help_text("help", ROWS).startswith("help [COMMAND]: ")
    assert help_text("nonsense", ROWS) == "there is no command 'nonsense'; help lists them all"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("g", ["get", "get-safe"]),
        ("get-", ["get-safe"]),
        ("set k v; us", ["use-db", "use"]),
        ("get k", []),
        ("help de", ["debug"]),
        ("help get x", []),
        ("x", []),
        ("e", ["exit"]),
    ],
)
def test_completion_knows_the_names(typed: str, words: list[str]) -> None:
    found = list(completions(typed, ROWS))
    assert [word for _, word, _ in found] == words
    assert all(typed.endswith(beginning) and word.startswith(beginning) for beginning, word, _ in found)


def test_completion_of_nothing_offers_everything_with_its_purpose() -> None:
    found = {word: purpose for _, word, purpose in completions("", ROWS)}
    assert found.keys() == {"get", "get-safe", "use-db", "use", "debug", "help", "exit"}
    assert found["get"] == "Read a key"
