"""Over https: the extension comes from another origin into an isolated page, and connects by wss only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.node import INSTALL_SECONDS_MAX, require_node, run_script
from tools.clients.server import Server

if TYPE_CHECKING:
    from tests.support.certificates import Authority

SCRIPT = Path(__file__).parent / "secure_page.js"

pytestmark = pytest.mark.timeout(INSTALL_SECONDS_MAX + 180)


def test_an_isolated_page_loads_it_and_connects_by_wss_only(
    chromium: str, authority: Authority, disk_folder: Path
) -> None:
    require_node()
    certificate, key = authority.issue("page")
    with Server(disk_folder / "dbs", environment=authority.environment()) as server:
        options = {
            "chromium": chromium,
            "certificate": str(certificate),
            "key": str(key),
            "server": str(server.websocket),
            "login": {"db": "none", "token": "none"},
        }
        seen = run_script(SCRIPT, options)["result"]
    assert seen["isIsolated"]
    assert seen["id"] == "nun-db-sync"
    assert seen["embedded"] == "opaque"
    assert seen["secure"] == ["refused", "Not a valid database name"], "by the server, so it was connected"
    state, reason = seen["mixed"]
    assert state == "refused"
    assert "insecure WebSocket connection may not be initiated from a page loaded over HTTPS" in reason
