"""What the console's overview draws: the server's figures of the last hour, every five seconds.

A ring of plain numbers of fixed size, filled whether somebody looks or not.
"""

from __future__ import annotations

import os
import shutil
import time
from array import array
from typing import TYPE_CHECKING, Final

import trio

from pynun import limits

if TYPE_CHECKING:
    from pathlib import Path

    from pynun.server.monitoring.endpoint import Monitoring
    from pynun.transports.service import Service

COLUMNS: Final = (
    "time",
    "connections",
    "watches",
    "commands",
    "changes",
    "sent",
    "commits",
    "commit_seconds",
    "loop_delay_seconds",
    "memory_bytes",
    "disk_free_bytes",
    "disk_bytes",
)
"""`time` is seconds since 1970. `commands` to `loop_delay_seconds` only grow: a page shows their differences."""

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_DISK_EVERY: Final = 6
"""The disk is asked at each sixth sample."""


class History:
    """The samples of the last hour."""

    def __init__(self, folder: Path, monitoring: Monitoring) -> None:
        self._folder = folder
        self._monitoring = monitoring
        self._samples = [array("d") for _ in COLUMNS]
        self._disk = (0.0, 0.0)
        self._taken = 0

    async def run(self, service: Service) -> None:
        """Take samples, until cancelled."""
        due = trio.current_time()
        while True:
            if self._taken % _DISK_EVERY == 0:
                await self._ask_disk()
            self.take(service)
            due = max(due + limits.CONSOLE_SAMPLE_SECONDS, trio.current_time())
            await trio.sleep_until(due)

    def take(self, service: Service) -> None:
        """Take one sample."""
        engine, counters = service.engine, service.counters
        commit_seconds = None
        if self._monitoring.health.committer is not None:
            commit_seconds = self._monitoring.health.committer.commit_seconds
        values = (
            time.time(),
            sum(counters.open.values()),
            sum(len(session.watches) for session in engine.sessions.values()),
            sum(engine.counters.done) + sum(engine.counters.refused) + engine.counters.unknown,
            engine.view.operations,
            counters.sent,
            0 if commit_seconds is None else sum(commit_seconds.counts),
            0 if commit_seconds is None else commit_seconds.total,
            self._monitoring.loop_delay_seconds.total,
            _memory_bytes(),
            *self._disk,
        )
        for column, value in zip(self._samples, values, strict=True):
            column.append(value)
            if len(column) > limits.CONSOLE_SAMPLES_MAX:
                del column[0]
        self._taken += 1

    def since(self, after: float) -> dict[str, list[float]]:
        """The samples taken after that time, by column."""
        times = self._samples[0]
        first = next((place for place, at in enumerate(times) if at > after), len(times))
        return {name: list(column[first:]) for name, column in zip(COLUMNS, self._samples, strict=True)}

    async def _ask_disk(self) -> None:
        try:
            usage = await self._monitoring.health.disk.ask(shutil.disk_usage, self._folder)
        except OSError:
            usage = None
        if usage is not None:
            self._disk = (float(usage.free), float(usage.total))


def _memory_bytes() -> float:
    with open("/proc/self/statm", "rb") as file:
        return float(int(file.read().split()[1]) * _PAGE_BYTES)
