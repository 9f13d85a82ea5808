"""From the unit of a transport to command texts, and from one text to its words (docs/protocol.md section 1)."""

from __future__ import annotations


def websocket_commands(text: str) -> list[str]:
    """The commands of one text frame. A trailing `;` makes one more, empty command, as in the original."""
    return text.split(";")


def http_commands(body: str) -> list[str]:
    """The commands of a request body: separated by `;`, each trimmed, empty ones skipped."""
    return [command for part in body.split(";") if (command := part.strip())]


def words(text: str) -> list[str]:
    """Command, first argument and rest: at most three parts, split at single spaces.

    Newlines are dropped wherever they stand and trailing `;` are cut; the rest keeps its inner spaces.
    """
    if "\n" in text:
        text = text.replace("\n", "")
    if text[-1:] == ";":
        text = text.rstrip(";")
    return text.split(" ", 2)
