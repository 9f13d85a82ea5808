"""`nun-db get`, `set`, `del`, `keys` and `incr` against a running server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cli.command import Result, ask, run
from tests.cli.peer import Peer, http_answer
from tests.client.conftest import make_database

if TYPE_CHECKING:
    from tests.client.conftest import Database
    from tools.clients.server import Server


@pytest.fixture(name="database", scope="module")
def _database(shared_server: Server) -> Database:
    database = make_database(shared_server, name="cli-keys")
    database.admin('set ana-k one two; set k {"a": 1}; set number 7; set text x; set client-1 a; set client-2 b')
    return database


def test_values_are_read(database: Database) -> None:
    one = ask(database.server, "get", "-d", "cli-keys", "ana-k")
    assert one == (0, "one two\n", "")
    assert ask(database.server, "get", "-d", "cli-keys", "ana-k", "--raw") == (0, "one two", "")
    some = ask(database.server, "get", "-d", "cli-keys", "k", "none", "number")
    assert some == (7, 'k {"a": 1}\nnumber 7\n', "nun-db: no key named none in cli-keys\n")
    lines = ask(database.server, "get", "-d", "cli-keys", "number", "none", "--json").output.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"key": "number", "version": 0, "value": "7"},
        {"key": "none", "version": None, "value": None},
    ]


def test_a_user_of_the_database_may_do_what_it_may(database: Database) -> None:
    login = ("-h", f"http://{database.server.http}")
    user = ("-d", "cli-keys", "--database-user", "ana", "-t", "ana-pwd")
    denied = run(*login, "set", *user, "other", "1", "ana-new", "2", "text", "3")
    assert denied == (
        1,
        "set ana-new\n",
        "".join(
            f"nun-db: {key}: permission denied; an administrator sees why: "
            f"nun-db permissions can cli-keys ana w {key}\n"
            for key in ("text", "other")
        ),
    )
    assert run(*login, "keys", "ana-*", "-d", "cli-keys", environment={"NUN_TOKEN": database.token}).output == (
        "ana-k\nana-new\n"
    )
    wrong = run(*login, "get", "-d", "cli-keys", "-t", "hunter2", "k")
    assert wrong == (3, "", "nun-db: Invalid token: check the token of the database cli-keys\n")
    wrong = run(*login, "get", *user[:-2], "k", environment={"NUN_TOKEN": "hunter2"})
    told = "check the token of the user ana of cli-keys, which is in NUN_TOKEN"
    assert wrong == (3, "", f"nun-db: Invalid token, or no user of that name: {told}\n")
    nowhere = run(*login, "get", "-d", "cli-nowhere", "-t", "hunter2", "k")
    assert nowhere == (1, "", "nun-db: no database named cli-nowhere\n")
    nobody = run(*login, "get", "-d", "cli-keys", "k")
    assert (nobody.code, nobody.output) == (2, "")
    assert nobody.errors.startswith("nun-db: the token of the database cli-keys is missing: ")


def test_a_token_in_the_environment_is_used_unless_a_login_is_given(database: Database) -> None:
    wrong = {"NUN_TOKEN": "hunter2"}
    admin = {"NUN_USER": "user-name", "NUN_PWD": "user-pwd"}
    at = ("-h", f"http://{database.server.http}")
    assert run(*at, "get", "-d", "cli-keys", "number", environment={**wrong, **admin}).code == 3
    assert run(*at, "get", "-d", "cli-keys", "number", environment=admin) == (0, "7\n", "")
    assert ask(database.server, "get", "-d", "cli-keys", "number", **wrong) == (0, "7\n", "")
    missing = ask(database.server, "get", "-d", "cli-nowhere", "k")
    assert (missing.code, missing.output) == (1, "")
    assert missing.errors.startswith("nun-db: no database named cli-nowhere; the databases are: ")
    assert "cli-keys" in missing.errors


def test_values_are_set_also_from_standard_input(database: Database) -> None:
    text = '{"a": "\\n", "ü": "$$"}'
    login = ("-u", "user-name", "-p", "user-pwd", "-h", f"http://{database.server.http}")
    words = ("set", "-d", "cli-keys", "--", "dash", "-5", "given", "-")
    made = run(*login, *words, standard_input=f"{text}\r\n".encode())
    assert made == (0, "set dash\nset given\n", "")
    assert database.admin("get dash; get given") == f"value -5\n;value {text}\n"
    assert ask(database.server, "set", "-d", "cli-keys", "empty", "", "--json") == (
        0,
        '{"key": "empty", "set": true}\n',
        "",
    )
    for value, told in (
        ("a;b", "can't be sent over HTTP, where a semicolon ends a command"),
        ("a\nb", "has a line break, which no command can carry"),
        ("a ", "white space at its end is dropped"),
    ):
        refused = ask(database.server, "set", "-d", "cli-keys", "number", value)
        assert (refused.code, refused.output) == (2, "")
        assert told in refused.errors
    assert ask(database.server, "set", "-d", "cli-keys", "number").code == 2
    assert database.admin("get number; get empty") == "value 7\n;value \n"


def test_keys_are_removed_and_numbers_added_to(database: Database) -> None:
    database.admin("set gone 1; set count 40; set word text")
    told = "gone does not exist now\nnever does not exist now\n"  # the server does not say whether it did
    assert ask(database.server, "del", "-d", "cli-keys", "gone", "never") == (0, told, "")
    assert database.admin("get gone") == "value <Empty>\n"
    assert ask(database.server, "incr", "-d", "cli-keys", "count", "--by", "-50") == (0, "-10\n", "")
    some = ask(database.server, "incr", "-d", "cli-keys", "count", "word", "fresh", "--json")
    assert some == (
        1,
        '{"key": "count", "value": -9}\n{"key": "fresh", "value": 1}\n',
        "nun-db: word: Key is not numeric\n",
    )


def test_keys_are_listed_by_pattern_and_prefix(database: Database) -> None:
    assert ask(database.server, "keys", "-d", "cli-keys", "client-*").output == "client-1\nclient-2\n"
    assert ask(database.server, "keys", "-d", "cli-keys", "--prefix", "client-", "--json").output == (
        '{"key": "client-1"}\n{"key": "client-2"}\n'
    )
    assert "$$token\n" in ask(database.server, "keys", "-d", "cli-keys").output
    for wrong in (["--prefix", "a*"], ["--prefix", "a", "b"], ["a;b"]):
        assert ask(database.server, "keys", "-d", "cli-keys", *wrong).code == 2


def test_a_long_listing_comes_in_pages(shared_server: Server) -> None:
    """More than one answer can hold; here and on the server a page is held, not all of it."""
    database = make_database(shared_server, name="cli-pages")
    names = [f"{number:05}{'x' * 400}" for number in range(7000)]
    database.admin(";".join(f"set {name} v" for name in names))
    result = ask(shared_server, "keys", "-d", "cli-pages", "--prefix", "0")
    assert result == Result(0, "".join(f"{name}\n" for name in names), "")


def test_an_older_server_is_named_as_the_reason() -> None:
    with Peer(http_answer("valid auth\n;unknown command: open-db;error no-db-selected\n")) as peer:
        result = run("-u", "a", "-p", "b", "-h", peer.url, "get", "-d", "d", "k")
    assert (result.code, result.output) == (1, "")
    assert "does not know the command open-db: it is an older version, or another program" in result.errors
