"""Node.js scripts driven from a test: found, given their npm packages, started, talked to by lines of JSON, ended.

Invariants: every script has a deadline after which it is killed, and only the process started here is ever killed.
Where something that is needed is missing, the test is skipped with what to install; in continuous integration (CI set
in the environment) it fails instead, so that nothing is left out unseen.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import re
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, Any, NoReturn, Self

import pytest

from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

TESTS = REPOSITORY / "tests"

# What playwright-core and mocha ask for.
NODE_MAJOR_MIN = 20

INSTALL_SECONDS_MAX = 300.0
SCRIPT_SECONDS_MAX = 120.0
END_SECONDS_MAX = 20.0

# A failure shows no more than a screenful of what a script printed; a line may be a report of megabytes.
ERROR_LINES_MAX = 30
CHARACTERS_MAX = 500


def leave_out(reason: str) -> NoReturn:
    """Skip the test because something is missing on this machine; in continuous integration, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"missing in continuous integration: {reason}", pytrace=False)
    pytest.skip(reason)


@functools.cache
def _node_problem() -> str | None:
    """What keeps this machine from running the scripts, or None."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return "Node.js is not installed (apt-get install nodejs npm)"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=120, check=True).stdout
    match = re.match(r"v([0-9]+)\.", version)
    if match is None or int(match[1]) < NODE_MAJOR_MIN:
        return f"Node.js {version.strip()} is too old: {NODE_MAJOR_MIN} or newer is needed"
    installation = subprocess.run(
        [REPOSITORY / "scripts" / "npm_install"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS_MAX,
        check=False,
    )
    if installation.returncode != 0:
        return f"the npm packages could not be installed (scripts/npm_install): {installation.stderr.strip()[-2000:]}"
    return None


def require_node() -> None:
    """Skip the test unless Node.js is there; install the npm packages of the tests if they are not yet."""
    if problem := _node_problem():
        leave_out(problem)


class ScriptError(AssertionError):
    """A script failed, or did not report what was awaited; the text holds what it printed on standard error."""


class NodeScript:
    """One run of a script of the tests; a context manager that starts it and always ends it.

    A script gets its options as the first order, reports objects with an `event`, may wait for an order after one, and
    ends with `done` and its `result` (tests/system/javascript/harness.js).
    """

    def __init__(self, script: Path, options: Mapping[str, object], *, seconds_max: float = SCRIPT_SECONDS_MAX) -> None:
        self.errors: list[str] = []
        self._reports: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._is_late = False
        self._process = subprocess.Popen(
            ["node", str(script)],
            cwd=script.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._deadline = threading.Timer(seconds_max, self._end_late)
        self._deadline.start()
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_output, self._read_errors)]
        for reader in self._readers:
            reader.start()
        self.tell(**options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._deadline.cancel()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(END_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(END_SECONDS_MAX)
        for reader in self._readers:
            reader.join(END_SECONDS_MAX)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def expect(self, *events: str) -> dict[str, Any]:
        """Wait for the script's next report, which must be one of these events; return it."""
        report = self._reports.get()
        if report is None or report["event"] not in events:
            what = "its deadline passed" if self._is_late else f"got {_shortened(report)}"
            printed = "\n".join(map(_shortened, self.errors[-ERROR_LINES_MAX:]))
            raise ScriptError(f"expected the report {' or '.join(map(repr, events))}, {what}\n{printed}")
        return report

    def tell(self, **order: object) -> None:
        """Let the script go on after a report, with an order for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def done(self) -> dict[str, Any]:
        """Wait for the script's end; return its report, whose `result` is what it returned."""
        return self.expect("done")

    def _end_late(self) -> None:
        self._is_late = True
        self._process.terminate()

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self._reports.put(json.loads(line))
            except ValueError:  # not the script's own: a package printed it
                self.errors.append(line.rstrip("\n"))
        self._reports.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.errors.append(line.rstrip("\n"))


def _shortened(printed: object) -> str:
    """Return something as text, cut to a few lines of a terminal."""
    text = str(printed)
    return text if len(text) <= CHARACTERS_MAX else f"{text[:CHARACTERS_MAX]}… ({len(text)} characters)"


def run_script(
    script: Path, options: Mapping[str, object], *, seconds_max: float = SCRIPT_SECONDS_MAX
) -> dict[str, Any]:
    """Run a script that needs no orders to its end; return its report `done`."""
    with NodeScript(script, options, seconds_max=seconds_max) as running:
        return running.done()
