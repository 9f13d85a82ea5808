"""A password of the environment crosses no network in plain text, unless the command is one of the original's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pynun.cli.remote.credentials import is_private
from tests.cli.command import Result, run

if TYPE_CHECKING:
    from pathlib import Path

    from tools.clients.server import Address, Server

WITHHELD = (
    "NUN_PWD is not sent to {url}: others could read it on the network. Use an encrypted address (https:// or"
    " wss://), or give the password with -p or --pwd-file\n"
)


def elsewhere(address: Address, scheme: str = "http") -> str:
    """The server's URL by a name that could be that of another machine: only the resolver knows what 127.1 is."""
    return f"{scheme}://127.1:{address.port}"


def ask(server: Server, *arguments: str, standard_input: bytes = b"") -> Result:
    """Run a command with the administrator's login in the environment."""
    environment = {"NUN_USER": server.user, "NUN_PWD": server.password}
    return run(*arguments, environment=environment, standard_input=standard_input)


def test_status_asks_without_login(shared_server: Server) -> None:
    url = elsewhere(shared_server.http)
    for options in ((), ("-u", shared_server.user)):
        done = ask(shared_server, *options, "-h", url, "status")
        assert (done.code, done.errors) == (0, f"nun-db: not logged in: {WITHHELD.format(url=url)}")
        assert "\n$admin " not in done.output
        assert "\nall others " in done.output


def test_what_a_person_gives_is_sent(shared_server: Server, tmp_path: Path) -> None:
    url = elsewhere(shared_server.http)
    file = tmp_path / "password"
    file.write_text(shared_server.password, encoding="utf-8")
    for given in (("-p", shared_server.password), ("--pwd-file", str(file))):
        done = ask(shared_server, *given, "-h", url, "status")
        assert (done.code, done.errors) == (0, "")
        assert "\n$admin " in done.output
        assert ask(shared_server, *given, "-h", url, "databases", "list").code == 0


def test_what_needs_a_login_is_refused(shared_server: Server) -> None:
    url = elsewhere(shared_server.http)
    for command in (("databases", "list"), ("sessions", "list"), ("users", "list", "hidden"), ("password",)):
        done = ask(shared_server, "-h", url, *command)
        assert (done.code, done.errors, done.output) == (2, f"nun-db: {WITHHELD.format(url=url)}", "")


def test_a_shell_is_not_the_administrators(shared_server: Server) -> None:
    url = elsewhere(shared_server.websocket, "ws")
    lines = b"debug list-dbs\n"
    done = ask(shared_server, "-h", url, "shell", standard_input=lines)
    assert done.errors.startswith(f"nun-db: not logged in: {WITHHELD.format(url=url)}")
    assert "$admin" not in done.output
    asked_for = ask(shared_server, "-u", shared_server.user, "-h", url, "shell", standard_input=lines)
    assert (asked_for.code, asked_for.errors) == (2, f"nun-db: {WITHHELD.format(url=url)}")
    assert "$admin" in ask(shared_server, "-h", f"ws://{shared_server.websocket}", "shell", standard_input=lines).output


def test_commands_of_the_original_are_as_they_were(shared_server: Server) -> None:
    url = elsewhere(shared_server.http)
    assert ask(shared_server, "-h", url, "create-db", "-d", "drop-in", "-t", "pwd").code == 0
    assert ask(shared_server, "-h", url, "exec", "debug list-dbs").code == 0


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://nun.example.org", True),
        ("wss://192.0.2.7:3012", True),
        ("http://localhost:3013", True),
        ("http://LOCALHOST:3013", True),
        ("ws://127.9.9.9:3012", True),
        ("http://[::1]:3013/nun", True),
        ("http://0.0.0.0:3013", True),
        ("http://localhost.example.org:3013", False),
        ("http://my-localhost:3013", False),
        ("http://127.1:3013", False),
        ("http://192.0.2.7:3013", False),
        ("http://[2001:db8::1]:3013", False),
        ("ws://nundb:3012", False),
        ("ws://127.0.0.1@nundb:3012", False),
    ],
)
def test_where_nobody_can_read_it(url: str, expected: bool) -> None:
    assert is_private(url) is expected
