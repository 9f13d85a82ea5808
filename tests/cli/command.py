"""Runs nun-db as people do: with arguments, standard input, environment, and at a terminal."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from tools.clients.server import REPOSITORY, clean_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TIMEOUT_SECONDS = 90.0

# The program that runs at a terminal must be the leader of a session whose terminal it is, or getpass finds none.
_AT_TERMINAL = "import os, sys; os.login_tty(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"

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
    *arguments: str, environment: Mapping[str, str] | None = None, standard_input: bytes = b"", cwd: str | None = None
) -> Result:
    """Run nun-db to its end."""
    process = subprocess.run(
        command_line(*arguments),
        env=clean_environment(environment or {}),
        input=standard_input,
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
        cwd=cwd or REPOSITORY,
        start_new_session=True,  # without the terminal of whoever runs the tests, on which it would ask
    )
    return Result(process.returncode, process.stdout.decode(), process.stderr.decode())


def run_at_terminal(
    arguments: Sequence[str], answers: Sequence[tuple[str, str]], *, redirection: str = "", cwd: str | None = None
) -> tuple[int, str]:
    """Run nun-db at a terminal of its own; give each answer when its prompt is seen. Returns exit code and screen.

    `redirection` is for the shell, such as `<<< "commands"`.
    """
    ours, theirs = os.openpty()
    command = command_line(*arguments)
    if redirection:
        command = ["bash", "-c", f"exec {shlex.join(command)} {redirection}"]
    program = shutil.which(command[0])
    assert program is not None, command
    process = subprocess.Popen(
        [sys.executable, "-c", _AT_TERMINAL, str(theirs), program, *command[1:]],
        env=clean_environment({}),
        pass_fds=(theirs,),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
    )
    os.close(theirs)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    screen = b""
    seen = 0
    waiting = list(answers)
    try:
        # Reading fails with EIO once the program has ended and all its output is read.
        with contextlib.suppress(OSError):
            while select.select([ours], [], [], deadline - time.monotonic())[0]:
                data = os.read(ours, 65536)
                if not data:
                    break
                screen += data
                while waiting and (found := screen.find(waiting[0][0].encode(), seen)) != -1:
                    seen = found + len(waiting[0][0].encode())
                    os.write(ours, waiting.pop(0)[1].encode() + b"\n")
        assert not waiting, f"never asked {waiting[0][0]!r}: {screen!r}"
        return process.wait(max(0.0, deadline - time.monotonic())), screen.decode()
    finally:
        process.kill()  # does nothing if it has ended
        process.wait()
        os.close(ours)
