"""Access that is taken away ends at once, on all transports: sessions, watches, and nobody else's (section 2)."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from tools.clients.exact_clients import HttpClient, TcpClient, WebSocketClient, http_post
from tools.clients.server import Server, new_folder
from tools.clients.sessions import (
    OK,
    admin_session,
    become_admin,
    create_database,
    select,
    tcp_session,
    websocket_session,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[Server]:
    with new_folder() as folder, Server(folder / "dbs") as server:
        yield server


@pytest.fixture(name="admin")
def _admin(server: Server) -> Iterator[WebSocketClient]:
    """The administrator, in a new database."""
    create_database(server, "db", then=USERS)
    with admin_session(server, "db") as admin:
        yield admin
    assert http_post(server.http, f"auth {server.credentials}; drop-db db") == "valid auth\n;drop-db success\n"


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
def test_a_watch_sleeps_while_its_permission_is_away(
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
        assert ana.take(2) == ["changed secret-1 x\n", "changed-version secret-1 0 x\n"], "it missed that"
        assert admin.ask("set secret-1 y") == [OK]
        assert ana.take(2)[0] == "changed secret-1 y\n"
        for command in ("set-permissions ana rw other", "set-permissions ana rw *"):
            assert admin.ask(command) == [OK]
        assert ana.quiet() == [], "nothing changed meanwhile"
        assert admin.ask("remove secret-1") == [OK]
        assert ana.take() == ["removed secret-1\n"]


def test_who_is_admin_no_more_has_lost_what_was_revoked_meanwhile(server: Server, admin: WebSocketClient) -> None:
    with admin_session(server, "db") as other, tcp_session(server, "db") as bob:
        become_admin(bob, server)
        select(bob, "db", "bob bob-pwd")
        for client in (other, bob):
            assert client.ask("watch k") == [OK]
        for command in ("set-token db all new", "set-token db bob new", "set-password new-pwd"):
            assert admin.ask(command)[-1] == OK
        server.password = "new-pwd"
        assert admin.ask("set k secret")[-1] == OK
        for client in (other, bob):
            assert is_out(client)


def test_no_command_of_a_demoted_admin_completes(new_server: Callable[..., Server]) -> None:
    """Of those that wait for a hash, on all transports. Some may be computed beside the password, and come before."""
    server = new_server(NUN_ARGON2_MEMORY_KIB="19456", NUN_ARGON2_PASSES="2")
    server.start()
    create_database(server, "db", then=USERS)
    commands = [
        "create-db new-{} pwd",
        "create-user new-{} pwd",
        "add-user db new-{} pwd",
        "set $$user_new-{} pwd",
        "set-token db ana other-{}",
        "replicate db $$user_new-{} -1 pwd",
        "rp 7 add-user db new-{} pwd",
    ]
    with contextlib.ExitStack() as stack:
        boss = stack.enter_context(admin_session(server, "db"))
        clients = [stack.enter_context((open_tcp if n % 2 else open_websocket)(server)) for n in range(40)]
        for client in clients:
            become_admin(client, server)
            select(client, "db")
        http = stack.enter_context(HttpClient(server.http))
        boss.send("set-password new-pwd")
        for _ in range(2):
            assert http.request("x").text == "unknown command: x"  # so the server has read it, and waits for its hash
        for number, client in enumerate(clients):
            client.send(commands[number % len(commands)].format(number))
        body = f"auth {server.credentials}; create-db by-http pwd; create-db by-http-2 pwd"
        results = http.request(body).text.split(";")
        assert boss.take_answer() == [OK]
        answers = [client.take_answer()[-1] for client in clients]
        refused = [answer for answer in answers if answer.startswith(("error Not auth", "error To read security"))]
        assert len(refused) >= len(clients) // 2, answers
        assert results[-1] in ("Not auth", "create-db success\n"), results
    server.stop()
    audited = [json.loads(line) for line in (server.data_dir / "audit.jsonl").read_text().splitlines()]
    shown = [(line["command"], line["outcome"]) for line in audited if line["event"] not in ("login", "stop")]
    behind = shown[shown.index(("set-password ***", "ok")) + 1 :]
    assert behind, "all came before"
    assert {outcome for _, outcome in behind} == {"refused"}, behind


def test_a_permission_is_replaced_under_a_load_and_no_last_value_is_missing(
    server: Server, admin: WebSocketClient
) -> None:
    with open_websocket(server) as ana, websocket_session(server, "db") as writer:
        select(ana, "db", "ana ana-pwd")
        for number in range(5):
            assert ana.ask(f"watch k{number}") == [OK]
        for turn in range(40):
            for number in range(5):
                writer.send(f"set k{number} {turn}")
            admin.send(f"set-permissions ana r {'other' if turn % 2 == 0 else '*'}")
        for _ in range(40):
            assert admin.take_answer() == [OK]
        for _ in range(200):
            writer.take_answer()
        last: dict[str, str] = {}
        for text in [*ana.quiet(0.3)]:
            if text.startswith("changed-version"):
                _, key, version, value = text.split()
                assert int(version) > int(last.get(key, "-1 ").split()[0])
                last[key] = f"{version} {value}"
        assert last == {f"k{number}": "39 39" for number in range(5)}
