"""Commands on the server's machine find it by its data folder, and need no password at its Unix socket."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from pynun import unix_socket
from pynun.cli.certificate_authority import NO_AUTHORITY
from pynun.cli.errors import UsageError
from pynun.cli.installation import find_data_folder
from pynun.cli.options import Connection
from pynun.cli.remote.database_client import find_login
from tests.cli.command import run
from tests.support.as_user import SOMEBODY
from tools.clients.sessions import create_database

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.cli.command import Result
    from tools.clients.server import Server

NO_SERVER = "nothing listens at http://127.0.0.1:3013"


def here(
    server: Server, *arguments: str, standard_input: bytes = b"", environment: Mapping[str, str] | None = None
) -> Result:
    """Run a command where the environment says no more than where the data is."""
    variables = {"NUN_DBS_DIR": str(server.data_dir), **(environment or {})}
    return run(*arguments, environment=variables, standard_input=standard_input)


@pytest.mark.parametrize(
    ("arguments", "standard_input", "expected"),
    [
        (("databases", "list", "--no-sizes"), b"", "$admin"),
        (("exec", "list-dbs"), b"", r'Response "valid auth\n;databases {'),
        (("exec", "db-size $admin"), b"", r'Response "valid auth\n;database-size {'),
        (("status",), b"", "/server.sock: ready"),
        (("status",), b"", "$admin"),
        (("shell",), b"list-dbs\n", "databases {"),
    ],
)
def test_no_password_is_needed(
    shared_server: Server, arguments: tuple[str, ...], standard_input: bytes, expected: str
) -> None:
    result = here(shared_server, *arguments, standard_input=standard_input)
    assert (result.code, result.errors) == (0, "")
    assert expected in result.output


def test_an_old_password_in_the_environment_breaks_nothing(shared_server: Server) -> None:
    old = {"NUN_USER": "somebody", "NUN_PWD": "old"}
    assert here(shared_server, "databases", "size", "$admin", environment=old).code == 0
    assert here(shared_server, "shell", standard_input=b"list-dbs\n", environment=old).code == 0
    made = here(shared_server, "create-db", "-d", "local-login", "-t", "t", environment=old)
    assert made.response_line == r'Response "valid auth\n;create-db success\n"' + "\n"


def test_a_watch_is_the_databases_users_as_elsewhere(shared_server: Server) -> None:
    create_database(shared_server, "local-watch", then="set k v")
    wrong = here(shared_server, "watch", "-d", "local-watch", "-t", "wrong", "k")
    assert wrong.code == 3
    with_token = ("-d", "local-watch", "-t", "pwd")
    denied = "To read security keys you must auth as an admin!"
    for result in (
        here(shared_server, "watch", *with_token, "$$token"),
        here(shared_server, "shell", *with_token, standard_input=b"get $$token\n"),
    ):
        assert (result.code, result.output) == (1, "")
        assert denied in result.errors


def test_another_login_and_another_address_are_taken_as_given(shared_server: Server) -> None:
    """The socket is for who says nothing: whom somebody names, and where, is what counts."""
    at = ("-h", f"http://{shared_server.http}")
    assert here(shared_server, *at, "databases", "list").errors.startswith(
        "nun-db: the administrator's user is missing"
    )
    assert here(shared_server, "-u", "a", "-p", "b", "databases", "list").errors.startswith(f"nun-db: {NO_SERVER}")
    by_socket = f"unix:{shared_server.data_dir / unix_socket.SOCKET_NAME}"
    assert here(shared_server, "-h", by_socket, "databases", "list", environment={"NUN_DBS_DIR": ""}).code == 0
    wrong = here(shared_server, "-h", by_socket, "-u", shared_server.user, "-p", "wrong", "databases", "list")
    assert wrong.code == 3


def test_a_socket_is_not_encrypted(shared_server: Server, tmp_path: Path) -> None:
    by_socket = f"unix:{shared_server.data_dir / unix_socket.SOCKET_NAME}"
    for command in (("databases", "list"), ("shell",)):
        result = here(shared_server, "-h", by_socket, "--ca", str(tmp_path / "ca.pem"), *command)
        assert result.code == 2
        assert "this one is not encrypted" in result.errors


def test_the_settings_of_an_installation_name_the_folder(shared_server: Server, tmp_path: Path) -> None:
    settings = tmp_path / "pynun.env"
    settings.write_text(f"# settings\nNUN_PWD=old\nNUN_DBS_DIR='{shared_server.data_dir}'\n", encoding="utf-8")
    assert run("databases", "list", environment={"NUN_ENV_FILE": str(settings)}).code == 0
    missing = run("databases", "list", environment={"NUN_ENV_FILE": str(tmp_path / "none.env")})
    assert missing.code == 2
    assert "can't be read: No such file or directory" in missing.errors


def test_a_socket_in_the_folder_of_somebody_else_gets_no_token(tmp_path: Path) -> None:
    """Nobody named that folder: the command was started beside it."""
    folder = tmp_path / "dbs"
    folder.mkdir()
    os.chown(folder, SOMEBODY, SOMEBODY)
    command = ("get", "-d", "d", "-t", "secret", "k", "--timeout", "2")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(folder / unix_socket.SOCKET_NAME))
        os.seteuid(SOMEBODY)
        try:
            listening.listen()
        finally:
            os.seteuid(0)
        listening.setblocking(False)
        result = run(*command, cwd=str(tmp_path))
        assert (result.code, result.errors.startswith(f"nun-db: {NO_SERVER}")) == (4, True)
        with pytest.raises(BlockingIOError):
            listening.accept()
        result = run(*command, environment={"NUN_DBS_DIR": str(folder)})
        assert "server.sock within 2 s" in result.errors


def test_settings_of_somebody_who_did_not_install_the_program_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "project" / "venv"))
    (tmp_path / "project" / "venv").mkdir(parents=True)
    conf = tmp_path / "install.conf"
    conf.write_text(f"data_dir={tmp_path}\nconfig_dir={tmp_path}\n", encoding="utf-8")
    assert find_data_folder({}).path == tmp_path
    os.chown(conf, SOMEBODY, SOMEBODY)
    assert find_data_folder({}).source is None


def test_a_token_in_the_environment_does_not_replace_an_administrator(shared_server: Server) -> None:
    create_database(shared_server, "local-token", then="set k v")
    other = {"NUN_TOKEN": "of-another"}
    assert here(shared_server, "get", "-d", "local-token", "k", environment=other) == (0, "v\n", "")
    listed = here(shared_server, "shell", "-d", "local-token", standard_input=b"get k\n", environment=other)
    assert (listed.code, "value v" in listed.output) == (0, True)
    of_a_user = ("get", "-d", "local-token", "--database-user", "ana", "k")
    assert here(shared_server, *of_a_user, environment=other).code == 3


@pytest.mark.parametrize(
    "command",
    [("databases", "list"), ("exec", "list-dbs"), ("get", "-d", "d", "k"), ("watch", "-d", "d", "k")],
    ids=lambda command: command[0],
)
def test_a_stopped_server_needs_no_login(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "dbs").mkdir()
    named = {"NUN_DBS_DIR": str(tmp_path / "dbs")}
    for result in (run(*command, environment=named), run(*command, cwd=str(tmp_path))):
        assert (result.code, result.output) == (4, "")
        assert result.errors.startswith(f"nun-db: no server runs on {tmp_path / 'dbs'}: ")
    with_login = run("-u", "a", "-p", "b", *command, environment=named)
    assert (with_login.code, "no server runs on" in with_login.errors) == (4, False)
    elsewhere = run(*command, cwd=str(tmp_path / "dbs"))
    assert (elsewhere.code, "missing" in elsewhere.errors) == (2, True)


def test_another_system_user_is_told_of_root(shared_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUN_DBS_DIR", str(shared_server.data_dir))
    monkeypatch.setattr("pynun.cli.remote.credentials._is_terminal_there", lambda: False)  # else it asks there
    given = Connection(None, None, None, None, NO_AUTHORITY)
    os.seteuid(SOMEBODY)
    try:
        assert given.missing_login_hint().endswith("(sudo)")
        with pytest.raises(UsageError, match=r"with -t TOKEN; root needs no login .* \(sudo\)"):
            find_login(given, "d", None, None, None)
    finally:
        os.seteuid(0)
    assert given.missing_login_hint() == ""


def test_without_its_socket_a_server_is_reached_as_before(tmp_path: Path) -> None:
    result = run("status", environment={"NUN_DBS_DIR": str(tmp_path)})
    assert (result.code, result.errors.startswith(f"nun-db: {NO_SERVER}")) == (4, True)
