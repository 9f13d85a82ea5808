"""Refuses names and keys that a command can't carry unchanged, before anything is sent.

Some names can only be sent over TCP (docs/protocol.md section 1): over HTTP and WebSocket a semicolon ends a command,
and HTTP drops white space around commands. Sent anyway, such a name would mean another database or user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

_HOW_ELSE = "; send the command as a line to the TCP port (3014), which takes it"


def check_for_http(*texts: str, what: str = "a name, kind, pattern or key") -> None:
    """Raises UsageError for what can't be an argument of a command that is posted."""
    _check_words(texts, what)
    for text in texts:
        if not is_http_word(text):
            raise UsageError(
                f"{text!r} can't be sent over HTTP, where a semicolon ends a command and white space around one"
                f" is dropped{_HOW_ELSE}"
            )


def check_value(key: str, value: str) -> None:
    """Raises UsageError for what can't be the value in a command that is posted."""
    if "\n" in value:
        raise UsageError(f"the value of {key} has a line break, which no command can carry: encode it, as JSON does")
    if ";" in value or value != value.rstrip():
        raise UsageError(
            f"the value of {key} can't be sent over HTTP, where a semicolon ends a command and white space at its end"
            f" is dropped{_HOW_ELSE}"
        )


def check_for_websocket(*texts: str, what: str) -> None:
    """Raises UsageError for what can't be an argument of a command in a frame."""
    _check_words(texts, what)
    for text in texts:
        if ";" in text:
            raise UsageError(f"{text!r} can't be sent over WebSocket, where a semicolon ends a command{_HOW_ELSE}")


def is_http_word(text: str) -> bool:
    """Whether a posted command can have the text as its last argument, and the server reads it as it is."""
    return _is_word(text) and ";" not in text and text == text.strip() and _is_utf8(text)


def _check_words(texts: Iterable[str], what: str) -> None:
    for text in texts:
        if not _is_word(text):
            raise UsageError(f"{what} can't be empty or contain spaces or line breaks")
        if not _is_utf8(text):
            raise UsageError(f"{text!r} is not UTF-8 text, so it can't be sent")


def _is_word(text: str) -> bool:
    return bool(text) and " " not in text and "\n" not in text


def _is_utf8(text: str) -> bool:
    """Whether every character can be encoded: bytes on the command line that are no text become lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
