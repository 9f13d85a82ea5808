"""Access that is taken away ends at once, on all transports: sessions, watches, and nobody else's (section 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.clients import TcpClient, WebSocketClient
from tests.support.sessions import OK, admin_session, create_database, select, tcp_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.server import Server

USERS = "create-user ana ana-pwd; create-user bob bob-pwd; set-permissions ana rwix *; set-permissions bob rwix *"


def is_out(client: TcpClient | WebSocketClient) -> bool:
    """Whether the session has no database any more; what it is told of that is taken."""
    for command in ("get k", "set k from-outside", "watch k"):
        if client.ask(command)[0] != "error no-db-selected\n":
            return False
        client.quiet(0.05)  # on TCP the error takes several lines
    return True


def open_tcp(server: Server) -> TcpClient:
    return TcpClient(server.tcp)


def open_websocket(server: Server) -> WebSocketClient:
    return WebSocketClient(server.websocket)


@pytest.fixture(name="admin")
def _admin(server: Server) -> Iterator[WebSocketClient]:
    create_database(server, "db", then=USERS)
    with admin_session(server, "db") as admin:
        yield admin


@pytest.mark.parametrize("make", [open_tcp, open_websocket])
@pytest.mark.parametrize(
    "command",
    ["set $$user_ana new-pwd", "remove $$user_ana", "create-user ana new-pwd"],
    ids=["token", "gone", "again"],
)
def test_a_user_whose_token_is_changed_is_out(
    server: Server, admin: WebSocketClient, make: Callable[..., TcpClient | WebSocketClient], command: str
) -> None:
    with make(server) as ana, make(server) as bob, tcp_session(server, "db") as everyone:
        select(ana, "db", "ana ana-pwd")
        select(bob, "db", "bob bob-pwd")
        assert admin.ask("watch $connections") == [OK]
        for client in (ana, bob, everyone, admin):
            assert client.ask("watch k") == [OK]
        assert {"changed $connections 3\n", OK} <= {*admin.ask(command)}
        assert is_out(ana)
        assert bob.ask("set k from-bob")[-1] == OK
        assert ana.quiet() == []
        for client in (everyone, admin):
            assert client.take()[0] == "changed k from-bob\n"
        if command.endswith("new-pwd"):
            assert ana.ask("use-db db ana ana-pwd") != [OK]
            select(ana, "db", "ana new-pwd")
            assert ana.ask("get k")[-1] == OK
        else:
            assert ana.ask("use-db db ana ana-pwd") != [OK]


@pytest.mark.parametrize("make", [open_tcp, open_websocket])
def test_a_database_whose_token_is_changed_keeps_its_users(
    server: Server, admin: WebSocketClient, make: Callable[..., TcpClient | WebSocketClient]
) -> None:
    with make(server) as everyone, make(server) as ana:
        select(everyone, "db")
        select(ana, "db", "ana ana-pwd")
        for client in (everyone, ana, admin):
            assert client.ask("watch k") == [OK]
        assert admin.ask("set $$token new-pwd")[-1] == OK
        assert is_out(everyone)
        assert ana.ask("set k 1")[-1] == OK
        assert everyone.quiet() == []
        assert admin.take()[0] == "changed k 1\n"
        assert everyone.ask("use-db db pwd") != [OK]
        select(everyone, "db", "new-pwd")


def test_an_admin_stays_whatever_it_selected_the_database_as(server: Server, admin: WebSocketClient) -> None:
    with admin_session(server) as other:
        select(other, "db", "ana ana-pwd")
        assert other.ask("watch k") == [OK]
        assert admin.ask("remove $$user_ana")[-1] == OK
        assert admin.ask("set k 1")[-1] == OK
        assert other.take()[0] == "changed k 1\n"


@pytest.mark.parametrize("make", [open_tcp, open_websocket])
def test_a_permission_that_is_taken_away_ends_the_watch(
    server: Server, admin: WebSocketClient, make: Callable[..., TcpClient | WebSocketClient]
) -> None:
    with make(server) as ana, make(server) as bob:
        select(ana, "db", "ana ana-pwd")
        select(bob, "db", "bob bob-pwd")
        for client in (ana, bob):
            assert client.ask_all("watch secret-1", "watch open-1") == [[OK], [OK]]
        assert admin.ask("set-permissions ana rw open-*") == [OK]
        for key in ("secret-1", "open-1"):
            assert admin.ask(f"set {key} x") == [OK]
        assert ana.take(2)[0] == "changed open-1 x\n"
        assert ana.quiet() == []
        assert bob.take(4)[::2] == ["changed secret-1 x\n", "changed open-1 x\n"]
        assert admin.ask("set-permissions ana rw *") == [OK]
        assert admin.ask("set secret-1 y") == [OK]
        assert ana.quiet() == [], "a watch that ended does not come back by itself"
