"""Starting modules of this package as processes of their own: what they do can't crash or slow the caller.

They run at the lowest priority, without the server's settings (passwords) in their environment, and in a session of
their own, so that Ctrl-C is for their caller alone, who then ends them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_CRASHES: Final = (-signal.SIGBUS, -signal.SIGSEGV, -signal.SIGFPE, -signal.SIGABRT)
"""How a process ends that reads damaged pages: a page that the file has lost, or a number in it that leads astray."""

_LOWEST_PRIORITY: Final = 19


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended."""

    code: int
    output: str
    errors: str

    @property
    def last_error(self) -> str:
        """The last line that it printed on standard error, or its exit status in words."""
        return self.errors.strip().rpartition("\n")[2] or f"exit status {self.code}"


def is_crash(code: int) -> bool:
    """Whether the system ended a process, for it touched what is not there."""
    return code in _CRASHES


def command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """This process's environment without settings; PYTHONPATH lets the child find the same package."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("NUN_")}
    found["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return found


def run_child(module: str, *arguments: str, take: Callable[[IO[bytes]], str] | None = None) -> Ended:
    """Run a module to its end; `take` is called with its standard output, which is else read as text."""
    child = subprocess.Popen(
        command(module, *arguments),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        bufsize=0,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        # Few words at most come on the other pipe: it never fills while this one is read.
        output = take(child.stdout) if take else child.stdout.read().decode()
        errors = child.stderr.read().decode(errors="replace")
        child.wait()
    finally:
        child.kill()  # does nothing if it has ended
        child.wait()
        child.stdout.close()
        child.stderr.close()
    return Ended(child.returncode, output, errors)


def lower_priority() -> None:
    """Let everybody else go first, as far as the system allows it: a filter of system calls may not."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _LOWEST_PRIORITY)
