"""nun-db databases against a running server: what people and programs see, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.command import ADMIN, ask, ask_json, run
from tests.cli.peer import Peer, http_answer
from tests.cli.terminal import run_at_terminal
from tools.clients.exact_clients import http_post
from tools.clients.sessions import OK, create_database, tcp_session

if TYPE_CHECKING:
    from tools.clients.server import Server


def test_databases_are_listed_for_people_and_programs(server: Server) -> None:
    create_database(server, "ward-b", strategy="newer", then="set key value")
    with tcp_session(server, "ward-b"):
        result = ask(server, "databases", "list")
        rows = ask_json(server, "databases", "list")
    assert (result.code, result.errors) == (0, "")
    lines = [line.split() for line in result.output.splitlines()]
    assert lines[0] == ["name", "strategy", "connections", "keys", "bytes"]
    assert [line[:4] for line in lines[1:]] == [["$admin", "newer", "0", "3"], ["ward-b", "newer", "1", "2"]]
    assert [(row["name"], row["strategy"], row["connections"], row["keys"]) for row in rows] == [
        ("$admin", "newer", 0, 3),
        ("ward-b", "newer", 1, 2),
    ]
    assert rows[1]["bytes"] == ask_json(server, "databases", "size", "ward-b")["bytes"] > len("key" + "value")
    assert set(ask_json(server, "databases", "list", "--no-sizes")[0]) == {"name", "strategy", "connections"}


def test_a_database_is_made_with_a_token_that_is_given_or_generated(shared_server: Server) -> None:
    assert ask(shared_server, "databases", "create", "cli-made", "-t", "tok", "--strategy", "arbiter").output == (
        "created the database cli-made\n"
    )
    assert http_post(shared_server.http, "use-db cli-made tok") == "empty"
    assert ask(shared_server, "databases", "create", "cli-env", NUN_TOKEN="env-token").code == 0
    assert http_post(shared_server.http, "use-db cli-env env-token") == "empty"
    made = ask_json(shared_server, "databases", "create", "cli-generated", "--generate")
    assert made["name"] == "cli-generated"
    assert len(made["token"]) == 40
    assert http_post(shared_server.http, f"use-db cli-generated {made['token']}") == "empty"
    again = ask(shared_server, "databases", "create", "cli-made", "-t", "tok")
    assert (again.code, again.output) == (1, "")
    assert again.errors == "nun-db: database already exists\n"
    both = ask(shared_server, "databases", "create", "cli-both", "-t", "tok", "--generate")
    assert (both.code, both.errors) == (2, "nun-db: --generate makes a token: do not give one\n")


def test_a_token_is_asked_for_twice_at_a_terminal(shared_server: Server) -> None:
    arguments = [*ADMIN, "-h", f"http://{shared_server.http}", "databases", "create", "cli-asked"]
    prompts = ("Token of the database cli-asked: ", "Token of the database cli-asked again: ")
    code, screen = run_at_terminal(arguments, [(prompts[0], "one-token"), (prompts[1], "other")])
    assert code == 2
    assert "they do not match: nothing was changed" in screen
    code, screen = run_at_terminal(arguments, [(prompts[0], "one-token"), (prompts[1], "one-token")])
    assert code == 0, screen
    assert "one-token" not in screen
    assert http_post(shared_server.http, "use-db cli-asked one-token") == "empty"


def test_a_database_is_dropped_when_that_is_said(shared_server: Server) -> None:
    create_database(shared_server, "cli-dropped", then="set k v")
    refused = ask(shared_server, "databases", "drop", "cli-dropped")
    assert (refused.code, refused.output) == (2, "")
    assert "confirm with --yes" in refused.errors
    with tcp_session(shared_server, "cli-dropped") as client:
        dropped = ask(shared_server, "databases", "drop", "cli-dropped", "--yes")
        assert (dropped.code, dropped.output, dropped.errors) == (0, "dropped the database cli-dropped\n", "")
        assert client.quiet() == []
        assert client.ask("get k")[0] == "error no-db-selected\n"
    gone = ask(shared_server, "databases", "drop", "cli-dropped", "--yes", "--json")
    assert (gone.code, gone.output) == (1, "")
    assert gone.errors.startswith("nun-db: no database named cli-dropped; the databases are: ")
    create_database(shared_server, "cli-dropped")
    with tcp_session(shared_server, "cli-dropped") as client:
        assert client.ask("get k") == ["value <Empty>\n", OK]
    assert ask_json(shared_server, "databases", "drop", "cli-dropped", "--yes") == {
        "name": "cli-dropped",
        "dropped": True,
    }
    admin = ask(shared_server, "databases", "drop", "$admin", "--yes")
    assert (admin.code, admin.errors) == (1, "nun-db: $admin can't be dropped\n")


def test_at_a_terminal_the_name_is_asked_for(shared_server: Server) -> None:
    create_database(shared_server, "cli-confirmed", then="set k v")
    arguments = [*ADMIN, "-h", f"http://{shared_server.http}", "databases", "drop", "cli-confirmed"]
    code, screen = run_at_terminal(arguments, [("Its name, to drop it: ", "yes")])
    assert code == 1
    assert "the name does not match: nothing was dropped" in screen
    assert http_post(shared_server.http, "use-db cli-confirmed pwd") == "empty"
    code, screen = run_at_terminal(arguments, [("Its name, to drop it: ", "cli-confirmed")])
    assert code == 0, screen
    assert "The database cli-confirmed has 2 keys, " in screen
    assert http_post(shared_server.http, "use-db cli-confirmed pwd") == "Not a valid database name"


@pytest.mark.parametrize("arguments", [("list",), ("size", "x"), ("drop", "x", "--yes"), ("create", "x", "-t", "t")])
def test_failures_have_the_exit_codes_of_the_other_commands(shared_server: Server, arguments: tuple[str, ...]) -> None:
    at = ("-h", f"http://{shared_server.http}", "databases", *arguments)
    wrong = run("-u", "user-name", "-p", "wrong-pwd", *at)
    assert (wrong.code, wrong.output) == (3, "")
    assert wrong.errors.startswith("nun-db: the server does not accept this user and password")
    missing = run("-u", "user-name", *at)
    assert (missing.code, missing.output) == (2, "")
    nobody = run(*ADMIN, "-h", "http://127.0.0.1:1", "databases", *arguments)
    assert (nobody.code, nobody.output) == (4, "")
    assert nobody.errors.startswith("nun-db: nothing listens at http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("valid auth\n;unknown command: list-dbs", "does not know the command list-dbs: it is an older version"),
        ("valid auth\n;databases nonsense\n", "gave an answer to list-dbs that this program does not understand"),
        ("valid auth\n;empty", "gave an answer to list-dbs that this program does not understand"),
        ("valid auth\n;not stored: No space left on device", "not stored: No space left on device"),
    ],
)
def test_another_server_is_told_apart(answer: str, told: str) -> None:
    with Peer(http_answer(answer)) as peer:
        result = run(*ADMIN, "-h", f"http://127.0.0.1:{peer.port}", "databases", "list")
    assert (result.code, result.output) == (1, "")
    assert told in result.errors
    assert result.errors.count("\n") == 1


def test_a_name_can_t_write_on_the_terminal(server: Server) -> None:
    http_post(server.http, f"auth {server.credentials}; create-db \x1b[31mred pwd")
    result = ask(server, "databases", "list")
    assert "\x1b" not in result.output
    assert "\\x1b[31mred" in result.output
    assert ask_json(server, "databases", "list")[0]["name"] == "\x1b[31mred"
    name = "caf\u00e9\u009b31m\u202e"  # C1 controls and directions, which JSON would leave as they are
    http_post(server.http, f"auth {server.credentials}; create-db {name} pwd")
    listed = ask(server, "databases", "list", "--json").output
    assert "caf\u00e9\\u009b31m\\u202e" in listed
    assert name in [row["name"] for row in ask_json(server, "databases", "list")]
