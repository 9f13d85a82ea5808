"""A viewer that says nothing for minutes stays connected behind proxies with time-outs of 30 s."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.proxies.running import PACKAGES, blocks_of, running_proxy
from tests.support.certificates import Authority
from tools.clients.exact_clients import WebSocketClient
from tools.clients.sessions import OK, create_database

if TYPE_CHECKING:
    from pathlib import Path

    from tools.clients.server import Server

IDLE_SECONDS = float(os.environ.get("NUN_TEST_IDLE_SECONDS", "0"))

PATIENCE = {
    "nginx": ("proxy_http_version 1.1;", "proxy_http_version 1.1; proxy_read_timeout 30s; proxy_send_timeout 30s;"),
    "apache": ("ProxyTimeout 60", "Timeout 30\n    ProxyTimeout 30"),
}
"""What the page's configuration is changed to; HAProxy has 30 s there, and Caddy no time-out."""


@pytest.mark.skipif(not IDLE_SECONDS, reason="it takes minutes: scripts/soak --proxies")
@pytest.mark.timeout(IDLE_SECONDS + 300)
def test_an_idle_viewer_stays(server: Server, tmp_path: Path) -> None:
    create_database(server, "idle")
    authority = Authority(tmp_path)
    with contextlib.ExitStack() as stack:
        viewers: dict[str, WebSocketClient] = {}
        for name in PACKAGES:
            folder = tmp_path / name
            folder.mkdir()
            block = blocks_of(name)[0].replace(*PATIENCE.get(name, ("", "")))
            proxy = stack.enter_context(running_proxy(name, server, authority, folder, block=block))
            viewers[name] = stack.enter_context(WebSocketClient(proxy.https, path="/nun/ws", tls=authority.trusting()))
            assert viewers[name].ask("use-db idle pwd") == [OK]
            assert viewers[name].ask("watch k") == [OK]
        end = time.monotonic() + IDLE_SECONDS
        while time.monotonic() < end:
            for name, viewer in viewers.items():
                viewer.quiet(0.2)  # answers pings
                assert not viewer.is_ended, f"{name} cut the connection"
        for name, viewer in viewers.items():
            assert viewer.pings >= IDLE_SECONDS // 20 - 1, name
            assert viewer.ask("get k")[-1] == OK, name
