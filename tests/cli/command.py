"""Runs nun-db to its end as scripts do: with arguments, standard input and environment."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.fork_server import Forked
from tools.clients.server import ADMIN_PASSWORD, ADMIN_USER, REPOSITORY, clean_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tools.clients.server import Server

ADMIN = ("-u", ADMIN_USER, "-p", ADMIN_PASSWORD)

TIMEOUT_SECONDS = 90.0

_LOG_LINE = re.compile(r"\[[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}Z nun_db\] nundb starting!\n")


class Result(NamedTuple):
    """What a command left behind."""

    code: int
    output: str
    errors: str

    @property
    def response_line(self) -> str:
        """Return what stands on standard output behind the log line, which must be there, letter by letter."""
        match = _LOG_LINE.match(self.output)
        assert match is not None, self.output
        return self.output[match.end() :]


def command_line(*arguments: str) -> list[str]:
    """Return the command that runs nun-db of this checkout."""
    return [sys.executable, "-P", "-m", "pynun", *arguments]


def run(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    standard_input: bytes | int = b"",
    standard_output: int | None = None,
    cwd: str | None = None,
) -> Result:
    """Run nun-db in a process that is forked (tests/support/fork_server.py).

    Standard input is what a file holds, or a descriptor; what is written to another standard output is not kept.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        if isinstance(standard_input, bytes):
            given.write(standard_input)
            given.seek(0)
            standard_input = given.fileno()
        standard_output = output.fileno() if standard_output is None else standard_output
        descriptors = (standard_input, standard_output, errors.fileno())
        process = Forked(*arguments, descriptors=descriptors, environment=environment, cwd=cwd)
        try:
            code = process.wait(TIMEOUT_SECONDS)
        finally:
            process.kill()
        output.seek(0)
        errors.seek(0)
        return Result(code, output.read().decode(), errors.read().decode())


def ask(server: Server, *arguments: str, **environment: str) -> Result:
    """Run a command of nun-db that asks a server, over HTTP and as its administrator."""
    return run(*ADMIN, "-h", f"http://{server.http}", *arguments, environment=environment)


def ask_json(server: Server, *arguments: str) -> Any:  # noqa: ANN401 - whatever JSON it is
    """What such a command prints for programs: one line."""
    result = ask(server, *arguments, "--json")
    assert (result.code, result.output.count("\n")) == (0, 1), result
    return json.loads(result.output)


def run_anew(*arguments: str, environment: Mapping[str, str] | None = None, standard_input: bytes = b"") -> Result:
    """Run nun-db as `run` does, but start Python for it, as people do."""
    process = subprocess.run(
        command_line(*arguments),
        env=clean_environment(environment or {}),
        input=standard_input,
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
        cwd=REPOSITORY,
        start_new_session=True,  # without the terminal that the tests run on: it would ask there
    )
    return Result(process.returncode, process.stdout.decode(), process.stderr.decode())
