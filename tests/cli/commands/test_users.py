"""nun-db users and nun-db permissions against a running server."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest

from tests.cli.command import Result, ask, ask_json
from tools.clients.exact_clients import http_post
from tools.clients.sessions import OK, create_database, select, tcp_session

if TYPE_CHECKING:
    from pathlib import Path

    from tools.clients.server import Server


def test_the_life_of_a_user(server: Server, tmp_path: Path) -> None:
    create_database(server, "d")
    token_file = tmp_path / "token"
    token_file.write_text("from-a-file\n")
    made = ask(server, "users", "create", "d", "ana", "--token-file", str(token_file))
    assert made == (0, "created the user ana of d\n", "")
    assert ask(server, "users", "create", "d", "ana", "-t", "x").errors == "nun-db: user already exists\n"
    with tcp_session(server, "d", "ana from-a-file") as client:
        assert client.ask("get k")[0] == "permission denied\n"
        client.quiet(0.05)
        assert ask(server, "permissions", "grant", "d", "ana", "r", "*") == (0, "ana of d: r *\n", "")
        assert client.ask("get k") == ["value <Empty>\n", OK]
        granted = ask(server, "permissions", "grant", "d", "ana", "wx", "client-*", "tmp-*")
        assert granted == (0, "ana of d: r *|wx client-*,tmp-*\n", "")
        assert client.ask("set client-1 v") == [OK]
        assert [line.split() for line in ask(server, "users", "list", "d").output.splitlines()] == [
            ["user", "has_token", "permissions", "connections"],
            ["ana", "yes", "r", "*|wx", "client-*,tmp-*", "1"],
        ]
        assert ask_json(server, "users", "list", "d") == [
            {"user": "ana", "has_token": True, "permissions": "r *|wx client-*,tmp-*", "connections": 1}
        ]
        changed = ask_json(server, "users", "token", "d", "ana", "--generate")
        assert (changed["database"], changed["user"], len(changed["token"])) == ("d", "ana", 40)
        assert client.ask("get k")[0] == "error no-db-selected\n"
        client.quiet(0.05)
        select(client, "d", f"ana {changed['token']}")
        assert ask(server, "users", "remove", "d", "ana") == (0, "removed the user ana of d\n", "")
        assert client.ask("get k")[0] == "error no-db-selected\n"
    assert ask(server, "users", "remove", "d", "ana").errors == "nun-db: no user named ana in the database d\n"
    assert ask_json(server, "users", "list", "d") == []
    assert ask(server, "users", "token", "d", "-t", "other").output == "changed the token of the database d\n"
    assert http_post(server.http, "use-db d pwd; use-db d other") == "Invalid token;empty"


def test_permissions_are_shown_rule_by_rule(shared_server: Server) -> None:
    create_database(shared_server, "cli-shown", then="create-user ana a; create-user bob b")
    assert ask(shared_server, "permissions", "grant", "cli-shown", "ana", "rw", "a*", "b").code == 0
    assert ask(shared_server, "permissions", "grant", "cli-shown", "ana", "r", "*").code == 0
    shown = ask(shared_server, "permissions", "show", "cli-shown")
    assert [line.split() for line in shown.output.splitlines()] == [
        ["user", "kinds", "patterns"],
        ["ana", "rw", "a*,b"],
        ["ana", "r", "*"],
        ["bob", "-", "-"],
    ]
    assert ask_json(shared_server, "permissions", "show", "cli-shown", "ana") == [
        {"user": "ana", "permissions": "rw a*,b|r *"}
    ]
    assert ask(shared_server, "permissions", "show", "cli-shown", "all").output.splitlines()[1].split() == [
        *("all", "rwix", "*")
    ]
    nobody = ask(shared_server, "permissions", "show", "cli-shown", "eve")
    assert (nobody.code, nobody.errors) == (1, "nun-db: there is no user eve of cli-shown\n")


def test_what_a_wider_rule_still_allows_is_told(shared_server: Server) -> None:
    create_database(shared_server, "cli-revoked", then="create-user ana a; set-permissions ana rw *|rwx client-*")
    revoked = ask(shared_server, "permissions", "revoke", "cli-revoked", "ana", "wx", "client-*")
    assert revoked.code == 0
    assert revoked.output == "ana of cli-revoked: rw *|r client-*\n"
    assert revoked.errors == "nun-db: another rule still allows w client-*\n"
    nothing = ask(shared_server, "permissions", "revoke", "cli-revoked", "ana", "x", "client-*")
    assert (nothing.code, nothing.output) == (1, "")
    assert nothing.errors == ("nun-db: the user's permissions hold none of these kinds on just these patterns\n")


def test_the_first_rule_of_all_is_a_restriction_and_said_to_be_one(shared_server: Server) -> None:
    create_database(shared_server, "cli-all")
    first = ask(shared_server, "permissions", "grant", "cli-all", "all", "r", "*")
    assert first.output == "all of cli-all: r *\n"
    assert first.errors.startswith("nun-db: sessions with the database's token could do everything until now")
    assert ask(shared_server, "permissions", "grant", "cli-all", "all", "w", "a*").errors == ""


@pytest.mark.parametrize(
    ("question", "code", "told"),
    [
        (("ana", "r", "k"), 0, "yes: the rule r * allows it\n"),
        (("ana", "w", "client-1"), 0, "yes: the rule rw client-* allows it\n"),
        (("ana", "x", "client-1"), 1, "no: none of the user's rules allows it: r *|rw client-*\n"),
        (("ana", "r", "$$token"), 1, "no: keys that begin with $$ are for the administrator alone\n"),
        (("bob", "r", "k"), 1, "no: the user has no permissions\n"),
        (("eve", "r", "k"), 1, "no: there is no such user\n"),
        (
            ("all", "x", "k"),
            0,
            "yes: sessions with the database's token may do everything, for all has no rules\n",
        ),
    ],
)
def test_who_can_do_what(shared_server: Server, question: tuple[str, ...], code: int, told: str) -> None:
    if http_post(shared_server.http, "use-db cli-can pwd") != "empty":
        users = "create-user ana a; create-user bob b; set-permissions ana r *|rw client-*"
        create_database(shared_server, "cli-can", then=users)
    assert ask(shared_server, "permissions", "can", "cli-can", *question) == (code, told, "")
    answer = ask(shared_server, "permissions", "can", "cli-can", *question, "--json")
    assert answer.code == code
    report = json.loads(answer.output)
    assert [report[member] for member in ("database", "user", "kind", "key")] == ["cli-can", *question]
    assert report["allowed"] == (code == 0)


def test_a_question_that_can_t_be_answered_leaves_standard_output_empty(shared_server: Server) -> None:
    unknown = ask(shared_server, "permissions", "can", "cli-nowhere", "ana", "r", "k")
    assert (unknown.code, unknown.output) == (1, "")
    assert unknown.errors.startswith("nun-db: no database named cli-nowhere; the databases are: ")
    wrong = ask(shared_server, "permissions", "can", "cli-nowhere", "ana", "read", "k")
    assert (wrong.code, wrong.output) == (2, "")
    assert "a kind is one of r (read), w (write), i (increment) and x (remove)" in wrong.errors


def test_administrators_who_grant_at_once_lose_nothing_of_each_other(shared_server: Server) -> None:
    create_database(shared_server, "cli-race", then="create-user ana a")
    results: list[Result] = []

    def grant(number: int) -> None:
        results.append(ask(shared_server, "permissions", "grant", "cli-race", "ana", "r", f"key-{number}"))

    threads = [threading.Thread(target=grant, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.code for result in results] == [0] * 6
    [row] = ask_json(shared_server, "permissions", "show", "cli-race")
    assert sorted(row["permissions"].removeprefix("r ").split(",")) == [f"key-{number}" for number in range(6)]
