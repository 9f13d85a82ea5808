"""What the server tells who runs it: systemd, by datagrams (sd_notify(3)), and people, how to stop and reload it there.

systemd names a socket in NOTIFY_SOCKET. Datagrams that can't be sent are lost: they must not hold up the server.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from pynun import limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

_REPORT_SECONDS: Final = 2.0
_CONTAINER_FILES: Final = ("/.dockerenv", "/run/.containerenv")


class ServiceManager:
    """systemd, if it started this process and listens; else nobody, and nothing is sent."""

    def __init__(self) -> None:
        # Taken away, because processes that the server starts have nothing to say to systemd.
        address = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        watchdog = os.environ.pop("WATCHDOG_USEC", "")
        is_ours = os.environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog_seconds = int(watchdog) / 1e6 if address and is_ours and watchdog.isdecimal() else 0.0
        self._is_ready = threading.Event()
        self.step: Callable[[], str] = lambda: "opening the data"
        """The current step of the start, for systemd's status. Called in a thread."""

    def notify(self, *lines: str, wait_seconds: float = limits.NOTIFY_SECONDS) -> None:
        """Send lines such as `READY=1`."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.settimeout(wait_seconds)
            sending.sendto("\n".join(lines).encode(), self._address)

    def begin(self) -> None:
        """The start begins: until `ready`, extend its time limit every few seconds, unless it hangs."""
        if self._watchdog_seconds:
            faulthandler.enable(2)  # systemd ends a server that hangs with SIGABRT: the journal shows where it was
        if self._address:
            threading.Thread(target=self._extend, daemon=True).start()

    def _extend(self) -> None:
        told, told_at = "", 0.0
        while True:
            step, now = self.step(), time.monotonic()
            if step != told:
                told, told_at = step, now
            elif now - told_at > limits.START_STEP_SECONDS_MAX:
                return
            self.notify(f"EXTEND_TIMEOUT_USEC={limits.START_EXTENDED_SECONDS * 1_000_000}", f"STATUS={step}")
            if self._is_ready.wait(limits.START_EXTENDED_SECONDS / 6):
                return

    def ready(self) -> None:
        """Clients are served."""
        self._is_ready.set()
        self.notify("READY=1", "STATUS=ready")

    async def watch(self) -> None:
        """Send signs of life from the loop, so that a loop that hangs sends none."""
        while self._watchdog_seconds:
            self.notify("WATCHDOG=1", wait_seconds=0)
            await trio.sleep(self._watchdog_seconds / 4)

    async def report(self, not_ready: Callable[[], Awaitable[str | None]]) -> None:
        """Send why the server is not ready, or that it is, whenever that changes."""
        told = "ready"
        while self._address:
            reason = await not_ready()
            now = "ready" if reason is None else f"not ready: {reason}"
            if now != told and self._is_ready.is_set():
                self.notify(f"STATUS={now}", wait_seconds=0)
                told = now
            await trio.sleep(_REPORT_SECONDS)

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """The block reads a certificate anew."""
        self.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            self.notify("READY=1")


def how_to_stop() -> str:
    """How a person stops this server."""
    if unit := _unit():
        return f"systemctl stop {unit}"
    if _is_in_container():
        return "docker stop CONTAINER"
    return f"Ctrl-C, or kill {os.getpid()}"


def how_to_reload() -> str:
    """How a person makes this server reload its certificate."""
    if unit := _unit():
        return f"systemctl reload {unit}"
    if _is_in_container():
        return "docker kill -s HUP CONTAINER"
    return f"kill -HUP {os.getpid()}"


def _unit() -> str | None:
    """The service that this process is the main process of."""
    if "INVOCATION_ID" not in os.environ or os.getppid() != 1:
        return None
    with contextlib.suppress(OSError):
        found = re.search(r"/([^/\n]+)\.service$", Path("/proc/self/cgroup").read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[1]
    return "SERVICE"


def _is_in_container() -> bool:
    """Whether this is a container's first process, or was started by an init there: its process id is of no use outside
    the container.
    """
    return os.getpid() == 1 or (os.getppid() == 1 and any(map(os.path.exists, _CONTAINER_FILES)))
