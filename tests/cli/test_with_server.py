"""The nun-db command against the running server: the tutorial's commands, letter by letter, and what goes wrong."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.cli.command import ADMIN, Result, ask, run, run_anew
from tests.cli.terminal import run_at_terminal
from tools.clients.server import CHEAP_PASSWORDS

if TYPE_CHECKING:
    from pathlib import Path

    from tools.clients.server import Server

ANY_PORTS = ("-w", "127.0.0.1:0", "-h", "127.0.0.1:0", "-t", "127.0.0.1:0")


def at(server: Server) -> tuple[str, str]:
    """Return the option that names the server."""
    return ("-h", f"http://{server.http}")


def test_the_two_commands_of_the_tutorial_print_what_the_original_prints(server: Server) -> None:
    made = ask(server, "create-db", "-d", "features-of-db", "-t", "features-of-db-pwd")
    assert made.response_line == r'Response "valid auth\n;create-db success\n"' + "\n"
    assert (made.code, made.errors) == (0, "")
    commands = (
        "use features-of-db features-of-db-pwd; create-user client client-pwd;set-permissions client r *|rwx client-*;"
    )
    granted = ask(server, "exec", commands)
    assert granted.response_line == r'Response "valid auth\n;empty;empty;empty"' + "\n"
    assert (granted.code, granted.errors) == (0, "")

    used = run(
        *ADMIN, *at(server), "exec", "use features-of-db client client-pwd; set client-x 1; get client-x; set other 1"
    )
    assert used.response_line == r'Response "valid auth\n;empty;empty;value 1\n;permission denied\n"' + "\n"
    assert used.errors == (
        "nun-db: command 4 (set) failed: permission denied; an administrator sees why: "
        "nun-db permissions can DATABASE USER w KEY\n"
    )
    assert used.code == 1


def test_each_command_starts_by_itself(shared_server: Server, tmp_path: Path) -> None:
    """With nothing imported before it: other tests fork a process that has it all."""
    websocket = ("-h", f"ws://{shared_server.websocket}")
    folder, backup, exported = ("--data-dir", str(tmp_path / "dbs")), str(tmp_path / "backup"), str(tmp_path / "export")
    admin = (*ADMIN, *at(shared_server))
    commands: list[tuple[int, tuple[str, ...]]] = [
        (0, ("version",)),
        (0, (*admin, "create-db", "-d", "cli-alone", "-t", "t")),
        (0, (*admin, "exec", "use-db cli-alone t; set k v")),
        (0, (*admin, "databases", "list")),
        (0, (*admin, "users", "create", "cli-alone", "ana", "-t", "t")),
        (0, (*admin, "permissions", "grant", "cli-alone", "ana", "r", "*")),
        (0, (*admin, "sessions", "list")),
        (0, (*admin, "status")),
        (2, (*admin, "password")),
        (2, (*admin, "top")),
        (0, (*websocket, "shell", "-d", "cli-alone", "-t", "t")),
        (3, (*websocket, "watch", "-d", "cli-alone", "-t", "wrong", "k")),
        (0, ("export", "cli-alone", exported, "--data-dir", str(shared_server.data_dir))),
        (0, ("import", "copy", exported, "-t", "t", *folder)),
        (0, ("backup", backup, *folder)),
        (0, ("verify", backup)),
        (0, ("restore", backup, "--replace", *folder)),
        (1, ("import-nundb", str(tmp_path / "none"), *folder)),
        (2, ("demo", "--host", "example.org")),
        (1, ("start", *ANY_PORTS)),
    ]
    for code, arguments in commands:
        result = run_anew(*arguments, standard_input=b"get k\n", environment=CHEAP_PASSWORDS)
        assert (arguments, result.code) == (arguments, code), result
        assert "Traceback" not in result.errors


def test_creating_a_database_twice_is_refused(shared_server: Server) -> None:
    arguments = (*ADMIN, *at(shared_server), "create-db", "-d", "cli-twice", "-t", "secret-token")
    assert run(*arguments).code == 0
    again = run(*arguments)
    assert again.response_line == r'Response "valid auth\n;database already exists"' + "\n"
    assert again.errors == "nun-db: command 1 (create-db) failed: database already exists\n"
    assert again.code == 1


def test_a_strategy_given_is_the_databases(shared_server: Server) -> None:
    name = "cli-strategy"
    assert ask(shared_server, "create-db", "-d", name, "-t", "t", "--strategy", "newer").code == 0
    assert rf"\n{name} : newer\n" in ask(shared_server, "exec", "debug list-dbs").response_line


def test_a_wrong_password_and_then_the_right_one_from_a_prompt(shared_server: Server) -> None:
    wrong = run("-u", "user-name", "-p", "wrong-pwd", *at(shared_server), "exec", "keys")
    assert wrong.response_line.startswith(r'Response "invalid auth\n')
    assert wrong.errors.startswith("nun-db: the server does not accept this user and password")
    assert wrong.code == 3
    code, screen = run_at_terminal(
        ["-u", "user-name", *at(shared_server), "exec", "cluster-state"], [("Password of user-name: ", "user-pwd")]
    )
    assert code == 0, screen
    assert "user-pwd" not in screen


def test_values_with_semicolons_and_quotes_are_no_failures(shared_server: Server) -> None:
    assert ask(shared_server, "create-db", "-d", "cli-values", "-t", "t").code == 0
    value = 'say "Not auth;empty" \\ ação'
    with socket.create_connection(shared_server.tcp, timeout=15) as client, client.makefile("rb") as lines:
        client.sendall(f"use-db cli-values t\nset k {value}\n".encode())
        assert [lines.readline() for _ in range(3)] == [b"ok \n"] * 3
    result = ask(shared_server, "exec", "use-db cli-values t; get k; get-safe k")
    shown = value.replace("\\", "\\\\").replace('"', '\\"')
    assert result.response_line == rf'Response "valid auth\n;empty;value {shown}\n;value-version 0 {shown}\n"' + "\n"
    assert (result.code, result.errors) == (0, "")


def test_the_servers_other_ports_are_told_apart(shared_server: Server) -> None:
    for address in (shared_server.tcp, shared_server.websocket):
        result = run(*ADMIN, "-h", f"http://{address}", "exec", "keys", "--timeout", "10")
        assert result.code == 4
        assert result.errors.startswith("nun-db: ")
        assert result.errors.count("\n") == 1


def test_it_goes_on_when_its_terminal_is_closed(server: Server) -> None:
    server.send_signal(signal.SIGHUP)
    assert ask(server, "exec", "cluster-state").code == 0
    assert server.stop() == 0


def start(folder: Path, *arguments: str, **variables: str) -> Result:
    """Run a start that is expected to fail, with one line."""
    result = run(*arguments, environment={**CHEAP_PASSWORDS, "NUN_DBS_DIR": str(folder), **variables})
    assert (result.code, result.errors[:8], result.errors.count("\n")) == (1, "nun-db: ", 1)
    return result


@pytest.mark.parametrize("identity", [(), ("-u", "a"), ("-p", "b"), ("-u", "-p")])
def test_start_without_user_or_password_says_what_must_be_provided(tmp_path: Path, identity: tuple[str, ...]) -> None:
    result = start(tmp_path / "dbs", *identity, "start", *ANY_PORTS)
    missing = {"-u": ", and NUN_PWD is missing", "-p": ", and NUN_USER is missing"}.get("".join(identity[:1]), "")
    assert result.errors == (
        f"nun-db: NUN_USER and NUN_PWD must be provided{missing}: set these variables, or NUN_USER_FILE and"
        " NUN_PWD_FILE, or write nun-db -u USER -p PWD start\n"
    )
    assert result.output == ""
    assert not (tmp_path / "dbs").exists()


@pytest.mark.parametrize(
    ("options", "variables", "told"),
    [
        (("-t", "nonsense"), {}, "-t/--tcp-address: 'nonsense' is not accepted; accepted: HOST:PORT, [IPv6]:PORT"),
        ((), {"NUN_LOG_LEVEL": "loud"}, "NUN_LOG_LEVEL: 'loud' is not accepted; accepted: off, error, warn, info"),
        ((), {"NUN_MAX_MESSAGE_SIZE": "1"}, "NUN_MAX_MESSAGE_SIZE: '1' is not accepted; accepted: a number of bytes"),
    ],
)
def test_a_bad_setting_is_one_line_and_exit_1(
    tmp_path: Path, options: tuple[str, ...], variables: dict[str, str], told: str
) -> None:
    result = start(tmp_path / "dbs", *ADMIN, "start", *ANY_PORTS, *options, **variables)
    assert result.errors.startswith(f"nun-db: {told}")


def test_what_another_server_has_is_one_line_and_exit_1(tmp_path: Path, shared_server: Server) -> None:
    its_port = start(tmp_path / "dbs", *ADMIN, "start", *ANY_PORTS, "-h", str(shared_server.http))
    assert str(shared_server.http.port) in its_port.errors
    assert "Traceback" not in its_port.output
    start(shared_server.data_dir, *ADMIN, "start", *ANY_PORTS)
