"""The client behind a session, as the transport sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Peer(Protocol):
    """The client of one session, for `list-sessions`, `disconnect`, logins and the audit trail. Rarely used."""

    @property
    def transport(self) -> str:
        """`websocket`, `http`, `tcp`, or `unix` for either of the first two on the server's Unix socket."""

    @property
    def address(self) -> str:
        """The client's address without port; empty if it is unknown, or on this machine's Unix socket."""

    @property
    def system_user(self) -> str | None:
        """Who is at the other end of the server's Unix socket, as the kernel says; None on other connections."""

    @property
    def node(self) -> str:
        """The node of the cluster that it is connected to; empty if it is this one."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes waiting to be sent to the client."""

    def is_gone(self) -> bool:
        """Whether the client has hung up, even if unread data remains."""

    def disconnect(self) -> bool:
        """End the connection soon, with a message to the client; False if it ends by itself."""


def _stays() -> bool:
    return False


class Attempt(NamedTuple):
    """A login attempt: from where, and to what."""

    address: str
    """The client's address without port; empty if unknown."""
    account: str
    """The account: the same text for every way to log in to it."""
    is_gone: Callable[[], bool] = _stays
    """Whether the client has left meanwhile."""
