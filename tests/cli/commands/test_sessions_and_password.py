"""nun-db sessions and nun-db password against a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cli.command import ADMIN, ask, ask_json, run
from tests.cli.terminal import run_at_terminal
from tools.clients.exact_clients import http_post
from tools.clients.sessions import create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    from pathlib import Path

    from tools.clients.server import Server

NOTE = "nun-db: update NUN_PWD (or NUN_PWD_FILE) of the server too; the server warns at each start with the old one\n"


def test_sessions_are_listed_and_ended(server: Server) -> None:
    create_database(server, "d", then="create-user ana a; set-permissions ana r *")
    create_database(server, "e")
    with websocket_session(server, "d", "ana a") as one, tcp_session(server, "e") as other:
        listed = ask(server, "sessions", "list")
        assert (listed.code, listed.errors) == (0, "")
        head, *lines = [line.split() for line in listed.output.splitlines()]
        assert head[:6] == ["id", "transport", "address", "database", "user", "is_admin"]
        assert head[6:] == ["admin", "since", "watches", "outbox_bytes"]
        assert [line[1:6] for line in lines] == [
            ["websocket", "127.0.0.1", "d", "ana", "no"],
            ["tcp", "127.0.0.1", "e", "all", "no"],
        ]
        rows = ask_json(server, "sessions", "list", "-d", "d")
        assert [(row["database"], row["user"], row["watches"]) for row in rows] == [("d", "ana", 0)]
        assert list(rows[0]) == head
        number = str(rows[0]["id"])
        assert lines[0][0] == number
        assert ask(server, "sessions", "disconnect", number) == (0, f"disconnected session {number}\n", "")
        assert one.wait_close() == 1008
        again = ask(server, "sessions", "disconnect", number)
        assert (again.code, again.errors) == (1, "nun-db: no session has this id\n")
        assert other.ask("get k")[0] == "value <Empty>\n"


def test_the_password_is_changed_from_a_file_and_stays_over_a_restart(server: Server, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.write_text("a new password\n")
    changed = ask(server, "password", "--new-pwd-file", str(new))
    assert changed == (0, "changed the administrator's password\n", NOTE)
    assert ask(server, "databases", "list").code == 3
    now = ("-u", "user-name", "--pwd-file", str(new), "-h", f"http://{server.http}", "databases", "list", "--no-sizes")
    assert run(*now).code == 0
    server.restart()
    now = ("-u", "user-name", "--pwd-file", str(new), "-h", f"http://{server.http}", "databases", "list", "--no-sizes")
    assert run(*now).code == 0
    assert ask(server, "databases", "list").code == 3


def test_a_password_is_made_and_shown_once(server: Server, tmp_path: Path) -> None:
    password = ask_json(server, "password", "--generate")["password"]
    assert len(password) == 40
    assert http_post(server.http, f"auth user-name {password}") == "valid auth\n"
    assert password not in server.log_text()
    settings = tmp_path / "pynun.env"  # of root at the server's socket, which needs no password
    for setting, place in (("NUN_PWD=old", f"NUN_PWD in {settings}"), ("NUN_PWD_FILE=/a/pwd", "the file /a/pwd")):
        settings.write_text(f"NUN_DBS_DIR={server.data_dir}\n{setting}\n")
        changed = run("password", "--generate", environment={"NUN_ENV_FILE": str(settings)})
        told = f"nun-db: update {place} too; the server warns at each start with the old one\n"
        assert (changed.code, changed.errors) == (0, told)


def test_at_a_terminal_it_is_asked_for_twice(server: Server) -> None:
    arguments = [*ADMIN, "-h", f"http://{server.http}", "password"]
    code, screen = run_at_terminal(arguments, [("New password: ", "one"), ("New password again: ", "other")])
    assert code == 2
    assert "they do not match: nothing was changed" in screen
    code, screen = run_at_terminal(arguments, [("New password: ", "one"), ("New password again: ", "one")])
    assert code == 0, screen
    assert http_post(server.http, "auth user-name one") == "valid auth\n"


def test_without_a_new_password_nothing_is_asked_of_the_server(shared_server: Server, tmp_path: Path) -> None:
    missing = ask(shared_server, "password")
    assert (missing.code, missing.output) == (2, "")
    assert "the new password is missing: give it with --new-pwd-file FILE" in missing.errors
    bad = tmp_path / "bad"
    bad.write_text("semi;colon\n")
    refused = ask(shared_server, "password", "--new-pwd-file", str(bad))
    assert (refused.code, refused.output) == (2, "")
    both = ask(shared_server, "password", "--new-pwd-file", str(bad), "--generate")
    assert (both.code, both.errors) == (2, "nun-db: --generate and --new-pwd-file can't be combined\n")
    assert ask(shared_server, "databases", "list").code == 0
