"""One real Chromium for all tests that need a browser: found, started, asked where it can be driven from, ended.

Debian's headless shell is the same engine without windows, which took a third of the demo's processor time.

Invariants: it has a new, empty profile of its own, talks to nobody but this machine, and only the process group that
was started here is ever signalled. Tests share it, each in a context (cookies, storage) of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.node import leave_out

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS_MAX = 120.0
GOODBYE_SECONDS_MAX = 4.0
END_SECONDS_MAX = 20.0

_FLAGS = (
    "--headless",
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    # WebGL without a graphics card.
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    # Nothing that calls home.
    "--no-first-run",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    # A window that is not in front is no less alive.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--remote-debugging-port=0",
)

_ENDPOINT = re.compile(r"DevTools listening on (ws://\S+)")


def require_chromium() -> Path:
    """Skip the test unless Chromium is there; return its path."""
    for name in ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Path(found)
    leave_out("Chromium is not installed (apt-get install chromium-headless-shell)")


@contextlib.contextmanager
def running_chromium() -> Iterator[str]:
    """Run Chromium for the time of a `with` block; yields the address that it is driven from."""
    executable = require_chromium()
    profile = tempfile.mkdtemp(prefix="pynun-chromium-")
    process = subprocess.Popen(
        [executable, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # What it writes beside its profile goes there, too.
        env={**os.environ, "HOME": profile, "XDG_CONFIG_HOME": profile, "XDG_CACHE_HOME": profile},
        start_new_session=True,
    )
    said: list[str] = []
    endpoints: list[str] = []
    started = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if match := _ENDPOINT.search(line):
                endpoints.append(match[1])
                started.set()
        started.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        started.wait(START_SECONDS_MAX)
        assert endpoints, f"Chromium did not start: {''.join(said[-50:])}"
        yield endpoints[0]
    finally:
        _end(process)
        reader.join(END_SECONDS_MAX)
        assert process.stderr is not None
        process.stderr.close()
        shutil.rmtree(profile, ignore_errors=True)


def _end(process: subprocess.Popen[str]) -> None:
    """End Chromium and its helpers, which all are in its process group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GOODBYE_SECONDS_MAX)  # it has nothing to save
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(END_SECONDS_MAX)
