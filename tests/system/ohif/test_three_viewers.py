"""A lesson in released viewers: roles, rights, an old client, a closed laptop, a server that hangs and dies."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.node import INSTALL_SECONDS_MAX, NodeScript
from tests.support.relay import Relay
from tests.system.ohif.rooms import OldClient, viewer_room
from tests.system.ohif.viewers import PACK_SECONDS_MAX, VERSIONS
from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).parent / "three_viewers.js"
SESSION_SECONDS_MAX = 600.0
IDLE_SECONDS = 4
"""For a machine that is gone; a program that is silent on a machine that is there gets four times as long."""

pytestmark = pytest.mark.timeout(INSTALL_SECONDS_MAX + PACK_SECONDS_MAX + SESSION_SECONDS_MAX)


@pytest.fixture(scope="module", name="lesson")
def _lesson(chromium: str) -> Iterator[dict[str, Any]]:
    """What was seen in one lesson: the doctor has the older viewer, and a network of his own."""
    artifacts = REPOSITORY / "build" / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    with (
        viewer_room(*VERSIONS, NUN_IDLE_TIMEOUT=str(IDLE_SECONDS)) as (pages, server),
        Relay(server.websocket) as network,
    ):
        options = {
            "chromium": chromium,
            "urls": pages.urls,
            "paths": pages.paths,
            "server": str(server.websocket),
            "relay": f"ws://{network.address}",
            "artifacts": str(artifacts),
        }
        with NodeScript(SCRIPT, options, seconds_max=SESSION_SECONDS_MAX) as running:
            camera = running.expect("old")["camera"]
            with OldClient(server) as old:
                old.move({**camera, "parallelScale": 60}, 9)
                running.tell()
                running.expect("old heard")
                heard = old.heard()
            running.tell()
            running.expect("close laptop")
            network.take_away()
            running.tell()
            running.expect("open laptop")
            network.bring_back()
            running.tell()
            running.expect("hang")
            server.send_signal(signal.SIGSTOP)
            running.tell()
            running.expect("kill")
            server.kill()
            running.tell()
            running.expect("start")
            server.start()
            running.tell()
            result = running.done()["result"]
        (artifacts / "ohif-lesson.json").write_text(json.dumps(result, indent=1))
        yield {**result, "heard": heard, "chest": pages.urls[1] + pages.paths[0]}


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
    assert any(name.endswith(", hand raised") for name in lesson["hand"])
    assert lesson["takenOver"] == [True, True]
    assert lesson["followsBack"]
    assert lesson["everybody"] == [True, True]


def test_who_comes_late_shows_the_whole_state_at_once(lesson: dict[str, Any]) -> None:
    assert lesson["late"] == [True, lesson["chest"]], "from the list of studies"


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
    assert "pupil, hand raised" in names


def test_a_client_of_the_first_extension_leads_and_follows(lesson: dict[str, Any]) -> None:
    for panes in lesson["old"]:
        assert "scale 60.00" in panes[0]
        assert "slice 9" in panes[0]
    assert lesson["oldEcho"] <= 1, "only the one who is here longest tells the others"
    assert '"value":{"currentImageIdIndex":10}' in lesson["heard"]
    assert '"parallelScale":60' in lesson["heard"]


def test_a_viewer_opens_while_the_server_hangs_and_joins_later(lesson: dict[str, Any]) -> None:
    assert lesson["opensAlone"] == [True, 0]
    assert lesson["lateExtension"] == [True, lesson["chest"]], "it was opened with another study"


def test_a_closed_laptop_leaves_and_catches_up_when_opened(lesson: dict[str, Any]) -> None:
    assert len(lesson["afterClosing"]) == 2
    names, is_together = lesson["afterOpening"]
    assert len(names) == 3
    assert is_together
    assert lesson["isUnmovedByLaptop"]


def test_who_comes_back_from_the_list_shows_what_the_room_does(lesson: dict[str, Any]) -> None:
    assert lesson["afterList"] == [True, 1]


def test_after_a_restart_of_the_server_the_newest_state_wins(lesson: dict[str, Any]) -> None:
    assert lesson["lost"]
    assert lesson["again"]
    assert lesson["afterRestart"] == [True, True]
    assert lesson["removed"]["here"]["annotations"] == lesson["removed"]["there"]["annotations"] == []
    assert not lesson["hasJumped"]
    assert lesson["goesOn"]
    assert len(lesson["peopleAgain"]) == 3


def test_a_study_that_one_may_not_open_is_said(lesson: dict[str, Any]) -> None:
    is_told, has_stayed = lesson["refused"]
    assert is_told
    assert has_stayed
    assert lesson["refusedSent"] == []
    assert lesson["inStepAgain"]


def test_who_leaves_is_off_the_list(lesson: dict[str, Any]) -> None:
    assert len(lesson["left"]) == 2
    assert lesson["leftAfter"] < 60_000


def test_the_bar_is_reached_by_keyboard(lesson: dict[str, Any]) -> None:
    assert lesson["keyboard"]


def test_the_extension_complains_of_nothing(lesson: dict[str, Any]) -> None:
    assert lesson["complaints"] == []
