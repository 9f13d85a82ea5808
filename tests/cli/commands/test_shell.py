"""`nun-db shell` as a process: scripts through a pipe, and a person at a terminal."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import pytest

from tests.cli.command import Result, command_line, run
from tests.cli.terminal import Terminal
from tests.client.conftest import make_database
from tools.clients.server import ADMIN_PASSWORD, ADMIN_USER, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.client.conftest import Database
    from tools.clients.server import Server

TIMEOUT_S = 60.0
NOTHING_THERE = (
    "nothing listens at ws://127.0.0.1:1 (connection refused): start the server, or give another URL with -h (its"
    " WebSocket port is usually 3012)"
)


def run_script(database: Database, script: str | bytes, *arguments: str) -> Result:
    """Run a script in the database; `arguments` replace those that select it."""
    return run(
        *("-h", database.url, *(arguments or ("shell", "-d", database.name))),
        environment={"NUN_TOKEN": database.token},
        standard_input=script if isinstance(script, bytes) else script.encode(),
    )


def open_terminal(database: Database, state: Path, *arguments: str) -> Terminal:
    environment = {"NUN_TOKEN": database.token, "XDG_STATE_HOME": str(state), "HOME": str(state / "home")}
    selection = arguments or ("shell", "-d", database.name)
    return Terminal("-h", database.url, *selection, environment=environment)


def leave(terminal: Terminal) -> None:
    """Press Ctrl-D at the prompt; before it is there, the terminal itself would swallow the key."""
    terminal.expect(">")
    terminal.type("\x04")
    assert terminal.wait() == 0


# --- scripts


def test_script_prints_replies_and_the_events_before_them(database: Database) -> None:
    script = "# a comment\n\nset a two  words; get a\nwatch a\nset a 2\nremove a\nget-safe a\nincrement n 3;get n\n"
    result = run_script(database, script)
    assert result.errors == ""
    assert result.output.splitlines() == [
        "ok",
        "value two  words",
        "ok",
        "changed a 1 2",
        "ok",
        "removed a",
        "ok",
        "value-version 1 <Empty>",
        "ok",
        "value 3",
    ]
    assert result.code == 0


def test_script_ends_at_the_first_error_which_is_told_without_arguments(database: Database) -> None:
    result = run_script(database, "set a 1\nset-safe a -2 hunter2\nset a 3\n")
    assert (result.code, result.output) == (1, "ok\n")
    assert result.errors == "nun-db: line 2: set-safe: Invalid version!\n"
    assert run_script(database, "get a\n").output == "value 1\n"


@pytest.mark.parametrize(
    ("script", "code", "complaint"),
    [
        ("get k\nnonsense\n", 1, "line 2: nonsense: unknown command: nonsense"),
        ("cluster-state\n", 1, "line 1: cluster-state: only an administrator may: first send auth USER PASSWORD"),
        ("auth root hunter2\n", 3, "line 1: auth: invalid auth"),
        ("use-db d hunter2\n", 1, "line 1: use-db: no database named d"),
        (b"get k\nset k \xff\n", 2, "line 2: this is not UTF-8 text"),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(
    database: Database, script: str | bytes, code: int, complaint: str
) -> None:
    result = run_script(database, script)
    assert (result.code, result.errors) == (code, f"nun-db: {complaint}\n")


def test_exit_ends_a_script_and_help_is_printed(database: Database) -> None:
    result = run_script(database, "help get\nexit\nnonsense\n")
    assert result.code == 0
    assert result.output.splitlines()[0] == "get KEY"


def test_administrator_and_database_user(database: Database) -> None:
    result = run_script(database, "cluster-state\n", "-u", ADMIN_USER, "-p", ADMIN_PASSWORD, "shell")
    assert result.code == 0
    assert result.output.startswith("cluster-state ")
    arguments = ("shell", "-d", database.name, "--database-user", "ana", "-t", database.user_token)
    result = run_script(database, "set ana-k v\nset k v\n", *arguments)
    why = "an administrator sees why: nun-db permissions can DATABASE USER w KEY"
    assert (result.output, result.errors) == ("ok\n", f"nun-db: line 2: set: permission denied; {why}\n")


def test_login_that_fails_and_server_that_is_not_there(database: Database) -> None:
    result = run_script(database, "", "shell", "-d", database.name, "-t", "hunter2")
    assert (result.code, result.output) == (3, "")
    assert result.errors == f"nun-db: Invalid token: check the token of the database {database.name}\n"
    result = run_script(database, "", "shell", "-d", "nowhere", "-t", "hunter2")
    assert (result.code, result.errors) == (1, "nun-db: no database named nowhere\n")
    result = run_script(database, "", "-h", "ws://127.0.0.1:1", "shell")
    assert (result.code, result.errors) == (
        4,
        f"nun-db: {NOTHING_THERE}\n",
    )


@contextmanager
def begun_script(database: Database) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """A shell, started anew, that has run one command of a script which goes on: the process, and where."""
    with subprocess.Popen(
        command_line("-h", database.url, "shell", "-d", database.name),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment({"NUN_TOKEN": database.token}),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"get k\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"value <Empty>\n"
        yield process, process.stdin


def errors_at_end(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    assert process.stderr is not None
    return process.wait(TIMEOUT_S), process.stderr.read()


def test_reader_that_goes_away_ends_the_script_quietly(database: Database) -> None:
    with begun_script(database) as (process, script):
        assert process.stdout is not None
        process.stdout.close()
        script.write(b"get k\nget k\n")
        script.close()
        assert errors_at_end(process) == (0, b"")


def test_lost_connection_ends_a_script(server: Server) -> None:
    with begun_script(make_database(server)) as (process, script):
        server.kill()
        script.write(b"get k\n")
        script.close()
        assert errors_at_end(process) == (4, b"nun-db: line 2: get: the connection was cut\n")


# --- a person


def test_person_types_commands_and_sees_replies_and_events(database: Database, tmp_path: Path) -> None:
    with open_terminal(database, tmp_path) as terminal:
        terminal.expect("help lists the commands, exit leaves")
        terminal.expect(f"nun-db {database.name}>")
        terminal.type("set k 1; get k\r")
        terminal.expect("\nok\n")
        terminal.expect("value 1\n")
        terminal.type("nonsense\r")
        terminal.expect("error: unknown command: nonsense\n")
        terminal.type("watch k\r")
        terminal.expect("\nok\n")
        terminal.type("get ")  # while a line is being typed
        terminal.expect("get")
        database.admin("set k from outside")
        terminal.expect("changed k 1 from outside\n")
        terminal.type("k\r")
        terminal.expect("value from outside\n")
        terminal.type("help get-safe\r")
        terminal.expect("Read a key with its version")
        terminal.type("get\x03")  # Ctrl-C clears the line
        terminal.type("get k\r")
        terminal.expect("value from outside\n")
        terminal.type("exit\r")
        assert terminal.wait() == 0


def test_tab_completes_and_history_recalls(database: Database, tmp_path: Path) -> None:
    with open_terminal(database, tmp_path) as terminal:
        terminal.expect(f"nun-db {database.name}>")
        terminal.type("unwatch-a")
        terminal.expect("Stop watching every key")  # offered while typing
        terminal.type("\t")
        terminal.expect("unwatch-all")
        terminal.type("\r")
        terminal.expect("\nok\n")
        terminal.type("\x1b[A\r")  # the arrow up
        terminal.expect("unwatch-all")
        terminal.expect("\nok\n")
        leave(terminal)


def test_history_is_private_and_holds_no_secret(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "nun-db" / "history"
    path.parent.mkdir()
    path.touch(mode=0o644)
    with open_terminal(database, tmp_path) as terminal:
        terminal.expect(f"nun-db {database.name}>")
        for line, reply in (
            (f"auth {ADMIN_USER} {ADMIN_PASSWORD}", "valid auth\n"),
            ("create-user bob hunter2", "ok\n"),
            (f"use-db {database.name} {database.token}", "ok\n"),
            ("set $$token hunter2", "ok\n"),
            ("set k v;auth root hunter2", "error: invalid auth\n"),
            ("hunter2", "error: unknown command: hunter2\n"),
            # The login that failed took the rights of the administrator, and the token of before is not valid any more.
            (f"use-db {database.name} hunter2", "ok\n"),
            ("keys k", "keys "),
        ):
            terminal.type(f"{line}\r")
            terminal.expect(f"\n{reply}")
        leave(terminal)
    written = [line[1:] for line in path.read_text().splitlines() if line.startswith("+")]
    assert written == ["keys k"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_folder_that_cannot_be_written_costs_the_history_only(database: Database, tmp_path: Path) -> None:
    (tmp_path / "nun-db").touch()  # a file where the folder should be
    with open_terminal(database, tmp_path) as terminal:
        terminal.expect("no history is kept")
        terminal.type("get k\r")
        terminal.expect("value <Empty>\n")
        leave(terminal)


def test_escape_sequences_in_values_do_not_reach_the_terminal(database: Database, tmp_path: Path) -> None:
    database.admin("set k \x1b]0;owned\x07")
    with open_terminal(database, tmp_path) as terminal:
        terminal.expect(f"nun-db {database.name}>")
        terminal.type("get k\r")
        terminal.expect("value \\x1b]0")
        leave(terminal)


def test_shell_connects_again_with_its_watches(server: Server, tmp_path: Path) -> None:
    database = make_database(server)
    with open_terminal(database, tmp_path) as terminal:
        terminal.expect(f"nun-db {database.name}>")
        terminal.type("watch k\r")
        terminal.expect("\nok\n")
        server.kill()
        terminal.expect("the connection was cut; connecting again\n")
        terminal.expect(f"nun-db {database.name}>")  # while a note is printed, Ctrl-C would throw away what was typed
        terminal.type("get k\r")  # waits, and Ctrl-C ends that
        terminal.press_until("\x03", "no longer waiting; the outcome of the command is unknown\n")
        server.start()
        terminal.expect("connected again\n")
        database.admin("set k after")
        terminal.expect("changed k 0 after\n")
        database.admin("set $$token other")
        server.restart()
        terminal.expect("the session has ended: Invalid token\n")
        terminal.type("get k\r")
        terminal.expect("nun-db: Invalid token")
        assert terminal.wait() == 3


def test_start_without_a_server_ends_with_one_line(database: Database, tmp_path: Path) -> None:
    with open_terminal(database, tmp_path, "-h", "ws://127.0.0.1:1", "shell") as terminal:
        assert terminal.wait() == 4
        assert terminal.text.strip() == f"nun-db: {NOTHING_THERE}"
