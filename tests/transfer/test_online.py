"""`nun-db import --online`, `copy-db` and `rename-db`: databases come into a running server, and nobody waits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pynun.transfer.jsonl import Header, Writer
from tests.cli.command import ADMIN, ask, ask_json, run
from tests.support.bystander import Bystander
from tests.support.watched import wait_until
from tests.transfer.folders import content
from tools.clients.exact_clients import http_post
from tools.clients.sessions import OK, create_database, tcp_session

if TYPE_CHECKING:
    from tools.clients.server import Server

KEYS = 6000
STALL_SECONDS_MAX = 0.5
"""A few hundredths, and some more on a busy machine."""


def written(path: Path, rows: list[tuple[str, int, str]]) -> str:
    """A file as `nun-db export` makes it, without tokens."""
    writer = Writer()
    lines = [writer.header(Header("elsewhere", "newer", False), "2026-01-01T00:00:00Z")]
    lines += [writer.key(*row) for row in rows]
    path.write_bytes(b"".join([*lines, writer.end()]))
    return str(path)


def databases(server: Server) -> list[str]:
    return [row["name"] for row in ask_json(server, "databases", "list", "--no-sizes")]


def test_a_database_comes_into_a_running_server(shared_server: Server, tmp_path: Path) -> None:
    rows = [("k", 7, "a;b"), ("text", 0, 'Приве́т \u2028 " \\ '), ("$$permission_$ana", 0, "r *")]
    file = written(tmp_path / "file", rows)
    made = ask(shared_server, "import", "online-new", file, "-t", "pwd")
    assert made == (0, "online-new: 4 keys imported (with users and tokens)\n", "")
    with tcp_session(shared_server, "online-new", "pwd") as client:
        assert client.ask("get-safe k") == ["value-version 7 a;b\n", OK]
        assert client.ask("get text") == [f"value {rows[1][2]}\n", OK]
        again = ask(shared_server, "import", "online-new", file, "--online")
        assert (again.code, again.output) == (1, "")
        assert "database already exists" in again.errors
        assert client.ask("watch k") == [OK]
        other = written(tmp_path / "other", [("k", 8, "new")])
        replaced = ask(shared_server, "import", "online-new", other, "--replace")
        assert replaced == (0, "online-new: 2 keys imported (with users and tokens, replaced)\n", "")
        assert client.ask("get k") == ["changed k new\n", "changed-version k 8 new\n", "value new\n", OK]
        assert client.ask("get text") == ["value <Empty>\n", OK]


@pytest.mark.parametrize(
    ("rows", "cut", "told"),
    [
        (("k", "k"), "", "line 3: the key 'k' is there twice; nothing was imported"),
        (("k", "bad key"), "", "line 3: a key can't be empty or contain spaces or line breaks; nothing was imported"),
        (("a", "b"), '{"end"', "line 4: its last line is missing: the file was cut; nothing was imported"),
    ],
)
def test_of_a_wrong_file_nothing_stays(
    shared_server: Server, tmp_path: Path, rows: tuple[str, str], cut: str, told: str
) -> None:
    file = tmp_path / "file"
    text = Path(written(file, [(key, 0, "v") for key in rows])).read_text(encoding="utf-8")
    if cut:
        file.write_text(text.partition(cut)[0], encoding="utf-8")
    assert ask(shared_server, "import", "online-wrong", str(file), "-t", "t") == (1, "", f"nun-db: {told}\n")
    assert "online-wrong" not in databases(shared_server)
    admin = f"auth {shared_server.credentials}"
    wait_until(lambda: '"being_removed":0' in http_post(shared_server.http, f"{admin}; list-dbs"))


def test_a_token_that_is_missing_is_asked_for_before_anything_begins(shared_server: Server, tmp_path: Path) -> None:
    file = written(tmp_path / "file", [("k", 0, "v")])

    def begun() -> int:
        answer = http_post(shared_server.http, f"auth {shared_server.credentials}; import-db online-count none")
        number = int(json.loads(answer.partition("import ")[2])["id"])
        http_post(shared_server.http, f"auth {shared_server.credentials}; import-cancel {number}")
        return number

    before = begun()
    refused = ask(shared_server, "import", "online-no-token", file)
    assert (refused.code, "the token of the database online-no-token is missing" in refused.errors) == (2, True)
    assert begun() == before + 1


def test_a_server_that_is_killed_meanwhile_has_nothing_of_it(server: Server) -> None:
    admin = f"auth {server.credentials}"
    begun = http_post(server.http, f"{admin}; import-db new none")
    number = json.loads(begun.partition("import ")[2])["id"]
    rows = json.dumps([[f"k{place}", 0, "v"] for place in range(900)])
    assert http_post(server.http, f"{admin}; import-keys {number} {rows}") == "valid auth\n;empty"
    server.kill()
    server.start()
    assert "no import or copy has this id" in http_post(server.http, f"{admin}; import-end {number} pwd")
    wait_until(lambda: '"being_removed":0' in http_post(server.http, f"{admin}; list-dbs"))
    server.stop()
    assert set(content(server.data_dir)) == {"$admin"}


def test_nobody_waits_for_an_import_or_a_copy(server: Server, tmp_path: Path) -> None:
    create_database(server, "bystanders", then="set short v")
    file = written(tmp_path / "file", [(f"k{number:05}", 0, f"value {number}") for number in range(KEYS)])
    with Bystander(server, "bystanders") as bystander:
        assert ask(server, "import", "large", file, "-t", "pwd").code == 0
        copied = ask_json(server, "copy-db", "large", "copy")
    assert copied == {"database": "large", "name": "copy", "keys": KEYS + 1, "token": None}
    print(f"import and copy: {bystander.longest_seconds:.3f} s")
    assert bystander.longest_seconds < STALL_SECONDS_MAX
    sizes = {row["name"]: row["keys"] for row in ask_json(server, "databases", "list")}
    assert sizes["large"] == sizes["copy"] == KEYS + 1


def test_a_copy_and_a_new_name(shared_server: Server) -> None:
    create_database(shared_server, "online-a", then="set k v; create-user ana ana-pwd; set-permissions ana r *")
    done = ask(shared_server, "copy-db", "online-a", "online-b", "-t", "other")
    assert done == (0, "copied the database online-a to online-b: 4 keys (with users and tokens)\n", "")
    assert http_post(shared_server.http, "use-db online-b other; get k") == "empty;value v\n"
    assert http_post(shared_server.http, "use-db online-b ana ana-pwd; get k") == "empty;value v\n"
    generated = ask_json(shared_server, "copy-db", "online-a", "online-c", "--generate")
    assert http_post(shared_server.http, f"use-db online-c {generated['token']}; get k") == "empty;value v\n"
    assert ask(shared_server, "rename-db", "online-b", "online-d") == (
        0,
        "renamed the database online-b to online-d\n",
        "",
    )
    gone = ask(shared_server, "rename-db", "online-b", "online-e")
    assert (gone.code, gone.output) == (1, "")
    assert gone.errors.startswith("nun-db: no database named online-b; the databases are: ")


def test_what_makes_no_sense(shared_server: Server, tmp_path: Path) -> None:
    file = written(tmp_path / "file", [])
    for more in (["--merge"], ["--data-dir", str(tmp_path)]):
        refused = ask(shared_server, "import", "online-x", file, "-t", "t", *more)
        assert (refused.code, refused.output) == (2, "")
        assert "are for a stopped server" in refused.errors
    locked = run(*ADMIN, "import", "online-x", file, "-t", "t", "--data-dir", str(shared_server.data_dir))
    assert locked.errors.rstrip().endswith("; to import into the running server: --online")
