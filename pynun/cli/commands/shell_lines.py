"""What the shell makes of a line: pure functions over the command table, without terminal, files or connection."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

SEPARATOR = ";"
USAGE_CHARACTERS_MAX = 30
"""A longer usage is left to `help COMMAND`, so that the list of all fits a terminal."""
EXIT_WORDS = ("exit", "quit")
HELP_WORD = "help"
OWN_WORDS = {
    HELP_WORD: "help [COMMAND]: the commands, or what one of them does",
    "exit": "exit: leave the shell; Ctrl-D does too",
}
"""The words that the shell itself understands, with their usage and purpose."""

_SECRET_COMMANDS = frozenset(
    (
        *("auth", "use-db", "use", "create-db", "copy-db", "import-end", "create-user", "add-user", "set-token"),
        *("add-admin", "set-admin-password", "set-password"),
    )
)
"""Commands that have a password or a token among their arguments."""

_HARMLESS_WITH_SECURITY_KEYS = frozenset({"get", "get-safe", "keys", "ls", "watch", "unwatch", "remove", HELP_WORD})
"""Commands that name a `$$` key at most; any other may give it a value, which may be a token."""


class CommandRow(Protocol):
    """What the shell needs of a row of the command table."""

    @property
    def name(self) -> str: ...
    @property
    def aliases(self) -> tuple[str, ...]: ...
    @property
    def usage(self) -> str: ...
    @property
    def help(self) -> str: ...
    @property
    def differs(self) -> str | None: ...


def commands_of(line: str) -> list[str]:
    """The commands of a line: separated by `;`, empty ones skipped. Spaces at their ends belong to their values."""
    parts = (part.lstrip(" \t").rstrip("\r\n") for part in line.split(SEPARATOR))
    return [part for part in parts if part.strip()]


def first_word(command: str) -> str:
    """The name of the command; all that may be shown of it, for its arguments may be secret."""
    return command.split(" ", 1)[0]


def is_secret(line: str, rows: Sequence[CommandRow]) -> bool:
    """Whether `line` may hold a password or a token, and so must not be written to a file.

    Everything that is no command counts, for a mistyped `auth` is one.
    """
    known = {name for row in rows for name in (row.name, *row.aliases)} | OWN_WORDS.keys() | set(EXIT_WORDS)
    return any(_is_secret_command(command, known) for command in commands_of(line))


def _is_secret_command(command: str, known: set[str]) -> bool:
    name, *arguments = command.split()
    if name == "rp":  # `rp ID COMMAND` runs COMMAND
        return len(arguments) > 1 and _is_secret_command(" ".join(arguments[1:]), known)
    if name not in known or name in _SECRET_COMMANDS:
        return True
    return "$$" in command and name not in _HARMLESS_WITH_SECURITY_KEYS


def help_text(topic: str, rows: Sequence[CommandRow]) -> str:
    """What `help` and `help COMMAND` print."""
    if not topic:
        return "\n".join([*_table(rows), "", *OWN_WORDS.values()])
    if topic in (HELP_WORD, *EXIT_WORDS):
        return OWN_WORDS["exit" if topic in EXIT_WORDS else HELP_WORD]
    for row in rows:
        if topic in (row.name, *row.aliases):
            return "\n".join(_details(row))
    return f"there is no command {topic!r}; help lists them all"


def _table(rows: Sequence[CommandRow]) -> Iterator[str]:
    usages = [row.usage if len(row.usage) <= USAGE_CHARACTERS_MAX else f"{row.name} …" for row in rows]
    width = max(map(len, usages), default=0)
    for usage, row in zip(usages, rows, strict=True):
        yield f"{usage.ljust(width)}  {_purpose(row.help)}"


def _purpose(help_text: str) -> str:
    """What a command is for: the first clause of its help."""
    return re.split(r"[.:;](?:\s|$)", help_text, maxsplit=1)[0]


def _details(row: CommandRow) -> Iterator[str]:
    yield row.usage
    yield row.help
    if row.aliases:
        yield "The same: " + ", ".join(row.aliases)
    if row.differs:
        yield f"Unlike the original: {row.differs}"


def completions(text_before_cursor: str, rows: Sequence[CommandRow]) -> Iterable[tuple[str, str, str]]:
    """What the word at the cursor can become: (what has been typed of it, the whole word, what it does).

    Names of commands stand at the beginning of a command and behind `help`; nothing else is completed.
    """
    command = text_before_cursor.rpartition(SEPARATOR)[2].lstrip(" ")
    name, space, argument = command.partition(" ")
    if space and name != HELP_WORD:
        return
    typed = argument if space else command
    for row in rows:
        for word in (row.name, *row.aliases):
            if word.startswith(typed):
                yield typed, word, _purpose(row.help)
    for word, usage in OWN_WORDS.items():
        if word.startswith(typed):
            yield typed, word, usage.partition(": ")[2]
