"""Reads the results in an HTTP reply: which command failed, and with which error.

The reply joins one result for each command with `;` (docs/protocol.md section 1): a message, which ends in a newline;
`empty`; or the bare text of an error, which does neither. A value may contain `;`, so a message is not cut there; and
no value contains a newline, so it ends where a newline meets a `;` or the end of the reply.
"""

from __future__ import annotations

from typing import NamedTuple

from pynun.protocol.framing import http_commands, words

NOTHING_SAID = "empty"
VALID_AUTH = "valid auth\n"
INVALID_AUTH = "invalid auth\n"

_FAILURE_MESSAGES = frozenset({INVALID_AUTH, "error no-db-selected\n", "permission denied\n"})
"""Failures that are sent as messages (docs/protocol.md section 2)."""

_MESSAGE_BEGINNINGS = (
    "value ", "value-version ", "keys ", "changed ", "changed-version ", "removed ", "ack ", "cluster-state ",
    "metrics-state ", "dbs-list ", "pending-ops ", "conflitcts-list ", "process-info ", "commands-list ",
    "keys-page {", "admins {", "databases {", "database-size {", "users {", "permissions {", "permission {",
    "sessions {", "import {", "imported {", "copied {",
)  # fmt: skip
"""The beginnings of messages that may contain a `;`, because they contain stored values."""


class Failure(NamedTuple):
    """A command that failed: its position from 1 (0: unknown)."""

    position: int
    text: str
    """The whole command, empty if unknown: not to be shown, as it may hold secrets."""
    error: str

    @property
    def command(self) -> str:
        """Its name."""
        return words(self.text)[0]


def is_failure(result: str) -> bool:
    """Whether a result says that its command failed."""
    return result in _FAILURE_MESSAGES or (result != NOTHING_SAID and not result.endswith("\n"))


def split_results(reply: str) -> list[str]:
    """The results of a reply, in order; an empty reply has none."""
    results = []
    start = 0
    while start < len(reply):
        if reply.startswith(_MESSAGE_BEGINNINGS, start):
            end = reply.find("\n;", start) + 1 or len(reply)
        else:
            end = reply.find(";", start)
            if end == -1:
                end = len(reply)
        results.append(reply[start:end])
        start = end + 1
    return results


def find_failures(body: str, results: list[str]) -> list[Failure]:
    """The commands of the request's body that failed, as the results of its reply say."""
    commands = list(http_commands(body))
    # Another number of results (the original can leave a message behind) gives no place to blame.
    matching = len(commands) == len(results)
    return [
        Failure(index + 1, commands[index], result.strip()) if matching else Failure(0, "", result.strip())
        for index, result in enumerate(results)
        if is_failure(result)
    ]
