"""What can go wrong with a client, as exceptions; and which of the server's error texts mean which of them.

Invariant: every exception that a method of the client raises by intent is a `ClientError`, except `ValueError` and
`TypeError` for arguments that can't be sent (raised before anything is sent), and `ValueError` for a value that is read
as JSON and is none. No exception text ever holds a password or a token.
"""

from __future__ import annotations

from pynun.errors import PynunError
from pynun.protocol import messages

CONFLICT_UNRESOLVED_PREFIX = messages.conflict_unresolved("").error
"""What the server says before the name of a conflict's record (docs/protocol.md section 5)."""


class ClientError(PynunError):
    """Base of every error of the client."""


class ConnectionFailed(ClientError):
    """No connection could be opened: nobody listens there, the name is unknown, or it is no WebSocket server."""


class ConnectionClosed(ClientError):
    """The connection ended before the reply came, or the client is closed.

    `is_outcome_unknown` is True if the command had been handed to the network: the server may have carried it out.
    The client never sends such a command again by itself.
    """

    def __init__(self, text: str, *, is_outcome_unknown: bool = False) -> None:
        super().__init__(text)
        self.is_outcome_unknown = is_outcome_unknown


class ProtocolError(ClientError):
    """The server sent something that no Nun-db server says; the connection is given up."""


class CommandTimeout(ClientError, TimeoutError):
    """Nothing came within the time given (synchronous client only); the outcome of a command is then unknown."""


class CommandError(ClientError):
    """The server answered a command with an error; `message` is its text, without `error ` and the end of line."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class AuthenticationError(CommandError):
    """The server knows no such admin, user or token."""


class PermissionDenied(CommandError):
    """The session may not do this: its user lacks the permission, or the command needs the admin."""


class NoDatabaseSelected(CommandError):
    """The command works on a database and the session has selected none."""


class VersionConflict(CommandError):
    """`set_safe` came too late: the key has a newer version. `message` is what the server said.

    `record` is the key of the conflict's record if an arbiter was asked (databases of the strategy `arbiter`): watch
    it to learn the outcome, which comes as the value `resolved VALUE`. Otherwise it is None: the change was refused.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        is_pending = message.startswith(CONFLICT_UNRESOLVED_PREFIX)
        self.record: str | None = message.removeprefix(CONFLICT_UNRESOLVED_PREFIX) if is_pending else None


_ERROR_TYPES: dict[str, type[CommandError]] = {
    messages.PERMISSION_DENIED.error.strip(): PermissionDenied,
    messages.NOT_AUTH.error: PermissionDenied,
    messages.SECURITY_KEY.error: PermissionDenied,
    messages.NO_DATABASE.error.strip(): NoDatabaseSelected,
    messages.INVALID_TOKEN.error: AuthenticationError,
    messages.INVALID_AUTH.strip(): AuthenticationError,
    messages.INVALID_VERSION.error: VersionConflict,
    messages.NO_ARBITER.error: VersionConflict,
}


def command_error(message: str) -> CommandError:
    """The exception for the error text of a reply (docs/protocol.md sections 2 and 5)."""
    if message.startswith(CONFLICT_UNRESOLVED_PREFIX):
        return VersionConflict(message)
    if message == messages.OWNER_LOST_FRAME:
        return CommandError(messages.OWNER_LOST)
    return _ERROR_TYPES.get(message, CommandError)(message)
