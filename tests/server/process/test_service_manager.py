"""What systemd is told: that the start goes on, that clients are served, signs of life, a reload, and the end.

tests/system/installer/test_services.py shows what systemd makes of it.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
import trio

from pynun import limits
from pynun.server.process.service_manager import ServiceManager
from tools.clients.server import Server

if TYPE_CHECKING:
    from pathlib import Path

WATCHDOG_SECONDS = 0.4
WAIT_SECONDS = 60.0


class _Systemd:
    """A socket as systemd has it, and what came."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0"))
        self._socket.settimeout(WAIT_SECONDS)

    def close(self) -> None:
        self._socket.close()

    def take_all(self) -> int:
        """Take what came already; returns how many datagrams."""
        count = 0
        while select.select([self._socket], [], [], 0)[0]:
            self._socket.recv(4096)
            count += 1
        return count

    def wait(self, line: str) -> list[str]:
        """Wait for a datagram that has the line; returns it."""
        while True:
            lines = self._socket.recv(4096).decode().split("\n")
            if line in lines:
                return lines


def test_a_service_tells_what_it_does(disk_folder: Path) -> None:
    systemd = _Systemd(f"{disk_folder}/notify")
    environment = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": str(round(WATCHDOG_SECONDS * 1e6))}
    with contextlib.closing(systemd), Server(disk_folder / "dbs", environment=environment) as server:
        started = systemd.wait("EXTEND_TIMEOUT_USEC=60000000")
        assert "STATUS=opening the data" in started
        assert "STATUS=ready" in systemd.wait("READY=1")
        began = time.monotonic()
        for _ in range(5):
            systemd.wait("WATCHDOG=1")
        assert time.monotonic() - began >= WATCHDOG_SECONDS / 2
        before = time.monotonic_ns() // 1000
        server.send_signal(signal.SIGHUP)
        (since,) = (line for line in systemd.wait("RELOADING=1") if line.startswith("MONOTONIC_USEC="))
        assert before <= int(since.partition("=")[2]) <= time.monotonic_ns() // 1000
        systemd.wait("READY=1")
        server.send_signal(signal.SIGTERM)
        systemd.wait("STOPPING=1")


def test_a_loop_that_hangs_gives_no_sign_of_life(disk_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads may still run: they give none."""
    with contextlib.closing(_Systemd(f"{disk_folder}/notify")) as systemd:
        monkeypatch.setenv("NOTIFY_SOCKET", systemd.address)
        monkeypatch.setenv("WATCHDOG_USEC", str(round(WATCHDOG_SECONDS * 1e6)))
        manager = ServiceManager()

        async def hang() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(manager.watch)
                await trio.to_thread.run_sync(systemd.wait, "WATCHDOG=1")
                systemd.take_all()
                time.sleep(2 * WATCHDOG_SECONDS)  # noqa: ASYNC251 - that is what hangs
                assert systemd.take_all() == 0
                await trio.to_thread.run_sync(systemd.wait, "WATCHDOG=1")
                nursery.cancel_scope.cancel()

        trio.run(hang)


def test_a_start_that_hangs_gets_no_more_time(disk_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "START_EXTENDED_SECONDS", 0.06)
    monkeypatch.setattr(limits, "START_STEP_SECONDS_MAX", 0)
    with contextlib.closing(_Systemd(f"{disk_folder}/notify")) as systemd:
        monkeypatch.setenv("NOTIFY_SOCKET", systemd.address)
        manager = ServiceManager()
        steps = iter(["one", "two", "three"])
        manager.step = lambda: next(steps, "three")
        before = set(threading.enumerate())
        manager.begin()
        (extending,) = set(threading.enumerate()) - before
        for step in ("one", "two", "three"):
            systemd.wait(f"STATUS={step}")
        extending.join(WAIT_SECONDS)
        assert not extending.is_alive()


def test_the_socket_may_be_an_abstract_one(disk_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(_Systemd(f"@{disk_folder}")) as systemd:
        monkeypatch.setenv("NOTIFY_SOCKET", systemd.address)
        ServiceManager().ready()
        assert systemd.wait("READY=1") == ["READY=1", "STATUS=ready"]


@pytest.mark.parametrize("address", ["", "/nowhere/notify"])
def test_nobody_has_to_listen(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    manager = ServiceManager()
    manager.ready()
    with manager.reloading():
        pass
