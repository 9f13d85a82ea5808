"""Child processes: started in a process group of their own, ended by their id alone, and read through /proc.

Ctrl-C reaches only the benchmark itself, which then ends every child in turn (each is a context manager).
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from tools.benchmark.wire import WireError
from tools.clients.server import REPOSITORY, clean_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tools.benchmark.load import Load

START_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 30.0
_POLL_SECONDS = 0.01
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class MeasureError(Exception):
    """A server did not start, a load failed, or what it counted is not what the server did."""


class Memory(NamedTuple):
    """What a process and its children hold in memory."""

    rss_anon_bytes: int
    """Private memory: without mapped files, so without LMDB's page cache."""
    rss_bytes: int


def environment(additions: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without settings of the server, importing this checkout, with the additions."""
    return clean_environment({"PYTHONPATH": f"{REPOSITORY / 'scripts'}:{REPOSITORY}", **additions})


class Child:
    """A server process whose output goes to a file; ended when its `with` block is left."""

    def __init__(self, command: Sequence[str], output: Path, additions: Mapping[str, str]) -> None:
        self._command = list(command)
        self._output = output
        self._environment = environment(additions)
        self.start_seconds = 0.0
        """From the start of the process to the line that says it is ready."""

    def __enter__(self) -> Self:
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, process_group=0,
            )  # fmt: skip
        self.pid = self._process.pid
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS_MAX)

    def wait_for(self, words: str) -> str:
        """Wait until the child has printed these words; return all it printed. Raises MeasureError if it never does."""
        began = time.monotonic()
        while not re.search(rf"\b{words}\b", text := self._output.read_text(encoding="utf-8", errors="replace")):
            code = self._process.poll()
            if code is not None or time.monotonic() > began + START_SECONDS_MAX:
                state = "is not ready" if code is None else f"ended with exit code {code}"
                raise MeasureError(f"{' '.join(self._command)} {state}; its last words:\n{text[-2000:]}")
            time.sleep(_POLL_SECONDS)
        self.start_seconds = time.monotonic() - began
        return text


class Generator:
    """A load in a process of its own; ended, if it still runs, when its `with` block is left."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def __enter__(self) -> Self:
        code = "from tools.benchmark.load import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", code], env=environment({}), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            process_group=0,
        )  # fmt: skip
        try:
            self._send(self._load)
            self.call("connect")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # does nothing when it has ended
        self._process.communicate()

    def _send(self, what: object) -> None:
        assert self._process.stdin is not None
        pickle.dump(what, self._process.stdin)
        self._process.stdin.flush()

    def begin(self, method: str, *arguments: object) -> None:
        """Have it call a method of its load."""
        self._send((method, arguments))

    def answer(self) -> Any:  # noqa: ANN401 - whatever the method returns
        """Wait for what the method returns. Raises MeasureError when it failed."""
        assert self._process.stdout is not None
        try:
            answer = pickle.load(self._process.stdout)
        except EOFError:
            raise MeasureError("a load generator was ended from outside") from None
        if isinstance(answer, WireError):
            raise MeasureError(str(answer))
        return answer

    def call(self, method: str, *arguments: object) -> Any:  # noqa: ANN401
        """Call a method of its load. Raises MeasureError when that fails."""
        self.begin(method, *arguments)
        return self.answer()


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
