"""Run modules of this package as child processes, so that they can't crash or slow the caller.

They run at the lowest priority and without the server's settings (passwords) in their environment. Each has its own
session, so that Ctrl-C reaches only the caller, which then ends them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_CRASHES: Final = (-signal.SIGBUS, -signal.SIGSEGV, -signal.SIGFPE, -signal.SIGABRT)
"""Signals that kill a process which reads missing or invalid pages."""

_LOWEST_PRIORITY: Final = 19


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    output: str
    errors: str

    @property
    def last_error(self) -> str:
        """Its last line on standard error, or its exit status in words."""
        return self.errors.strip().rpartition("\n")[2] or f"exit status {self.code}"


def is_crash(code: int) -> bool:
    """Whether a signal for invalid memory access killed the process."""
    return code in _CRASHES


def command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """This process's environment without settings, with PYTHONPATH so that the child finds the same package."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("NUN_")}
    found["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return found


def run_child(
    module: str, *arguments: str, given: bytes | None = None, take: Callable[[IO[bytes]], str] | None = None
) -> Ended:
    """Run a module to its end. It reads `given`, all of it before it writes anything. `take` gets its standard output;
    without it, the output is read as text."""
    child = subprocess.Popen(
        command(module, *arguments),
        env=environment(),
        stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        bufsize=0,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        if given is not None:
            _give(child, given)
        # The other pipe gets a few words at most, so it never fills while this one is read.
        output = take(child.stdout) if take else child.stdout.read().decode()
        errors = child.stderr.read().decode(errors="replace")
        child.wait()
    finally:
        child.kill()  # no effect if it has ended
        child.wait()
        child.stdout.close()
        child.stderr.close()
    return Ended(child.returncode, output, errors)


def _give(child: subprocess.Popen[bytes], given: bytes) -> None:
    assert child.stdin is not None
    rest = memoryview(given)
    with contextlib.suppress(BrokenPipeError), child.stdin:  # its end says more
        while rest:
            rest = rest[child.stdin.write(rest) :]


def lower_priority() -> None:
    """Lower the priority as far as possible; a system-call filter may forbid it."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _LOWEST_PRIORITY)
