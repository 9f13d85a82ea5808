"""The names of a server's databases, over WebSocket and for administrators: for messages about a name that is wrong."""

from __future__ import annotations

from pynun.cli.remote.admin_client import names_of
from pynun.client import ClientError, SyncClient


def names_from(client: SyncClient) -> list[str]:
    """The names of the first databases, more than a message shows; none if the client may not know them."""
    try:
        return names_of("".join(client.execute("list-dbs").messages))
    except ClientError:
        return []


def names_at(url: str, ca: str | None, admin: tuple[str, str]) -> list[str]:
    """The same, over a connection of its own."""
    try:
        with SyncClient(url, admin=admin, ca=ca, reconnect=False) as client:
            return names_from(client)
    except ClientError:
        return []
