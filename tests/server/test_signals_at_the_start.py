"""Signals while the server starts, also as process 1 of a container, which gets none that it has no handler for."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
import typer.main

from pynun.cli.app import app
from pynun.stop_signals import OPTIONS_WITH_VALUE
from tests.support.certificates import Authority
from tests.support.watched import request, wait_until
from tools.clients.server import (
    ADMIN_PASSWORD,
    ADMIN_USER,
    ANY_ADDRESSES,
    CHEAP_PASSWORDS,
    REPOSITORY,
    Address,
    clean_environment,
    free_ports,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

AS_PROCESS_1 = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
BLOCKED = ("env", "--block-signal=TERM", "--block-signal=INT", "--block-signal=HUP")
"""As scripts/run and the image start it."""

END_SECONDS = 30.0
"""For a busy machine; a signal that is lost is never followed."""

SLOW_HASHES = {"NUN_ARGON2_MEMORY_KIB": str(256 * 1024), "NUN_ARGON2_PASSES": "16"}
"""Several seconds for one."""

AT_ONCE = 0.0
MOMENTS = (AT_ONCE, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a process 1")


class Starting:
    """A command that begins to run; `is_first` makes it process 1 of its namespace."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        command: Sequence[str] = (*BLOCKED, sys.executable, "-P", "-m", "pynun"),
        is_first: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._is_first = is_first
        self.http = Address("127.0.0.1", *free_ports(1))
        self.folder = folder
        options = ("start", "-w", "127.0.0.1:0", "-h", str(self.http), "-t", "127.0.0.1:0")
        self.process = subprocess.Popen(
            [*(AS_PROCESS_1 if is_first else ()), *command, *(arguments or options)],
            env=clean_environment(
                {
                    **CHEAP_PASSWORDS,
                    **ANY_ADDRESSES,
                    **{"NUN_USER": ADMIN_USER, "NUN_PWD": ADMIN_PASSWORD, "NUN_DBS_DIR": str(folder)},
                    **(environment or {}),
                }
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.output = self.errors = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    @property
    def pid(self) -> int:
        """The process id of the command, once there is one."""
        if not self._is_first:
            return self.process.pid
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        wait_until(lambda: bool(children.read_text(encoding="ascii")))
        return int(children.read_text(encoding="ascii").split()[0])

    def signals(self, kind: str, number: int = signal.SIGTERM) -> bool:
        """Whether the signal is in the set `SigBlk` or `SigCgt` of the process (proc_pid_status(5))."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        mask = next(line for line in status.splitlines() if line.startswith(kind)).split()[1]
        return bool(int(mask, 16) & 1 << (number - 1))

    def is_reachable(self) -> bool:
        """Whether SIGTERM is not lost now."""
        return self.signals("SigBlk") or self.signals("SigCgt")

    def is_python(self) -> bool:
        return "python" in self._program()

    def _is_unshare(self) -> bool:
        return self._program().endswith("/unshare")

    def _program(self) -> str:
        return os.readlink(f"/proc/{self.pid}/exe")

    def wait_blocked(self) -> None:
        """Wait until the wrapper has blocked the signals: from then on none is lost.

        unshare blocks them too, for a moment, and lets them come before it runs the wrapper.
        """
        wait_until(lambda: not self._is_unshare() and self.is_reachable())

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self) -> int:
        """The exit code; `output` and `errors` are there then."""
        self.output, self.errors = self.process.communicate(timeout=END_SECONDS)
        return self.process.returncode


@needs_root
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_1_ends_whenever_it_is_told_to(disk_folder: Path, number: signal.Signals) -> None:
    """A server that is told to stop while it starts has not failed."""
    with contextlib.ExitStack() as stack:
        servers = []
        for place, seconds in enumerate(MOMENTS):
            starting = stack.enter_context(Starting(disk_folder / str(place), is_first=True))
            starting.wait_blocked()
            time.sleep(seconds)
            starting.send(number)
            servers.append(starting)
        for seconds, starting in zip(MOMENTS, servers, strict=True):
            assert starting.end() == 0, f"after {seconds} s: {starting.output}{starting.errors}"
            assert starting.errors == "", f"after {seconds} s"
            assert "kill 1" not in starting.output, "of no use outside the container"


_STOPPED_WHERE_PYTHON_CATCHES_IT = """
import os, signal, sys
from pynun import settings
from pynun.cli.main import main

class Stopping:
    def __init__(self, method):
        setattr(type(self), method, lambda *_: os.kill(os.getpid(), signal.SIGTERM))

def load(*_):
    {place}
    print("the start goes on", flush=True)
    return load_settings(*_)

load_settings, settings.load = settings.load, load
sys.argv = ["nun-db", "start"]
main()
"""


@pytest.mark.parametrize(
    ("place", "output"),
    [
        ('Stopping("__del__")', "the start goes on\n"),  # printed and forgotten, as in any finalizer
        ('type("Class", (), {"name": Stopping("__set_name__")})', ""),  # made a RuntimeError
    ],
)
def test_a_signal_where_python_catches_what_is_raised(disk_folder: Path, place: str, output: str) -> None:
    """The import system and `dataclass` are such places: in one of 50 starts on a busy machine."""
    with Starting(
        disk_folder / "dbs", command=[sys.executable, "-c", _STOPPED_WHERE_PYTHON_CATCHES_IT.format(place=place)]
    ) as starting:
        assert starting.end() == 0
        assert starting.output.startswith(output)
        assert "ready" not in starting.output
        assert starting.errors == ""


@needs_root
def test_scripts_run_loses_no_signal_while_python_starts(disk_folder: Path) -> None:
    command = [str(REPOSITORY / "scripts" / "run")]
    with Starting(disk_folder / "dbs", command=command, is_first=True) as starting:
        wait_until(starting.is_python)
        assert starting.is_reachable(), "from the first moment on"
        while "data.mdb" not in os.listdir(disk_folder) and not (disk_folder / "dbs" / "data.mdb").exists():
            assert starting.is_reachable()
            assert starting.process.poll() is None
        starting.send(signal.SIGTERM)
        assert starting.end() == 0


@pytest.mark.parametrize("numbers", [(signal.SIGINT,), (signal.SIGTERM, signal.SIGINT)])
def test_while_the_password_is_hashed(disk_folder: Path, numbers: Sequence[signal.Signals]) -> None:
    metrics = Address("127.0.0.1", *free_ports(1))
    with Starting(disk_folder / "dbs", environment={**SLOW_HASHES, "NUN_METRICS": str(metrics)}) as starting:
        wait_until(lambda: _says(metrics) == "not ready: starting\n")
        began = time.monotonic()
        for number in numbers:
            starting.send(number)
        assert starting.end() == 0
        print(f"ended after {time.monotonic() - began:.2f} s")
        assert starting.errors == ""
        assert "before any client was served" in starting.output.splitlines()[-1]
        assert "ready" not in starting.output


def _says(address: Address) -> str:
    try:
        return request(address, "/readyz").text
    except OSError:
        return ""


def test_hanging_up_does_not_end_a_start(disk_folder: Path) -> None:
    """As it does not end a server; a certificate that was renewed meanwhile is read."""
    with Starting(disk_folder / "dbs", environment=Authority(disk_folder).environment()) as starting:
        wait_until(lambda: starting.signals("SigCgt", signal.SIGHUP))
        starting.send(signal.SIGHUP)
        audit = disk_folder / "dbs" / "audit.jsonl"
        wait_until(lambda: audit.exists() and '"renew-certificate"' in audit.read_text(encoding="utf-8"))
        starting.send(signal.SIGTERM)
        assert starting.end() == 0


@needs_root
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_other_commands_end_as_process_1(disk_folder: Path, number: signal.Signals, code: int) -> None:
    """As they do otherwise."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Starting(disk_folder, "-h", url, "exec", "debug list-dbs", is_first=True) as starting, silent.accept()[0]:
            starting.send(number)
            assert starting.end() == code
            assert starting.errors == ""


def test_a_signal_ends_other_commands_as_before(disk_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Starting(disk_folder, "-h", url, "exec", "start") as starting, silent.accept()[0]:
            starting.send(signal.SIGTERM)
            assert starting.end() == -signal.SIGTERM


def test_the_options_before_the_command_are_known() -> None:
    options = typer.main.get_command(app).params
    names = {name for option in options if not getattr(option, "is_flag", False) for name in option.opts}
    assert names - {"--help"} == OPTIONS_WITH_VALUE
