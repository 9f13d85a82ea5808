"""Where the scripts beside this file run: in Node.js, and, the same ones, in a page of a real browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.node import INSTALL_SECONDS_MAX, TESTS, NodeScript, require_node
from tools.clients.sessions import TOKEN

if TYPE_CHECKING:
    from tools.clients.server import Server

SCRIPTS = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Runtime:
    """What runs a script: Node.js, or the browser at an endpoint; `name` tells one from the other."""

    name: str
    endpoint: str | None = None

    def start(self, script: str, server: Server, database: str, **options: object) -> NodeScript:
        """Start a script against a database of a server."""
        known = {"url": f"ws://{server.websocket}", "database": database, "token": TOKEN, **options}
        if self.endpoint is None:
            return NodeScript(SCRIPTS / script, known)
        in_page = {**known, "chromium": self.endpoint, "script": script}
        return NodeScript(TESTS / "system" / "browser" / "in_chromium.js", in_page)

    def run(self, script: str, server: Server, database: str, **options: object) -> dict[str, Any]:
        """Run a script that needs no orders to its end; return its report `done`."""
        with self.start(script, server, database, **options) as running:
            return running.done()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first test here the time that installing the packages may take."""
    for item in items:
        if SCRIPTS in item.path.parents:
            item.add_marker(pytest.mark.timeout(INSTALL_SECONDS_MAX + 180))
            return


@pytest.fixture(scope="session", autouse=True)
def _node() -> None:
    require_node()


@pytest.fixture(params=["node", "chromium"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """Node.js and Chromium, one after the other; skips what is not installed."""
    if request.param == "node":
        return Runtime("node")
    return Runtime("chromium", request.getfixturevalue("chromium"))
