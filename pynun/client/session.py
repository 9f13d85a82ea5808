"""What a client has told the server about itself, so that a new connection can be told the same.

Holds the admin's password and a token for as long as the client lives; nothing here is ever printed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pynun.client.errors import command_error
from pynun.protocol.messages import INVALID_AUTH, VALID_AUTH

if TYPE_CHECKING:
    from pynun.client.frames import Reply

USE_COMMANDS = ("use-db", "use", "open-db")


@dataclass(slots=True)
class Session:
    """The state of a session that commands built up; `note` keeps it, `commands` gives the way back to it."""

    database: str | None = None
    is_arbiter: bool = False
    watched: set[str] = field(default_factory=set)
    """The keys whose watch was asked for by a command text rather than through `Client.watch`."""
    ephemeral: dict[str, str] = field(default_factory=dict)
    """The command that last set each ephemeral key of the selected database."""
    _auth: str | None = field(default=None, repr=False)
    _use: str | None = field(default=None, repr=False)

    def note(self, command: str, reply: Reply) -> None:
        """Take in what `command`, answered with `reply`, means for the session."""
        name, *arguments = command.split(" ", 2)
        if name == "auth":
            self._auth = command if VALID_AUTH.strip() in reply.messages else None
        if reply.error is not None:
            return
        if name in USE_COMMANDS:
            self._use = command
            if self.database != arguments[0]:
                self.ephemeral.clear()
            self.database = arguments[0]
        elif name == "set-ephemeral":
            self.ephemeral[arguments[0]] = command
        elif name == "remove":
            self.ephemeral.pop(arguments[0], None)
        elif name == "arbiter":
            self.is_arbiter = True
        elif name == "watch":
            self.watched.add(arguments[0])
        elif name == "unwatch":
            self.watched.discard(arguments[0])
        elif name == "unwatch-all":
            self.watched.clear()
            self.is_arbiter = False  # to be an arbiter is to watch `$conflicts` (docs/protocol.md section 5)

    def commands(self) -> list[str]:
        """What a new connection has to be sent before anything else; each must succeed."""
        arbiter = "arbiter" if self.is_arbiter else None
        return [command for command in (self._auth, self._use, arbiter) if command is not None]


def raise_refusal(reply: Reply) -> None:
    """Raise what a reply complains of; `auth` complains in a message of its own and answers `ok`."""
    if reply.error is not None:
        raise command_error(reply.error)
    if INVALID_AUTH.strip() in reply.messages:
        raise command_error(INVALID_AUTH.strip())
