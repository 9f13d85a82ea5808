"""Child processes: started in a process group of their own, ended by their id alone, and read through /proc.

Ctrl-C reaches only the benchmark itself, which then ends every child in turn (`Child` is a context manager).
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

REPOSITORY = Path(__file__).resolve().parents[3]
START_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 30.0
_POLL_SECONDS = 0.01
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class ChildError(Exception):
    """A child did not start or ended by itself; the text says what it printed last."""


class Memory(NamedTuple):
    """What a process and its children hold in memory."""

    rss_anon_bytes: int
    """Private memory: without mapped files, so without LMDB's page cache."""
    rss_bytes: int


def environment(additions: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without settings of the server, importing this checkout, with the additions."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUN_")}
    python_path = os.pathsep.join((str(REPOSITORY / "scripts"), str(REPOSITORY)))
    return {**inherited, "PYTHONPATH": python_path, "PYTHONUNBUFFERED": "1", **additions}


def python_module(module: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
    """The command that runs a module with this interpreter."""
    return [sys.executable, "-P", *options, "-m", module, *arguments]


class Child:
    """A server process whose output goes to a file; ended when its `with` block is left."""

    def __init__(self, command: Sequence[str], output: Path, additions: Mapping[str, str] | None = None) -> None:
        self._command = list(command)
        self._output = output
        self._environment = environment(additions or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.start_seconds = 0.0
        """From the start of the process to the line that says it is ready."""

    def __enter__(self) -> Self:
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS_MAX)

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self._process is not None
        return self._process.pid

    def text(self) -> str:
        """Everything printed so far."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, is_ready: Callable[[str], bool]) -> str:
        """Wait until what was printed shows that the child is ready; return it. Raises ChildError if it never does.

        The output is a file (a pipe would have to be emptied while others are measured), so it is looked at again and
        again.
        """
        assert self._process is not None
        began = time.monotonic()
        while not is_ready(text := self.text()):
            code = self._process.poll()
            if code is not None or time.monotonic() > began + START_SECONDS_MAX:
                state = "is not ready" if code is None else f"ended with exit code {code}"
                raise ChildError(f"{' '.join(self._command)} {state}; its last words:\n{self.text()[-2000:]}")
            time.sleep(_POLL_SECONDS)
        self.start_seconds = time.monotonic() - began
        return text


def family(pid: int) -> list[int]:
    """The process and all that it started and that still run."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads of a process, of its children and of those that ended, in steps of 10 ms."""
    ticks = 0
    for member in family(pid):
        with contextlib.suppress(OSError):
            # After the name in parentheses, which may hold anything: proc(5), fields 14 to 17.
            fields = Path(f"/proc/{member}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS_PER_SECOND


def memory(pid: int) -> Memory:
    """The memory of a process and its children."""
    sums = {"RssAnon:": 0, "VmRSS:": 0}
    for member in family(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{member}/status").read_text(encoding="utf-8").splitlines():
                name, _, rest = line.partition("\t")
                if name in sums:
                    sums[name] += int(rest.split()[0]) * 1024
    return Memory(sums["RssAnon:"], sums["VmRSS:"])


def machine_busy_seconds() -> float:
    """Processor time that all processes of the machine together have used since it started."""
    fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / _TICKS_PER_SECOND


def raise_descriptor_limit() -> None:
    """Allow this process and its children as many open connections as the system permits."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
