"""A real server process for tests: start, stop, kill and restart it on one data folder.

Invariants: the server is `python -m pynun` of this very checkout, listens on free ports of 127.0.0.1 (kept over a
restart; from a range in which connections get none, so that they are still free then), and only the process that was
started here is ever signalled. Everything it prints is kept.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar, Final, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

REPOSITORY = Path(__file__).resolve().parents[3]

ADMIN_USER = "user-name"
ADMIN_PASSWORD = "user-pwd"

# Cheap hashing, for the tests that are not about it: 8 KiB and one pass take microseconds instead of 20 ms.
CHEAP_PASSWORDS = {"NUN_ARGON2_MEMORY_KIB": "8", "NUN_ARGON2_PASSES": "1", "NUN_ARGON2_LANES": "1"}

# Tests fail to log in more often than people do; those that are about it set the burst back to its default.
NO_LOGIN_DELAY = {"NUN_LOGIN_BURST": "1000"}

START_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 30.0
"""Generous, as START_SECONDS_MAX is: how fast a stop is, is what test_stopping.py is about."""

_BLOCK_PORTS: Final = 200
"""More than a test has at a time; there are over a hundred blocks."""

PORT_ATTEMPTS = 10
_PORT_IS_TAKEN = "Address already in use"
_LISTENING = re.compile(r"listening: (websocket|http|tcp|metrics|console) (\S+):([0-9]+)")
_READY = re.compile(r"\bready\b")


class Address(NamedTuple):
    """Where a listener is."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free now, and that no other process that asks here is given meanwhile."""
    _, ports = _own_ports()
    found: list[int] = []
    while len(found) < count:
        port = next(ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


@functools.cache
def _own_ports() -> tuple[socket.socket, Iterator[int]]:
    """The ports of a block that is this process's own, over and over, and the socket on its first one, which says so.

    They are below those that the system gives to connections.
    """
    first_of_system = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    blocks = list(range(10_000, first_of_system - _BLOCK_PORTS, _BLOCK_PORTS))
    random.shuffle(blocks)
    for block in blocks:
        holder = socket.socket()
        try:
            holder.bind(("127.0.0.1", block))
        except OSError:
            holder.close()
        else:
            atexit.register(holder.close)
            return holder, itertools.cycle(range(block + 1, block + _BLOCK_PORTS))
    raise RuntimeError("all ports of servers are taken: end the tests and servers that still run")


class ServerDiedError(AssertionError):
    """The server ended although it should have run; the text holds what it printed."""


def real_disk_folder() -> Path:
    """Return the folder for temporary data: NUN_TEST_DIR, else the first usual one that is not kept in memory.

    A folder in memory hides a forgotten sync and makes timings meaningless.
    """
    if chosen := os.environ.get("NUN_TEST_DIR"):
        return Path(chosen)
    for candidate in (Path(tempfile.gettempdir()), Path("/var/tmp"), REPOSITORY):
        if file_system_type(candidate) not in ("tmpfs", "ramfs") and os.access(candidate, os.W_OK):
            return candidate
    return Path(tempfile.gettempdir())


@contextlib.contextmanager
def new_folder() -> Iterator[Path]:
    """Make a new, empty folder on a real disk for the time of a `with` block."""
    folder = Path(tempfile.mkdtemp(prefix="pynun-test-", dir=real_disk_folder()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def file_system_type(folder: Path) -> str:
    """Return the type of the file system that holds a folder, from /proc/mounts ("" where there is none)."""
    best, file_system = "", ""
    with contextlib.suppress(OSError), open("/proc/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            _, mount_point, kind, *_ = line.split(" ")
            prefix = mount_point.rstrip("/") + "/"
            if f"{folder.resolve()}/".startswith(prefix) and len(mount_point) >= len(best):
                best, file_system = mount_point, kind
    return file_system


def clean_environment(additions: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without any NUN_* of it, importing this checkout, with the additions."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUN_")}
    environment["PYTHONPATH"] = str(REPOSITORY)
    environment["PYTHONUNBUFFERED"] = "1"
    environment.update(additions)
    return environment


ANY_ADDRESSES: Final = dict.fromkeys(("NUN_WS_ADDR", "NUN_HTTP_ADDR", "NUN_TCP_ADDR"), "127.0.0.1:0")
"""Settings of a server that only tries to start: free ports, of this machine only."""


def nun_db(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float = START_SECONDS_MAX,
    wrapper: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Run the `nun-db` command to its end and return what it printed and its exit code."""
    return subprocess.run(
        [*wrapper, sys.executable, "-m", "pynun", *arguments],
        env=clean_environment(environment or {}),
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout_seconds,
        check=False,
    )


def start_piped(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a program of this checkout; its output is read from pipes."""
    return subprocess.Popen(
        command,
        env=clean_environment(environment),
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    )


class Process(Protocol):
    """What a server's process can do, as subprocess.Popen has it."""

    pid: int
    stdout: IO[str] | None
    stderr: IO[str] | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Server:
    """One server on one data folder; a context manager that starts it and always ends it.

    `websocket`, `http` and `tcp` are its addresses once it has started. `environment` is added to the process's;
    `wrapper` is put before the command (a tracer). With `is_anew`, Python is started for it even if `fork` is set.
    """

    fork: ClassVar[Callable[[Sequence[str], Mapping[str, str]], Process] | None] = None
    """Starts nun-db with arguments and additions to the environment, faster than Python starts."""

    def __init__(
        self,
        data_dir: Path,
        *,
        user: str = ADMIN_USER,
        password: str = ADMIN_PASSWORD,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        wrapper: Sequence[str] = (),
        is_anew: bool = False,
    ) -> None:
        self.data_dir = data_dir
        self.user = user
        self.password = password
        self.environment: dict[str, str] = {**CHEAP_PASSWORDS, **NO_LOGIN_DELAY, **(environment or {})}
        self.options = tuple(options)
        self.wrapper = tuple(wrapper)
        self.is_anew = is_anew
        self.websocket, self.http, self.tcp = (Address("127.0.0.1", port) for port in free_ports(3))
        self.metrics: Address | None = None  # where NUN_METRICS names an address of its own
        self.console: Address | None = None  # the same for NUN_CONSOLE
        self.output: list[str] = []  # lines of standard output, of every start
        self.errors: list[str] = []  # lines of standard error, of every start
        self.start_seconds = 0.0  # from the start of the process to its line "ready"
        self._process: Process | None = None
        self._changed = threading.Condition()
        self._output_mark = 0
        self._readers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            print("\n".join(["--- server output", *self.output[-50:], "--- server errors", *self.errors[-50:]]))
        self.end()

    @property
    def pid(self) -> int:
        """The process id of the running server (of the wrapper, if there is one)."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        """Whether the process that was last started has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code of the process that was last started, or None while it runs."""
        return self._running().poll()

    @property
    def credentials(self) -> str:
        """The admin's name and password as `auth` takes them."""
        return f"{self.user} {self.password}"

    def log_text(self) -> str:
        """Return everything printed so far, on both streams and over all starts."""
        return "\n".join([*self.output, *self.errors])

    def command_line(self) -> list[str]:
        """Return the command that starts this server."""
        return [
            *self.wrapper,
            sys.executable,
            "-m",
            "pynun",
            *self._arguments(),
        ]

    def _arguments(self) -> list[str]:
        return [
            "-u",
            self.user,
            "-p",
            self.password,
            "start",
            "-w",
            str(self.websocket),
            "-h",
            str(self.http),
            "-t",
            str(self.tcp),
            *self.options,
        ]

    def start(self) -> None:
        """Start the process and wait until it says that it is ready; raises ServerDiedError with its output if not.

        On a restart another program may just have got one of the ports for a connection of its own: tried again.
        """
        for attempt in itertools.count(1):
            errors_mark = len(self.errors)
            began = time.monotonic()
            if self._start_once(began):
                self.start_seconds = time.monotonic() - began
                self._read_addresses()
                return
            code = self.wait(STOP_SECONDS_MAX)
            is_taken = any(_PORT_IS_TAKEN in line for line in self.errors[errors_mark:])
            if not is_taken or attempt == PORT_ATTEMPTS:
                seconds = time.monotonic() - began
                raise ServerDiedError(f"not ready after {seconds:.1f} s, exit {code}:\n{self.log_text()}")
            time.sleep(0.5)

    def _start_once(self, began: float) -> bool:
        process = self._spawn()
        with self._changed:
            while not self._is_ready():
                late = time.monotonic() > began + START_SECONDS_MAX
                if late or not any(reader.is_alive() for reader in self._readers):
                    break
                self._changed.wait(0.05)
        if not self._is_ready():
            process.kill()  # does nothing if it has ended
        return self._is_ready()

    def kill_while_starting(self, seconds: float) -> None:
        """Start the process and end it at once (SIGKILL) after so many seconds, however far it is."""
        self._spawn()
        time.sleep(seconds)
        self.kill()

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Start the process and don't wait until it is ready; it is ended behind the `with` block."""
        self._spawn()
        try:
            yield
        finally:
            self.end()

    def _spawn(self) -> Process:
        assert not self.is_running, "the server is already running"
        self._output_mark = len(self.output)
        environment = {**self.environment, "NUN_DBS_DIR": str(self.data_dir)}
        process: Process
        if Server.fork is not None and not self.wrapper and not self.is_anew:
            process = Server.fork(self._arguments(), environment)
        else:
            process = start_piped(self.command_line(), environment)
        self._process = process
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = [
            threading.Thread(target=self._collect, args=(stream, lines), daemon=True)
            for stream, lines in ((process.stdout, self.output), (process.stderr, self.errors))
        ]
        for reader in self._readers:
            reader.start()
        return process

    def wait(self, timeout_seconds: float) -> int:
        """Wait until the process has ended and all it printed is kept; return its exit code."""
        code = self._running().wait(timeout_seconds)
        for reader in self._readers:
            reader.join(timeout_seconds)
        for stream in (self._running().stdout, self._running().stderr):
            if stream is not None:
                stream.close()
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the server's process."""
        self._running().send_signal(number)

    def wait_output(self, text: str, *, after: int = 0, timeout_seconds: float = STOP_SECONDS_MAX) -> str:
        """Wait until the server prints a line that holds a text, behind the first `after` lines; return the line."""
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while True:
                for line in self.output[after:]:
                    if text in line:
                        return line
                remaining = deadline - time.monotonic()
                assert remaining > 0, f"no line with {text!r} after {timeout_seconds} s:\n{self.log_text()}"
                self._changed.wait(remaining)

    def stop(self, timeout_seconds: float = STOP_SECONDS_MAX) -> int:
        """Ask the server to stop (SIGTERM), wait for its end, and return its exit code."""
        self.send_signal(signal.SIGTERM)
        return self.wait(timeout_seconds)

    def kill(self) -> None:
        """End the server at once (SIGKILL), with no chance to save anything."""
        self.send_signal(signal.SIGKILL)
        self.wait(STOP_SECONDS_MAX)

    def restart(self) -> None:
        """Stop the server cleanly and start it again on the same folder and ports."""
        code = self.stop()
        assert code == 0, f"exit {code} at a clean stop:\n{self.log_text()}"
        self.start()

    def end(self) -> None:
        """End the process whatever its state, without judging how."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self.wait(2 * STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()

    def resident_private_kib(self) -> int:
        """Return the private memory of the server in KiB: RssAnon, which leaves out LMDB's page cache."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        for line in status.splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
        raise AssertionError(f"no RssAnon in /proc/{self.pid}/status")

    def _is_ready(self) -> bool:
        return any(_READY.search(line) for line in self.output[self._output_mark :])

    def _running(self) -> Process:
        assert self._process is not None, "the server was never started"
        return self._process

    def _collect(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            with self._changed:
                lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _read_addresses(self) -> None:
        found: dict[str, Address] = {}
        for line in self.output[self._output_mark :]:
            if match := _LISTENING.search(line):
                found[match[1]] = Address(match[2], int(match[3]))
        self.metrics = found.pop("metrics", None)
        self.console = found.pop("console", None)
        if found.keys() != {"websocket", "http", "tcp"}:
            raise ServerDiedError(f"expected three `listening:` lines, got {found}:\n{self.log_text()}")
        self.websocket, self.http, self.tcp = found["websocket"], found["http"], found["tcp"]


@contextlib.contextmanager
def running_server(data_dir: Path, *, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run a server on a data folder for the time of a `with` block, then stop it."""
    with Server(data_dir, environment=environment) as server:
        yield server
