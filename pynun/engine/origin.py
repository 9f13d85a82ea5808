"""Where a session comes from: what its owner, a transport, tells of the client and can do about it."""

from __future__ import annotations

from typing import Protocol


class Origin(Protocol):
    """The client of one session, for `list-sessions` and `disconnect`. All of it is asked for seldom."""

    @property
    def transport(self) -> str:
        """`websocket`, `http` or `tcp`."""

    @property
    def address(self) -> str:
        """The client's, without its port."""

    @property
    def waiting_bytes(self) -> int:
        """What waits to be sent to the client."""

    def disconnect(self) -> bool:
        """Have the connection ended, soon and with a word to the client; False if it is one that ends by itself."""
