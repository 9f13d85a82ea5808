"""Access that is taken away ends at once, on all transports: sessions, watches, and nobody else's (section 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.clients import TcpClient, WebSocketClient
from tests.support.sessions import OK, admin_session, create_database, select, tcp_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.server import Server

NOT_SELECTED = ["error Not auth \n"]
USERS = "create-user ana ana-pwd; create-user bob bob-pwd; set-permissions ana rwix *; set-permissions bob rwix *"


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
        assert admin.ask(command)[-1] == OK
        assert "changed $connections 3\n" in admin.quiet()
        assert ana.ask("get k") == NOT_SELECTED
        assert ana.ask("set k from-ana") == NOT_SELECTED
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
        assert everyone.ask("get k") == NOT_SELECTED
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
        assert [line for line in ana.quiet() if line.startswith("changed ")] == ["changed open-1 x\n"]
        assert ana.ask("get secret-1") == ["permission denied\n", OK] or ana.ask("watch secret-1")[0].startswith("perm")
        assert [line for line in bob.quiet() if line.startswith("changed ")] == [
            "changed secret-1 x\n",
            "changed open-1 x\n",
        ]
        assert admin.ask("set-permissions ana rw *") == [OK]
        assert admin.ask("set secret-1 y") == [OK]
        assert ana.quiet() == [], "a watch that ended does not come back by itself"
