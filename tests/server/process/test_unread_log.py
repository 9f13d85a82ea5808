"""Nobody reads the log, or it can't be written: everybody is served all the same, and a stop is a clean one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import termios
import threading
from typing import TYPE_CHECKING, Self

import pytest

from tests.support.watched import Scrape, failing_disk, request, wait_until
from tools.clients.exact_clients import TcpClient, WebSocketClient, http_post
from tools.clients.server import (
    ADMIN_PASSWORD,
    ADMIN_USER,
    CHEAP_PASSWORDS,
    NO_LOGIN_DELAY,
    Address,
    Server,
    clean_environment,
    free_ports,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ADMIN = f"auth {ADMIN_USER} {ADMIN_PASSWORD}"
PIPE_BYTES = 4096
STOP_SECONDS = 20.0
"""Before, it took as long as nobody read; generous for a busy machine."""


class Output:
    """What the server has as standard output and standard error: nobody reads it until `read`."""

    def __init__(self, descriptor: int, reading: int = -1) -> None:
        self.descriptor = descriptor
        self.reading = reading
        self.text = b""

    def read(self) -> None:
        """Read on, in a thread, to the end."""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # a terminal ends with EIO
            while data := os.read(self.reading, 65536):
                self.text += data


@contextlib.contextmanager
def full_pipe() -> Iterator[Output]:
    """A pipe that is full before the first line."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.write(writing, b"-" * (PIPE_BYTES - 1) + b"\n")
    yield Output(writing, reading)
    os.close(reading)


@contextlib.contextmanager
def stopped_terminal() -> Iterator[Output]:
    """A terminal in which somebody typed Ctrl-S."""
    near, far = os.openpty()
    termios.tcflow(far, termios.TCOOFF)
    yield Output(far, near)
    os.close(near)


@contextlib.contextmanager
def closed_pipe() -> Iterator[Output]:
    reading, writing = os.pipe()
    os.close(reading)
    yield Output(writing)


@contextlib.contextmanager
def full_disk() -> Iterator[Output]:
    yield Output(os.open("/dev/full", os.O_WRONLY))


@contextlib.contextmanager
def stalled_socket() -> Iterator[Output]:
    """As journald gives to a service."""
    near, far = socket.socketpair()
    far.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            far.send(b"-" * 1000)
    far.setblocking(True)
    yield Output(far.detach(), near.fileno())
    near.close()


OUTPUTS = (full_pipe, stopped_terminal, closed_pipe, full_disk, stalled_socket)


class Running:
    """A server with that output."""

    def __init__(self, folder: Path, output: Output, **environment: str) -> None:
        self.websocket, self.http, self.tcp = (Address("127.0.0.1", port) for port in free_ports(3))
        self.folder = folder
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "pynun", "-u", ADMIN_USER, "-p", ADMIN_PASSWORD, "start"),
                *("-w", str(self.websocket), "-h", str(self.http), "-t", str(self.tcp)),
            ],
            env=clean_environment({**CHEAP_PASSWORDS, **NO_LOGIN_DELAY, "NUN_DBS_DIR": str(folder), **environment}),
            stdin=subprocess.DEVNULL,
            stdout=output.descriptor,
            stderr=output.descriptor,
        )
        os.close(output.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def wait_ready(self) -> None:
        def is_ready() -> bool:
            assert self.process.poll() is None
            try:
                return request(self.http, "/readyz").status == 200
            except OSError:
                return False

        wait_until(is_ready)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


@pytest.mark.parametrize("output_of", OUTPUTS)
def test_everybody_is_served_and_the_stop_is_clean(
    disk_folder: Path, output_of: Callable[[], contextlib.AbstractContextManager[Output]]
) -> None:
    """Clients that are there, those that come, health checks, and SIGTERM."""
    with output_of() as output, Running(disk_folder / "dbs", output) as server:
        server.wait_ready()
        http_post(server.http, f"{ADMIN}; create-db d pwd")
        with TcpClient(server.tcp) as before:
            before.ask("use-db d pwd")
            # A line of the log each; the first would wait already.
            for number in range(30):
                assert http_post(server.http, f"{ADMIN}; create-db d{number} pwd").endswith("success\n")
            with contextlib.suppress(OSError):
                http_post(server.http, "auth nobody wrong")
            assert before.ask("set k v")[-1] == "ok \n"
            with WebSocketClient(server.websocket) as after:
                assert after.ask("use-db d pwd")[-1] == "ok \n"
                assert "value v\n" in after.ask("get k")
            assert request(server.http, "/healthz").text == "ok\n"
        audit = server.folder / "audit.jsonl"  # which does not depend on the log
        wait_until(lambda: audit.read_text(encoding="utf-8").count('"create-db"') == 31)
        assert server.stop() == 0


def test_who_reads_again_gets_every_line(disk_folder: Path) -> None:
    with full_pipe() as output, Running(disk_folder / "dbs", output) as server:
        server.wait_ready()
        for number in range(30):
            http_post(server.http, f"{ADMIN}; create-db d{number} pwd")
        output.read()
        wait_until(lambda: output.text.count(b"create-db") >= 30)
        assert Scrape(server.http).value("nun_db_log_lines_dropped_total") == 0
        assert server.stop() == 0
        wait_until(lambda: output.text.endswith(b"stopped: all acknowledged changes are on disk\n"))
    lines = output.text.decode().splitlines()[1:]
    assert "nundb starting!" in lines[0]
    assert [number for number in range(30) if sum(f" d{number} " in line for line in lines) != 1] == []


def test_lines_that_were_lost_are_in_the_metrics(disk_folder: Path) -> None:
    with full_disk() as output, Running(disk_folder / "dbs", output) as server:
        server.wait_ready()
        assert Scrape(server.http).value("nun_db_log_lines_dropped_total") > 5


def test_a_start_that_fails_ends_though_nobody_reads_why(disk_folder: Path) -> None:
    """A supervisor that starts it again waits for its end."""
    with (
        Server(disk_folder / "dbs") as first,
        full_pipe() as output,
        Running(first.data_dir, output) as second,
    ):
        assert second.process.wait(STOP_SECONDS + 20.0) == 1


def test_an_audit_trail_on_a_disk_that_hangs(disk_folder: Path) -> None:
    """Who is audited is served; the stop waits for it for two seconds, and the kernel for the rest."""
    with failing_disk(disk_folder / "disk") as disk:
        server = Server(disk_folder / "dbs", environment={"NUN_AUDIT_FILE": str(disk.folder / "audit.jsonl")})
        with server:
            http_post(server.http, f"{ADMIN}; create-db before pwd")
            disk.hang()
            for number in range(5):
                assert http_post(server.http, f"{ADMIN}; create-db d{number} pwd").endswith("success\n")
            assert request(server.http, "/readyz").status == 200
            server.send_signal(signal.SIGTERM)
            wait_until(lambda: "stopped: all acknowledged changes are on disk" in server.log_text())
            assert "its disk does not respond" in server.log_text()
            disk.answer()
            assert server.wait(STOP_SECONDS) == 0
