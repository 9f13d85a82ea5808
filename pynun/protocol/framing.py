"""From the unit of a transport to command texts, and from one text to its words (docs/protocol.md section 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator


_SHORT_CHARACTERS: Final = 4096
"""The parts of a message up to this are made at once, which takes a third of the time."""


def websocket_commands(text: str) -> Iterator[str]:
    """The commands of one text frame. A trailing `;` makes one more, empty command, as in the original."""
    return _split(text)


def http_commands(body: str) -> Iterator[str]:
    """The commands of a request body: separated by `;`, each trimmed, empty ones skipped."""
    if len(body) <= _SHORT_CHARACTERS:
        return iter([command for part in body.split(";") if (command := part.strip())])
    return (command for part in _split(body) if (command := part.strip()))


def _split(text: str) -> Iterator[str]:
    """The parts between semicolons, one at a time: a message may hold millions."""
    start = 0
    while (end := text.find(";", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def words(text: str) -> list[str]:
    """Command, first argument and rest: at most three parts, split at single spaces.

    Newlines are dropped wherever they stand and trailing `;` are cut; the rest keeps its inner spaces.
    """
    if "\n" in text:
        text = text.replace("\n", "")
    if text[-1:] == ";":
        text = text.rstrip(";")
    return text.split(" ", 2)
