"""Databases and users with names that only a line of TCP can carry: they are shown as they are, and never mistaken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pynun.engine.commands.listing import PAGE_ROWS
from tests.cli.command import ADMIN, ask, ask_json, run
from tools.clients.exact_clients import TcpClient, http_post
from tools.clients.server import Server, new_folder
from tools.clients.sessions import OK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ODD = ("a;b", "tab\tbed", "tab\t", "esc\x1b[2J", "no\u00a0break", "'quoted'", "-", "end;", "cr\rname")
UNSENDABLE = ("a;b", "tab\t", "end;", "\u2003wide", "\rname")
"""Rows in an answer of the server (pynun/engine/commands/listing.py)."""


def tell(server: Server, *commands: str) -> list[list[str]]:
    """The replies to commands of an administrator in the database `d`, by lines of TCP."""
    with TcpClient(server.tcp) as client:
        client.ask(f"auth {server.credentials}")
        client.ask("use-db d pwd")
        return client.ask_all(*commands)


@pytest.fixture(scope="module", name="odd")
def _odd() -> Iterator[Server]:
    """A server with databases, and users of the database `d`, of odd names; tests leave them as they are."""
    names = ["d", "tab", "a", "end", *ODD]
    with new_folder() as folder, Server(folder / "dbs") as server:
        assert tell(server, *(f"create-db {name} pwd" for name in names)) == [["create-db success\n", OK]] * len(names)
        names = ["ana", *ODD]
        assert tell(server, *(f"create-user {name} user-pwd" for name in names)) == [[OK]] * len(names)
        yield server
        assert server.is_running


def test_tables_show_each_on_its_line_and_column(odd: Server) -> None:
    result = ask(odd, "databases", "list")
    assert result.code == 0
    lines = result.output.split("\n")
    assert lines.pop() == ""
    column = lines[0].index("strategy")
    names = [line[:column].rstrip() for line in lines[1:]]
    assert names == [
        "$admin",
        "\"'quoted'\"",
        "'-'",
        "a",
        "a;b",
        "'cr\\rname'",
        "d",
        "end",
        "end;",
        "'esc\\x1b[2J'",
        "'no\\xa0break'",
        "tab",
        "'tab\\t'",
        "'tab\\tbed'",
    ]
    assert all(line[column:].startswith(("newer ", "none ")) for line in lines[1:])
    assert result.output.replace("\n", "").isprintable()
    users = ask(odd, "users", "list", "d").output.splitlines()
    assert len(users) == len(ODD) + 2
    assert all(line[users[0].index("has_token") :].startswith("yes ") for line in users[1:])


def test_status_shows_each_on_its_line_and_column(odd: Server) -> None:
    lines = ask(odd, "status").output.splitlines()
    assert lines[-1].startswith("Keys: with those of users")
    table = lines[next(place for place, line in enumerate(lines) if line.startswith("database ")) : -1]
    shown = {line[:36].rstrip() for line in table[1:]}
    assert {"a;b", "'tab\\t'", "'tab\\tbed'", "'esc\\x1b[2J'", "tab"} <= shown
    assert {len(line) for line in table} == {len(table[0])}


def test_programs_get_the_names_as_they_are(odd: Server) -> None:
    databases = ask_json(odd, "databases", "list")
    assert {row["name"] for row in databases} == {"$admin", "d", "tab", "a", "end", *ODD}
    assert {row["name"] for row in databases if row["keys"] is None} == {name for name in ODD if name in UNSENDABLE}
    assert all(row["keys"] for row in databases if row["keys"] is not None)
    assert {row["user"] for row in ask_json(odd, "users", "list", "d")} == {"ana", *ODD}


def test_what_is_not_measured_is_told(odd: Server) -> None:
    result = ask(odd, "databases", "list")
    assert result.errors == ("nun-db: not measured, for such a name can't be sent over HTTP: 'a;b', 'end;', 'tab\\t'\n")
    assert ask(odd, "databases", "list", "--no-sizes").errors == ""


@pytest.mark.parametrize("end", ["\tbed", "\x1b[2J", "\u00a0break", "'quoted'", "\rname"])
def test_what_http_can_carry_is_sent(odd: Server, end: str) -> None:
    name = f"x{end}"
    tell(odd, f"create-db {name} pwd", f"create-user {name} pwd")
    assert ask_json(odd, "databases", "size", name)["name"] == name
    assert ask(odd, "users", "remove", "d", name).code == 0
    assert ask(odd, "databases", "drop", name, "--yes").code == 0
    assert name not in [row["name"] for row in ask_json(odd, "databases", "list")]


@pytest.mark.parametrize("name", UNSENDABLE)
@pytest.mark.parametrize(
    "command",
    [
        ("databases", "size", "NAME"),
        ("databases", "create", "NAME", "-t", "t"),
        ("databases", "drop", "NAME", "--yes"),
        ("users", "list", "NAME"),
        ("users", "create", "d", "NAME", "-t", "t"),
        ("users", "remove", "d", "NAME"),
        ("users", "token", "NAME", "-t", "t"),
        ("permissions", "show", "NAME"),
        ("permissions", "grant", "d", "NAME", "r", "*"),
        ("permissions", "grant", "d", "ana", "r", "NAME"),
        ("permissions", "revoke", "NAME", "ana", "r", "*"),
        ("permissions", "can", "d", "ana", "r", "NAME"),
        ("create-db", "-d", "NAME", "-t", "t"),
    ],
)
def test_what_would_mean_another_one_is_not_sent(command: tuple[str, ...], name: str) -> None:
    """Nobody listens there: were anything sent, it would be told."""
    arguments = [name if word == "NAME" else word for word in command]
    result = run(*ADMIN, "-h", "http://127.0.0.1:1", *arguments)
    assert (result.code, result.output) == (2, "")
    assert result.errors == (
        f"nun-db: {name!r} can't be sent over HTTP, where a semicolon ends a command and white space around one is"
        " dropped; send the command as a line to the TCP port (3014), which takes it\n"
    )


NO_NAME = "a name, kind, pattern or key can't be empty or contain spaces or line breaks"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        *((name, NO_NAME) for name in ("", "two words", "a\nb")),
        ("a\udcffb", "'a\\udcffb' is not UTF-8 text, so it can't be sent"),
    ],
)
def test_what_can_be_no_name_is_not_sent(name: str, told: str) -> None:
    assert run(*ADMIN, "-h", "http://127.0.0.1:1", "databases", "size", name) == (2, "", f"nun-db: {told}\n")


def test_a_name_with_white_space_at_its_end_is_not_taken_for_the_one_without(odd: Server) -> None:
    assert ask(odd, "databases", "drop", "tab\t", "--yes").code == 2
    assert http_post(odd.http, "use-db tab pwd") == "empty"


def test_the_way_out_for_names_that_end_with_a_semicolon(odd: Server) -> None:
    """As docs/administration.md says: a word behind the name, and keys in place of `remove-user`."""
    tell(odd, *(f"create-{what} {name} pwd" for what in ("db", "user") for name in ("way", "way;")))
    assert tell(odd, "remove $$user_way; -", "drop-db way; -") == [[OK], ["drop-db success\n", OK]]
    users = {row["user"] for row in ask_json(odd, "users", "list", "d")}
    assert users & {"way", "way;"} == {"way"}
    assert http_post(odd.http, "use-db way pwd") == "empty"
    tell(odd, "remove-user way", "drop-db way")


def test_permissions_of_a_user_are_shown_whatever_the_name(odd: Server) -> None:
    assert tell(odd, "set-permissions a;b r x*") == [[OK]]
    assert ask_json(odd, "permissions", "show", "d", "a;b") == [{"user": "a;b", "permissions": "r x*"}]


@pytest.mark.parametrize("arguments", [("shell", "-d"), ("watch", "key", "-d")])
def test_over_websocket_only_semicolons_are_refused(arguments: tuple[str, ...]) -> None:
    at = ("-h", "ws://127.0.0.1:1", *arguments)
    refused = run(*at, "a;b", "-t", "t")
    assert refused.code == 2
    assert "'a;b' can't be sent over WebSocket, where a semicolon ends a command; send" in refused.errors
    assert run(*at, "tab\t", "-t", "t").code == 4
    assert "'u;' can't be sent" in run(*at, "d", "-t", "t", "--database-user", "u;").errors


def test_a_token_that_would_be_cut_is_refused(odd: Server, tmp_path: Path) -> None:
    """The server would keep another one than was given."""
    token = tmp_path / "token"
    token.write_text("pwd\t\t")
    for result in (
        ask(odd, "databases", "create", "new", "-t", "pwd\t"),
        ask(odd, "create-db", "-d", "new", "-t", "\u2003pwd"),
        ask(odd, "users", "token", "d", NUN_TOKEN="pwd\t"),
    ):
        assert (result.code, result.output) == (2, "")
        assert result.errors == (
            "nun-db: a token can't be empty, contain spaces, semicolons or line breaks, or start or end with white "
            "space\n"
        )
    assert http_post(odd.http, "use-db new pwd") == "Not a valid database name"


def test_none_is_imported_under_such_a_name(odd: Server, tmp_path: Path) -> None:
    file = tmp_path / "exported"
    exported = run("export", "a;b", str(file), "--data-dir", str(odd.data_dir))
    assert exported.code == 0, exported
    other = str(tmp_path / "dbs")
    refused = run("import", "a;b", str(file), "--data-dir", other)
    assert refused.code == 2
    assert "choose another name for the database: 'a;b' can't be sent" in refused.errors
    assert run("import", "a-b", str(file), "--data-dir", other, "-t", "t").code == 0


@pytest.mark.system
def test_they_are_listed_page_by_page(server: Server) -> None:
    """The last name of a page is sent back to the server, which must not take a part of it for a command."""
    endings = (";drop-db", "\t", "%41", "\u2028")
    # So that each ending is that of some names around the end of a page.
    names = [
        f"n{number:04}{endings[(number - PAGE_ROWS // 2) // PAGE_ROWS % 4]}" for number in range(PAGE_ROWS * 4 + 10)
    ]
    tell(server, "create-db d pwd")
    with TcpClient(server.tcp) as client:  # all of them at once, for their commits take long
        client.send(f"auth {server.credentials}\nuse-db d pwd")
        for command in ("create-user", "create-db"):
            client.send("\n".join(f"{command} {name} pwd" for name in names))
        assert len(client.take(3 + 3 * len(names))) == 3 + 3 * len(names)
    assert [row["user"] for row in ask_json(server, "users", "list", "d")] == names
    databases = ask_json(server, "databases", "list", "--no-sizes")
    assert [row["name"] for row in databases] == ["$admin", "d", *names]
