"""nun-db admins against a running server, and nun-db password of one of several administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.unix_socket import SOCKET_NAME
from tests.cli.command import ask, ask_json, run
from tests.cli.commands.test_sessions_and_password import NOTE
from tools.clients.exact_clients import WebSocketClient, http_post
from tools.clients.sessions import OK

if TYPE_CHECKING:
    from pathlib import Path

    from tools.clients.server import Server


def test_administrators_come_and_go(server: Server, tmp_path: Path) -> None:
    secret = tmp_path / "pwd"
    secret.write_text("her own\n", encoding="utf-8")
    added = ask(server, "admins", "add", "ana", "--new-pwd-file", str(secret))
    assert added == (0, "added the administrator ana\n", "")
    made = ask_json(server, "admins", "add", "bob", "--generate")
    assert http_post(server.http, f"auth bob {made['password']}") == "valid auth\n"
    as_ana = ("-u", "ana", "--pwd-file", str(secret), "-h", f"http://{server.http}")
    with WebSocketClient(server.websocket) as client:
        assert client.ask("auth ana her own") == ["valid auth\n", OK]
        listed = run(*as_ana, "admins", "list")
        assert [line.split() for line in listed.output.splitlines()] == [
            ["name", "is_first", "sessions"],
            [server.user, "yes", "0"],
            ["ana", "no", "2"],
            ["bob", "no", "0"],
        ]
        assert ask(server, "admins", "remove", "ana") == (0, "removed the administrator ana\n", "")
        assert client.wait_close() == 1008
    assert run(*as_ana, "admins", "list").code == 3
    assert "her own" not in server.log_text()
    server.restart()
    assert [row["name"] for row in ask_json(server, "admins", "list")] == [server.user, "bob"]


def test_what_is_refused_is_told(shared_server: Server, tmp_path: Path) -> None:
    secret = tmp_path / "pwd"
    secret.write_text("pwd", encoding="utf-8")
    add = ("admins", "add", "--new-pwd-file", str(secret))
    for name, why in ((shared_server.user, "administrator already exists"), ("a:b", "an administrator's name has")):
        refused = ask(shared_server, *add, name)
        assert (refused.code, why in refused.errors) == (1, True), refused
    for name in (shared_server.user, "nobody"):
        assert ask(shared_server, "admins", "remove", name).code == 1
    assert ask(shared_server, *add, "a b").code == 2


def test_each_changes_the_own_password_and_that_of_others(server: Server, tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text("one", encoding="utf-8")
    second.write_text("two", encoding="utf-8")
    ask(server, "admins", "add", "ana", "--new-pwd-file", str(first))
    at = ("-h", f"http://{server.http}", "password")
    own = run("-u", "ana", "-p", "one", *at, "--new-pwd-file", str(second))
    assert own == (0, "changed the password of ana\n", "")
    assert ask(server, "password", "ana", "--new-pwd-file", str(first)) == (0, "changed the password of ana\n", "")
    theirs = run("-u", "ana", "-p", "one", *at, server.user, "--new-pwd-file", str(first))
    assert theirs == (0, "changed the administrator's password\n", NOTE)
    socket = ("-h", f"unix:{server.data_dir / SOCKET_NAME}")
    by_root = (*socket, "password", "--new-pwd-file", str(second))
    assert run(*by_root) == (0, "changed the administrator's password\n", NOTE)
    assert http_post(server.http, f"auth {server.user} two") == "valid auth\n"
    assert http_post(server.http, "auth ana one") == "valid auth\n"
