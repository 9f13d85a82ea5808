"""Commands whose standard streams are closed, full or read by nobody: the server is asked the same, and it is told."""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.cli import command
from tests.cli.command import ADMIN
from tests.cli.peer import Peer, http_answer
from tools.clients.exact_clients import http_post
from tools.clients.server import REPOSITORY, clean_environment

if TYPE_CHECKING:
    from tools.clients.server import Server

NOT_WRITTEN = "nun-db: standard output can't be written: "

_names = (f"streams-{number}" for number in itertools.count())


class Outcome(NamedTuple):
    code: int
    errors: str


def run_in_bash(arguments: tuple[str, ...], redirections: str, standard_input: bytes = b"") -> Outcome:
    """Start nun-db anew by a line of bash, which alone can close its streams."""
    process = subprocess.run(
        ["bash", "-c", f"{shlex.join(command.command_line(*arguments))} {redirections}"],
        env=clean_environment({}),
        cwd=REPOSITORY,
        input=standard_input,
        capture_output=True,
        timeout=command.TIMEOUT_SECONDS,
        check=False,
    )
    return Outcome(process.returncode, process.stderr.decode())


def run(arguments: tuple[str, ...], how: str, standard_input: bytes = b"") -> Outcome:
    """Run nun-db with a standard output that is `full`, `closed`, or a pipe of which the reader is `gone`."""
    if how == "closed":
        return run_in_bash(arguments, ">&-", standard_input)
    if how == "full":
        output = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, output = os.pipe()
        os.close(reading)
    with contextlib.closing(open(output, "wb")):
        result = command.run(*arguments, standard_input=standard_input, standard_output=output)
    return Outcome(result.code, result.errors)


def http(server: Server) -> tuple[str, ...]:
    return (*ADMIN, "-h", f"http://{server.http}")


@pytest.mark.parametrize(
    ("how", "reason"), [("full", "No space left on device"), ("closed", "Bad file descriptor"), ("gone", "")]
)
@pytest.mark.parametrize("name", ["create-db", "exec", "shell"])
def test_the_server_is_asked_the_same_and_it_is_told(shared_server: Server, name: str, how: str, reason: str) -> None:
    """That nobody reads is nobody's business."""
    database = next(_names)
    if name == "create-db":
        outcome = run((*http(shared_server), "create-db", "-d", database, "-t", "t"), how)
    elif name == "exec":
        outcome = run((*http(shared_server), "exec", f"create-db {database} t"), how)
    else:
        script = f"cluster-state\nhelp get\ncreate-db {database} t\n".encode()
        outcome = run((*ADMIN, "-h", f"ws://{shared_server.websocket}", "shell"), how, script)
    assert outcome == ((5, f"{NOT_WRITTEN}{reason}; the commands ran anyway\n") if reason else (0, ""))
    assert http_post(shared_server.http, f"use-db {database} t") == "empty"


@pytest.mark.parametrize("how", ["full", "closed", "gone"])
def test_a_failed_command_says_so_rather_than_that_it_cannot_print(how: str) -> None:
    with Peer(http_answer("valid auth\n;no such thing")) as peer:
        outcome = run((*ADMIN, "-h", peer.url, "exec", "nonsense"), how)
    assert outcome == (1, "nun-db: command 1 (nonsense) failed: no such thing\n")


@pytest.mark.parametrize("arguments", [("--help",), ("exec", "--help"), ("version",), ("--version",)])
def test_help_and_version(arguments: tuple[str, ...]) -> None:
    assert run(arguments, "full") == (5, f"{NOT_WRITTEN}No space left on device\n")
    assert run(arguments, "closed") == (5, f"{NOT_WRITTEN}Bad file descriptor\n")
    assert run(arguments, "gone") == (0, "")


@pytest.mark.parametrize("how", ["full", "closed"])
def test_watch_ends_at_the_first_line_that_it_cannot_write(shared_server: Server, how: str) -> None:
    name = next(_names)
    http_post(shared_server.http, f"auth {shared_server.credentials}; create-db {name} t; use-db {name} t; set k 1")
    arguments = ("-h", f"ws://{shared_server.websocket}", "watch", "-d", name, "-t", "t", "--current", "k")
    code, errors = run(arguments, how)
    assert code == 5
    assert errors.startswith(NOT_WRITTEN)
    assert errors.count("\n") == 1


def test_nothing_takes_the_place_of_a_closed_stream(shared_server: Server) -> None:
    """Whatever is opened next gets the lowest free number: text for people must not go there."""
    assert run_in_bash((*http(shared_server), "exec", "cluster-state"), "<&- >&- 2>&-") == (5, "")
    assert run_in_bash((*http(shared_server), "exec", "-"), "<&-").code == 2
    assert run_in_bash((*http(shared_server), "exec", "nonsense"), "2>&-").code == 1
    shell = (*ADMIN, "-h", f"ws://{shared_server.websocket}", "shell")
    assert run_in_bash(shell, "2>&-", b"nonsense\n").code == 1
