"""The client's side of the wire as pure functions: command texts out, frames in. No socket, no trio.

Rules (docs/protocol.md sections 1, 2, 4 and 5): every command ends with a frame `ok \n` or `error … \n`; its own
messages come before that, each a frame; events (`changed`, `changed-version`, `removed`, `resolve`) may stand
anywhere between. The own message `error no-db-selected\n` has no space before its newline, which tells it from an end.

Invariant: whatever text comes in, `read_frame` gives a frame or raises ProtocolError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pynun.client.errors import ProtocolError
from pynun.client.values import ParsedJson, json_value
from pynun.protocol.messages import EMPTY_VALUE, OK
from pynun.protocol.numbers import INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, parse_integer

SEPARATOR = ";"
"""Splits the text of a frame into commands; so no command may hold it (docs/protocol.md section 1)."""


@dataclass(frozen=True, slots=True)
class Versioned:
    """A value with its version. The version -2 marks a key in conflict (docs/protocol.md section 5)."""

    value: str
    version: int

    def json(self) -> ParsedJson:
        """The value as JSON. Raises ValueError if it is not JSON."""
        return json_value(self.value)


@dataclass(frozen=True, slots=True)
class ChangeEvent:
    """A watched key was changed, or removed: then `removed` is True and value and version are None."""

    key: str
    value: str | None
    version: int | None
    removed: bool

    def json(self) -> ParsedJson:
        """The value as JSON, None for a removal. Raises ValueError if it is not JSON."""
        return json_value(self.value)


@dataclass(frozen=True, slots=True)
class Conflict:
    """A conflict that an arbiter has to resolve: `text` is `resolve ID DATABASE VERSION KEY OLD NEW`."""

    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What one command was answered: its own messages without their end of line, and its error or None."""

    messages: tuple[str, ...]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """An own message of the command that is being answered."""

    text: str


@dataclass(frozen=True, slots=True)
class End:
    """The last frame of a command's answer; `error` is None after success."""

    error: str | None


@dataclass(frozen=True, slots=True)
class Repeated:
    """The first of the two messages of a change; the second says the same with the version."""


Frame: TypeAlias = End | Message | ChangeEvent | Conflict | Repeated

_SUCCESS = End(None)
_REPEATED = Repeated()


def read_frame(text: str) -> Frame:
    """What one frame says. Raises ProtocolError for a `changed-version` without a key or a version."""
    if text == OK:
        return _SUCCESS
    if text.startswith("changed-version "):
        return _read_changed_version(text)
    if text.startswith("changed "):
        return _REPEATED
    if text.startswith("removed "):
        return ChangeEvent(text.removeprefix("removed ").removesuffix("\n"), None, None, removed=True)
    if text.startswith("resolve "):
        return Conflict(text.removesuffix("\n"))
    if text.startswith("error ") and text.endswith(" \n"):
        return End(text.removeprefix("error ").removesuffix(" \n").strip("\n"))
    return Message(text.removesuffix("\n"))


def _read_changed_version(text: str) -> ChangeEvent:
    parts = text.removesuffix("\n").split(" ", 3)
    version = parse_integer(parts[2]) if len(parts) == 4 else None
    if version is None:
        raise ProtocolError("the server sent a change without a key, a version and a value")
    return ChangeEvent(parts[1], parts[3], version, removed=False)


def read_value(message: str) -> str | None:
    """The value in the own message of `get`; None if it says that the key is absent."""
    value = _after("value ", message)
    return None if value == EMPTY_VALUE else value


def read_versioned(message: str) -> Versioned | None:
    """The value and version in the own message of `get-safe`; None if it says that the key is absent."""
    number, found, value = _after("value-version ", message).partition(" ")
    version = parse_integer(number)
    if version is None or not found:
        raise ProtocolError("the server sent a value without a version")
    return None if value == EMPTY_VALUE else Versioned(value, version)


def read_keys(message: str) -> list[str]:
    """The keys in the own message of `keys`, where each is preceded by a comma."""
    listed = _after("keys ", message)
    return listed.removeprefix(",").split(",") if listed else []


def _after(prefix: str, message: str) -> str:
    if not message.startswith(prefix):
        raise ProtocolError(f"the server answered with something else than {prefix.strip()!r}")
    return message.removeprefix(prefix)


def checked_text(what: str, text: str) -> str:
    """`text`, if a command can carry it. Raises ValueError, naming `what` and never the text (it may be a secret).

    TypeError if it is no text.
    """
    if not isinstance(text, str):
        raise TypeError(f"{what} must be text (str), not {type(text).__name__}")
    if SEPARATOR in text or "\n" in text:
        raise ValueError(
            f"{what} holds a semicolon or a newline, which the Nun-db protocol can't carry in a command over WebSocket"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} is not text that UTF-8 can carry (a lone surrogate)") from None
    return text


def checked_word(what: str, text: str) -> str:
    """`text`, if it can be an argument in the middle of a command: not empty and without a space. Else ValueError."""
    if not checked_text(what, text):
        raise ValueError(f"{what} is empty")
    if " " in text:
        raise ValueError(f"{what} holds a space, which separates the arguments of a Nun-db command")
    return text


def checked_version(version: int) -> int:
    """`version`, if it has 32 bits: the server would read another one as "unconditional". Else ValueError."""
    _check_integer("the version", version)
    if not INT32_MIN <= version <= INT32_MAX:
        raise ValueError("the version is beyond 32 bits")
    return version


def checked_step(step: int) -> int:
    """`step`, if it has 64 bits: the server would read another one as 1. Else ValueError."""
    _check_integer("the step", step)
    if not INT64_MIN <= step <= INT64_MAX:
        raise ValueError("the step is beyond 64 bits")
    return step


def _check_integer(what: str, number: int) -> None:
    if not isinstance(number, int):
        raise TypeError(f"{what} must be an int, not {type(number).__name__}")


def use_command(database: str, token: str, user: str | None) -> str:
    """The command that selects a database, by its token or as a user (docs/protocol.md section 2)."""
    database = checked_word("the name of the database", database)
    if user is None:
        return f"use-db {database} {checked_word('the token of the database', token)}"
    return f"use-db {database} {checked_word('the user', user)} {checked_text('the token of the user', token)}"


def auth_command(user: str, password: str) -> str:
    """The command that makes the session the admin's (docs/protocol.md section 2)."""
    return f"auth {checked_word('the admin', user)} {checked_text('the password of the admin', password)}"
