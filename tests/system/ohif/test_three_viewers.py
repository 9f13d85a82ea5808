"""A lesson in released viewers: roles, rights, an old client, a server that is killed and comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.node import INSTALL_SECONDS_MAX, NodeScript
from tests.system.ohif.rooms import DATABASE, KEY, viewer_room
from tests.system.ohif.viewers import PACK_SECONDS_MAX, VERSIONS
from tools.clients.exact_clients import WebSocketClient
from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).parent / "three_viewers.js"
SESSION_SECONDS_MAX = 600.0

pytestmark = pytest.mark.timeout(INSTALL_SECONDS_MAX + PACK_SECONDS_MAX + SESSION_SECONDS_MAX)


def old_shape(number: int, value: object) -> str:
    """What `ohif-nun-db` sends."""
    return json.dumps({"_id": number, "value": value}, separators=(",", ":"))


@pytest.fixture(scope="module", name="lesson")
def _lesson(chromium: str) -> Iterator[dict[str, Any]]:
    """What was seen in one lesson, with the newest viewer."""
    artifacts = REPOSITORY / "build" / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    with viewer_room(list(VERSIONS)[-1]) as room:
        options = {
            "chromium": chromium,
            "url": room.url,
            "paths": room.paths,
            "artifacts": str(artifacts),
            "version": room.version,
        }
        with NodeScript(SCRIPT, options, seconds_max=SESSION_SECONDS_MAX) as running:
            camera = running.expect("old")["camera"]
            with WebSocketClient(room.server.websocket) as old:
                old.ask(f"use-db {DATABASE} client client-pwd")
                old.ask(f"watch {KEY}-camera")
                old.ask(f"watch {KEY}-currentImageIdIndex")
                moved = {**camera, "parallelScale": 60}
                old.ask(f"set-safe {KEY}-camera -1 {old_shape(1, moved)}")
                old.ask(f"set-safe {KEY}-currentImageIdIndex -1 {old_shape(2, {'currentImageIdIndex': 9})}")
                running.tell()
                running.expect("old heard")
                heard = "".join([*old.ask(f"get {KEY}-currentImageIdIndex"), *old.ask(f"get {KEY}-camera")])
            running.tell()
            running.expect("kill")
            room.server.kill()
            running.tell()
            running.expect("start")
            room.server.start()
            running.tell()
            result = running.done()["result"]
        (artifacts / "ohif-lesson.json").write_text(json.dumps(result, indent=1))
        yield {**result, "heard": heard}


def test_everybody_is_seen_by_a_name_that_stays_text(lesson: dict[str, Any]) -> None:
    assert any(name.startswith("Ana <b>") for name in lesson["people"])
    assert len(lesson["people"]) == 2


def test_one_leads_and_the_others_follow(lesson: dict[str, Any]) -> None:
    assert lesson["leads"] == [True, True]
    assert lesson["follows"]
    assert lesson["stray"] == {"sent": [], "isUnmoved": True}
    assert lesson["broughtBack"]


def test_one_can_let_go_follow_again_and_be_brought(lesson: dict[str, Any]) -> None:
    assert lesson["alone"]
    assert lesson["isApart"]
    assert lesson["back"]
    assert lesson["brought"]


def test_a_raised_hand_is_seen_and_the_lead_changes_hands(lesson: dict[str, Any]) -> None:
    assert any("✋" in name for name in lesson["hand"])
    assert lesson["takenOver"] == [True, True]
    assert lesson["followsBack"]
    assert lesson["everybody"] == [True, True]


def test_who_comes_late_shows_the_whole_state_at_once(lesson: dict[str, Any]) -> None:
    assert lesson["late"]


def test_one_who_may_only_read_follows_and_the_buttons_say_so(lesson: dict[str, Any]) -> None:
    assert lesson["wrong"]
    assert lesson["watching"]
    for name in ("takeOver", "bring", "raise"):
        assert "no right to write" in lesson["buttons"][name]
    assert lesson["student"] == {"sent": [], "isUnmoved": True}
    assert lesson["studentFollows"]
    assert "student" not in lesson["address"]


def test_a_pupil_is_listed_but_moves_nothing(lesson: dict[str, Any]) -> None:
    is_watching, names = lesson["pupil"]
    assert is_watching
    assert "✋ pupil" in names


def test_a_client_of_the_first_extension_leads_and_follows(lesson: dict[str, Any]) -> None:
    for panes in lesson["old"]:
        assert "scale 60.00" in panes[0]
        assert "slice 9" in panes[0]
    assert lesson["oldEcho"] <= 1, "only the one who is here longest tells the others"
    assert '"value":{"currentImageIdIndex":10}' in lesson["heard"]
    assert '"parallelScale":60' in lesson["heard"]


def test_a_viewer_opens_while_the_server_is_down(lesson: dict[str, Any]) -> None:
    assert lesson["opensAlone"] == [True, 0]


def test_after_a_restart_of_the_server_the_newest_state_wins(lesson: dict[str, Any]) -> None:
    assert lesson["lost"]
    assert lesson["again"]
    assert lesson["afterRestart"] == [True, True]
    assert not lesson["hasJumped"]
    assert lesson["goesOn"]
    assert len(lesson["peopleAgain"]) == 3


def test_a_study_that_one_may_not_open_is_said(lesson: dict[str, Any]) -> None:
    is_told, has_stayed = lesson["refused"]
    assert is_told
    assert has_stayed
    assert lesson["inStepAgain"]


def test_who_leaves_is_off_the_list(lesson: dict[str, Any]) -> None:
    assert len(lesson["left"]) == 2
    assert lesson["leftAfter"] < 60_000


def test_the_bar_is_reached_by_keyboard(lesson: dict[str, Any]) -> None:
    assert lesson["keyboard"]


def test_the_extension_complains_of_nothing(lesson: dict[str, Any]) -> None:
    assert lesson["complaints"] == []
