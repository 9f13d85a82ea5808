"""Answer /livez, /readyz and /healthz: is the server alive, and is it ready (docs/monitoring.md)?

Ready means that it accepts connections and can store changes. The pages are plain text: `ok`, or `not ready: REASON`.
"""

from __future__ import annotations

import enum
import os
import shutil
from typing import TYPE_CHECKING, Final

from pynun import limits
from pynun.server.monitoring.disk_probe import DiskProbe
from pynun.timestamps import steady_seconds, time_of_day
from pynun.transports.pages import Page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pynun.commit.committer import Committer

DISK_FULL: Final = "the disk of the data is full"
DISK_SILENT: Final = "the disk of the data does not answer"

_OK: Final = Page(200, b"ok\n")


class Phase(enum.Enum):
    """The state of the server; the value is the reason why it is not ready then."""

    STARTING = "starting"
    READY = ""
    STOPPING = "stopping"


def is_scarce(data_dir: Path) -> bool:
    """Whether the disk has no room for imports and copies of databases beside what clients change."""
    try:
        return shutil.disk_usage(data_dir).free < limits.LOAD_FREE_BYTES_MIN
    except OSError:
        return False  # the next write says what is wrong


class Health:
    """The health of one server."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self.phase = Phase.STARTING
        self.doing = ""
        """The step of a long start, set by its thread. Anyone can read it, so it holds no names."""
        self._serving_since: float | None = None
        self.committer: Committer | None = None
        """Set while this process decides about the data."""
        self.why_not_node: Callable[[], str | None] = lambda: None
        """Why this server does not serve clients as a node of its cluster; None if it does, or is of none."""
        self.node_fields: Callable[[], bytes] = lambda: b""
        """A header line about this server as a node of its cluster; nothing if it is of none."""
        self.disk = DiskProbe()

    def begin_serving(self) -> None:
        """From now on clients are served."""
        self.phase = Phase.READY
        self._serving_since = steady_seconds()

    @property
    def serving_since(self) -> float:
        """When the first clients were served, in seconds since 1970; 0 before that."""
        return 0.0 if self._serving_since is None else time_of_day(self._serving_since)

    async def reason(self) -> str | None:
        """Why the server is not ready; None when it is."""
        if self.phase is Phase.STARTING and self.doing:
            return f"{self.phase.value}: {self.doing}"
        if self.phase is not Phase.READY:
            return str(self.phase.value)
        if (why := self.why_not_node()) is not None:
            return why
        if self.committer is not None:
            if self.committer.failure is not None:
                return f"changes can't be stored: {self.committer.failure}"
            if self.committer.writing_seconds > limits.COMMIT_HANGS_SECONDS:
                return DISK_SILENT
        try:
            usage = await self.disk.ask(shutil.disk_usage, self._data_dir)
        except OSError as error:
            return f"the folder of the data can't be looked at: {os.strerror(error.errno or 0)}"
        if usage is None:
            return DISK_SILENT
        return DISK_FULL if usage.free < limits.DISK_FREE_BYTES_MIN else None

    async def page(self) -> Page:
        """The pages /readyz and /healthz: 200 when ready, else 503."""
        reason = await self.reason()
        page = _OK if reason is None else Page(503, f"not ready: {reason}\n".encode())
        return page._replace(fields=self.node_fields())

    async def live_page(self) -> Page:
        """The page /livez: 200 whenever the loop can answer.

        It ignores the disk: a failure of this page leads to a restart, which does not cure a full or hanging disk. A
        committer that failed for good ends the server by itself.
        """
        return _OK
