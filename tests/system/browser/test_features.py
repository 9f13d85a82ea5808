"""npm's `nun-db-react` in an application: feature flags that a page obeys at once, and a store shared by all pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.node import INSTALL_SECONDS_MAX, TESTS, NodeScript
from tools.clients.exact_clients import http_post
from tools.clients.sessions import TOKEN, create_database

if TYPE_CHECKING:
    from tools.clients.server import Server

DATABASE = "react-application"


@pytest.mark.timeout(INSTALL_SECONDS_MAX + 180)
def test_feature_flags_and_a_shared_store(shared_server: Server, chromium: str) -> None:
    create_database(shared_server, DATABASE)

    def set_features(text: str) -> None:
        http_post(shared_server.http, f"use {DATABASE} {TOKEN}; set featureToggle {text}")

    set_features('{"report":false,"export":false}')
    options = {
        "chromium": chromium,
        "url": f"ws://{shared_server.websocket}",
        "database": DATABASE,
        "token": TOKEN,
    }
    with NodeScript(TESTS / "system" / "browser" / "features.js", options) as script:
        script.expect("enable")
        set_features('{"report":true,"export":true}')
        script.tell()
        script.expect("disable")
        set_features('{"report":false,"export":false}')
        script.tell()
        result = script.done()["result"]
    without, with_it = ["No report yet", False], ["The report is here", True]
    assert result["atFirst"] == [without, without]
    assert result["enabled"] == [with_it, with_it]
    assert result["disabled"] == [without, without]
    notes = ["a note of the left", "and one of the right"]
    assert result["notes"] == [notes, notes]
    assert result["late"] == notes
    assert result["errors"] == []
