"""Short ways to what most tests begin with: a database, and connections that have selected it."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from tools.clients.exact_clients import Connection, TcpClient, WebSocketClient, http_post

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.clients.server import Server

OK = "ok \n"
TOKEN = "pwd"


def create_database(server: Server, name: str, *, strategy: str = "none", then: str = "") -> None:
    """Create a database with the token `pwd`; `then` holds more commands, run with it selected."""
    body = f"auth {server.credentials}; create-db {name} {TOKEN} {strategy}"
    results = http_post(server.http, f"{body}; use-db {name} {TOKEN}; {then}" if then else body).split(";")
    assert results[:2] == ["valid auth\n", "create-db success\n"], results
    assert set(results[2:]) <= {"empty"}, results


def select(connection: Connection, database: str, credentials: str = TOKEN) -> None:
    """Select a database on a connection."""
    assert connection.ask(f"use-db {database} {credentials}") == [OK]


def websocket_session(server: Server, database: str, credentials: str = TOKEN) -> WebSocketClient:
    """Open a WebSocket and select a database."""
    client = WebSocketClient(server.websocket)
    select(client, database, credentials)
    return client


def tcp_session(server: Server, database: str, credentials: str = TOKEN) -> TcpClient:
    """Open a TCP connection and select a database."""
    client = TcpClient(server.tcp)
    select(client, database, credentials)
    return client


@contextlib.contextmanager
def reading(*clients: Connection) -> Iterator[None]:
    """Have clients read to the server's end of their connections, and then close, as every program does."""

    def read(client: Connection) -> None:
        client.wait_end()
        client.abandon()

    threads = [threading.Thread(target=read, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()


def become_admin(connection: Connection, server: Server) -> None:
    """Log in as the admin."""
    assert connection.ask(f"auth {server.credentials}") == ["valid auth\n", OK]


def admin_session(server: Server, database: str | None = None) -> WebSocketClient:
    """Open a WebSocket as the admin, with a database selected if one is named."""
    client = WebSocketClient(server.websocket)
    become_admin(client, server)
    if database is not None:
        select(client, database)
    return client
