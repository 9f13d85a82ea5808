"""Text that is safe to show, and how `shell` and `watch` end after an error."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from typing import TYPE_CHECKING

from pynun.cli.errors import ExitCode

if TYPE_CHECKING:
    from typing import TextIO

    from pynun.client.errors import ClientError


def printable(text: str) -> str:
    r"""`text` with control characters written as `\xNN`.

    Anybody who may change a key can store escape sequences that a terminal would execute.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in "\n\t" else character.encode("unicode_escape").decode()
        for character in text
    )


def escaped(text: str) -> str:
    """`text` on one line, with everything escaped that is not printable, including tabs and line ends."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def shown_name(text: str) -> str:
    r"""A name, quoted and escaped (`'a\tb'`) if it could mislead, so that no two names look alike."""
    is_plain = text.isprintable() and text == text.strip() and text not in ("", "-") and text[0] not in "'\""
    return text if is_plain else repr(text)


def json_line(value: object) -> str:
    r"""JSON in one line for standard output: characters as they are if its encoding has them, and if they can be shown.

    Terminal control characters are escaped, also those that JSON does not escape (U+007F to U+009F, U+202E).
    """
    if (sys.stdout.encoding or "").lower() != "utf-8":
        return json.dumps(value)
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    # All that is not printable stands within strings. `[1:-1]`: without the quotes.
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def printable_for(stream: TextIO, text: str) -> str:
    """`text` as it is for a file or a pipe, made printable for a terminal."""
    return printable(text) if stream.isatty() else text


def say(text: str) -> None:
    """Print a message on standard error."""
    print(f"nun-db: {printable(text)}", file=sys.stderr, flush=True)


def prepare_output() -> None:
    """Make standard output escape characters that its encoding lacks, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _with_advice(text: str) -> str:
    """The client's text, with what to do here if no server is there."""
    before, refused, _ = text.partition(f": {os.strerror(errno.ECONNREFUSED)};")
    if not refused:
        return text
    url = before.removeprefix("cannot connect to ")
    return (
        f"nothing listens at {url} (connection refused): start the server, or give another URL with -h (its WebSocket"
        " port is usually 3012)"
    )


def fail(error: ClientError | ValueError, where: str = "", explanation: str = "") -> ExitCode:
    """Print a client's error and `where` it happened, and return its exit code (docs/cli.md).

    `explanation` replaces its text.
    """
    from pynun.client.errors import AuthenticationError, ClientError, CommandError  # with all of the client

    text = explanation or _with_advice(str(error))
    say(f"{where}: {text}" if where else text)
    match error:
        case AuthenticationError():
            return ExitCode.NOT_AUTHENTICATED
        case CommandError():
            return ExitCode.REFUSED
        case ClientError():
            return ExitCode.NO_CONNECTION
        case ValueError():
            return ExitCode.USAGE
