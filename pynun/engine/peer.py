"""Where a session comes from: what its owner, a transport, tells of the client and can do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Peer(Protocol):
    """The client of one session, for `list-sessions`, `disconnect`, logins and the audit trail. Asked for seldom."""

    @property
    def transport(self) -> str:
        """`websocket`, `http` or `tcp`."""

    @property
    def address(self) -> str:
        """The client's, without its port."""

    @property
    def waiting_bytes(self) -> int:
        """What waits to be sent to the client."""

    def is_gone(self) -> bool:
        """Whether the client has hung up, whatever of it is still to be read."""

    def disconnect(self) -> bool:
        """Have the connection ended, soon and with a word to the client; False if it is one that ends by itself."""


def _stays() -> bool:
    return False


class Attempt(NamedTuple):
    """An attempt to log in: from where, and to what."""

    address: str
    """The client's, without its port; empty if nobody knows."""
    account: str
    """What the secret would open: the same text for every way to the same account."""
    is_gone: Callable[[], bool] = _stays
    """Whether the client has left meanwhile."""
