"""`nun-db top` on a terminal: what it shows, and that the terminal is left as it was."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING, Self

import pytest

from pynun.cli.commands.top import Look, screen
from pynun.cli.remote.metrics import Health, Metrics
from tools.clients.exact_clients import TcpClient, http_post
from tools.clients.server import ADMIN_PASSWORD, ADMIN_USER, REPOSITORY, Server, clean_environment, nun_db

if TYPE_CHECKING:
    from types import TracebackType

COLUMNS, ROWS = 80, 24
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Screen:
    """`nun-db top` on a terminal of 80 columns and 24 lines."""

    def __init__(self, url: str) -> None:
        login = ("-u", ADMIN_USER, "-p", ADMIN_PASSWORD)
        self._controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
        self._terminal = terminal
        self.mode = termios.tcgetattr(terminal)
        self.output = b""
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, sys.executable, "-m", "pynun", *login, "-h", url, "top"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=clean_environment({"TERM": "xterm"}),
            cwd=REPOSITORY,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._controller)
        os.close(self._terminal)

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._controller, keys)

    def wait_for(self, text: bytes, seconds_max: float = 60.0) -> None:
        """Wait until the text has been shown since the last look."""
        deadline = time.monotonic() + seconds_max
        while text not in self.output:
            assert self._read(deadline - time.monotonic()), f"no {text!r} in {self.output!r}"

    def wait(self) -> int:
        """Wait for the end and return the exit code, with all that was shown in `output`."""
        deadline = time.monotonic() + 60.0
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            self._read(0.1)
        while self._read(0.0):
            pass
        return self.process.returncode

    def assert_terminal_is_as_before(self) -> None:
        """The mode of the terminal, its screen and its cursor are what they were."""
        assert termios.tcgetattr(self._terminal) == self.mode
        assert self.output.count(b"\x1b[?1049h") == self.output.count(b"\x1b[?1049l") == 1
        assert self.output.rindex(b"\x1b[?25h") > self.output.rindex(b"\x1b[?25l")

    def _read(self, seconds: float) -> bool:
        readable, _, _ = select.select([self._controller], [], [], max(0.0, seconds))
        if not readable:
            return False
        self.output += os.read(self._controller, 65536)
        return True


def test_it_shows_rates_and_q_leaves_the_terminal_as_it_was(shared_server: Server) -> None:
    http_post(shared_server.http, f"auth {shared_server.credentials}; create-db top-db top-pwd")
    with Screen(f"http://{shared_server.http}") as shown, TcpClient(shared_server.tcp) as client:
        client.ask("use-db top-db top-pwd")
        shown.wait_for(b"q quits")
        for number in range(2000):
            client.send(f"set key {number}")
        client.take(2000)
        shown.wait_for(b"top-db")
        assert shown.process.poll() is None
        deadline = time.monotonic() + 60.0
        while not any(rate_of(line) for line in shown.output.decode().split("\r\n") if line.startswith("commands/s")):
            assert time.monotonic() < deadline, shown.output
            client.ask("get key")
            shown.wait_for(b"", 0)
            shown._read(0.2)
        shown.type(b"q")
        assert shown.wait() == 0
        shown.assert_terminal_is_as_before()
        one_screen = shown.output.decode().split("\x1b[H")[1].split("\r\n")
        assert len(one_screen) <= ROWS
        assert all(len(line.removesuffix("\x1b[K")) < COLUMNS for line in one_screen)


def rate_of(line: str) -> float:
    """The commands a second in a line."""
    return float(line.split()[1].replace(",", ""))


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_whatever_ends_it_leaves_the_terminal_as_it_was(shared_server: Server, how: str) -> None:
    with Screen(f"http://{shared_server.http}") as shown:
        shown.wait_for(b"q quits")
        if how == "Ctrl-C":
            shown.type(b"\x03")
        else:
            shown.process.send_signal(signal.SIGTERM)
        assert shown.wait() == 0
        shown.assert_terminal_is_as_before()


def test_a_server_that_goes_and_comes_back_is_waited_for(disk_folder: object, server: Server) -> None:
    with Screen(f"http://{server.http}") as shown:
        shown.wait_for(b"ready")
        server.stop()
        shown.wait_for(b"nothing listens at")
        shown.output = shown.output.replace(b"ready", b"")
        server.start()
        shown.wait_for(b"ready")
        shown.type(b"q")
        assert shown.wait() == 0
        shown.assert_terminal_is_as_before()


def test_without_a_terminal_it_says_what_to_use(shared_server: Server) -> None:
    done = nun_db("-h", f"http://{shared_server.http}", "top")
    assert done.returncode == 2
    assert "nun-db: top needs a terminal; for one look use: nun-db status" in done.stderr


def test_without_a_server_it_is_exit_code_4_and_no_screen() -> None:
    with Screen("http://127.0.0.1:1") as shown:
        assert shown.wait() == 4
        assert b"nothing listens" in shown.output
        assert b"\x1b[?1049h" not in shown.output


def test_rates_are_differences_and_no_counter_that_began_anew_is_negative() -> None:
    def look(at: float, commands: int) -> Look:
        text = f'# TYPE nun_db_commands_total counter\nnun_db_commands_total{{command="set",outcome="ok"}} {commands}\n'
        return Look(at, Health(True, ""), Metrics(text))

    lines = screen("http://x", look(10.0, 1000), look(12.0, 3000), "", ROWS)
    assert any(line.startswith("commands/s   1,000 ") for line in lines)
    assert any(line.split() == ["set", "1,000", "3,000"] for line in lines)
    restarted = screen("http://x", look(12.0, 3000), look(13.0, 5), "", ROWS)
    assert any(line.startswith("commands/s   0 ") for line in restarted)
