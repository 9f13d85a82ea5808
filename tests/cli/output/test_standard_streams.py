"""Commands whose standard streams are closed, full or read by nobody: the server is asked the same, and it is told."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.cli.command import TIMEOUT_SECONDS, command_line
from tests.cli.peer import Peer, http_answer
from tools.clients.server import REPOSITORY, clean_environment

if TYPE_CHECKING:
    from tools.clients.server import Server

ADMIN = ("-u", "user-name", "-p", "user-pwd")

FULL = "%s >/dev/full"
CLOSED = "%s >&-"

_names = (f"streams-{number}" for number in itertools.count())


class Outcome(NamedTuple):
    code: int
    errors: str


def run(arguments: tuple[str, ...], how: str, standard_input: bytes = b"") -> Outcome:
    """Run nun-db in a line of bash that says where its output goes."""
    process = subprocess.run(
        ["bash", "-c", how % shlex.join(command_line(*arguments))],
        env=clean_environment({}),
        cwd=REPOSITORY,
        input=standard_input,
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return Outcome(process.returncode, process.stderr.decode())


def run_without_reader(arguments: tuple[str, ...], standard_input: bytes = b"") -> Outcome:
    """Run nun-db with a pipe as its output of which the other end is closed already."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as theirs:
        process = subprocess.run(
            command_line(*arguments),
            env=clean_environment({}),
            cwd=REPOSITORY,
            input=standard_input,
            stdout=theirs,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    return Outcome(process.returncode, process.stderr.decode())


def http(server: Server) -> tuple[str, ...]:
    return (*ADMIN, "-h", f"http://{server.http}")


def databases(server: Server) -> str:
    """Return what the server itself lists."""
    listed = subprocess.run(
        command_line(*http(server), "exec", "debug list-dbs"),
        env=clean_environment({}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=True,
    )
    return listed.stdout


@pytest.mark.parametrize(("how", "reason"), [(FULL, "No space left on device"), (CLOSED, "Bad file descriptor")])
@pytest.mark.parametrize("command", ["create-db", "exec", "shell"])
def test_output_that_cannot_be_written_is_told_when_the_server_was_asked(
    shared_server: Server, command: str, how: str, reason: str
) -> None:
    name = next(_names)
    if command == "create-db":
        outcome = run((*http(shared_server), "create-db", "-d", name, "-t", "t"), how)
    elif command == "exec":
        outcome = run((*http(shared_server), "exec", f"create-db {name} t"), how)
    else:
        script = f"cluster-state\nhelp get\ncreate-db {name} t\n".encode()
        outcome = run((*ADMIN, "-h", f"ws://{shared_server.websocket}", "shell"), how, script)
    assert outcome == (5, f"nun-db: standard output can't be written: {reason}; the commands ran all the same\n")
    assert rf"\n{name} : " in databases(shared_server)


@pytest.mark.parametrize("command", ["create-db", "exec", "shell"])
def test_a_reader_that_has_gone_changes_nothing(shared_server: Server, command: str) -> None:
    name = next(_names)
    if command == "create-db":
        outcome = run_without_reader((*http(shared_server), "create-db", "-d", name, "-t", "t"))
    elif command == "exec":
        outcome = run_without_reader((*http(shared_server), "exec", f"create-db {name} t"))
    else:
        script = f"cluster-state\nhelp get\ncreate-db {name} t\n".encode()
        outcome = run_without_reader((*ADMIN, "-h", f"ws://{shared_server.websocket}", "shell"), script)
    assert outcome == (0, "")
    assert rf"\n{name} : " in databases(shared_server)


@pytest.mark.parametrize("how", [FULL, CLOSED])
def test_a_failed_command_says_so_rather_than_that_it_cannot_print(how: str) -> None:
    with Peer(http_answer("valid auth\n;no such thing")) as peer:
        outcome = run((*ADMIN, "-h", peer.url, "exec", "nonsense"), how)
    assert outcome == (1, "nun-db: command 1 (nonsense) failed: no such thing\n")


def test_a_failed_command_without_reader_says_so() -> None:
    with Peer(http_answer("valid auth\n;no such thing")) as peer:
        outcome = run_without_reader((*ADMIN, "-h", peer.url, "exec", "nonsense"))
    assert outcome == (1, "nun-db: command 1 (nonsense) failed: no such thing\n")


@pytest.mark.parametrize("arguments", [("--help",), ("exec", "--help"), ("version",), ("--version",)])
def test_help_and_version(arguments: tuple[str, ...]) -> None:
    assert run(arguments, FULL) == (5, "nun-db: standard output can't be written: No space left on device\n")
    assert run(arguments, CLOSED) == (5, "nun-db: standard output can't be written: Bad file descriptor\n")
    assert run_without_reader(arguments) == (0, "")


@pytest.mark.parametrize("how", [FULL, CLOSED])
def test_watch_ends_at_the_first_line_that_it_cannot_write(shared_server: Server, how: str) -> None:
    name = next(_names)
    assert run((*http(shared_server), "exec", f"create-db {name} t; use-db {name} t; set k 1"), "%s").code == 0
    arguments = ("-h", f"ws://{shared_server.websocket}", "watch", "-d", name, "-t", "t", "--current", "k")
    code, errors = run(arguments, how)
    assert code == 5
    assert errors.startswith("nun-db: standard output can't be written: ")
    assert errors.count("\n") == 1


def test_nothing_takes_the_place_of_a_closed_stream(shared_server: Server) -> None:
    """Whatever is opened next gets the lowest free number: text for people must not go there."""
    assert run((*http(shared_server), "exec", "cluster-state"), "%s <&- >&- 2>&-") == (5, "")
    assert run((*http(shared_server), "exec", "-"), "%s <&-").code == 2
    assert run((*http(shared_server), "exec", "nonsense"), "%s 2>&-").code == 1
    shell = (*ADMIN, "-h", f"ws://{shared_server.websocket}", "shell")
    assert run(shell, "%s 2>&-", b"nonsense\n").code == 1
