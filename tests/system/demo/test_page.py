"""The page in real browsers: what one does is seen by the others, whatever happens to them or the server."""

from __future__ import annotations

import colorsys
import json
import re
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.node import NodeScript, require_node
from tests.system.demo.running import Demo
from tools.clients.exact_clients import WebSocketClient
from tools.clients.server import Address

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).parent / "page.js"
SCENARIO_SECONDS_MAX = 500
HOSTILE_NAME = "<img src=x onerror=a()>"
"""As long as a name may be, so that it is not made harmless by being cut."""

pytestmark = pytest.mark.timeout(600)


class Browsers:
    """The browser, and a demo for its pages; runs the scenarios of the script."""

    def __init__(self, demo: Demo, endpoint: str) -> None:
        self.demo = demo
        self._endpoint = endpoint

    def begin(self, scenario: str) -> NodeScript:
        """Return a scenario that has begun."""
        options = {"scenario": scenario, "url": self.demo.url, "chromium": self._endpoint}
        return NodeScript(SCRIPT, options, seconds_max=SCENARIO_SECONDS_MAX)

    def result(self, scenario: str) -> dict[str, Any]:
        """Run a scenario that needs no orders."""
        with self.begin(scenario) as running:
            found = running.done()["result"]
        assert isinstance(found, dict)
        return found


@pytest.fixture
def browsers(chromium: str, disk_folder: Path) -> Iterator[Browsers]:
    """A browser and a running demo of the test's own; the test is skipped where something is missing."""
    require_node()
    with Demo("--data-dir", str(disk_folder / "data")) as running:
        yield Browsers(running, chromium)


def test_every_way_to_move_the_picture_is_followed_within_a_second_and_nothing_echoes(browsers: Browsers) -> None:
    steps = browsers.result("following")["steps"]
    assert len(steps) == 18
    for step in steps:
        assert step["here"] == step["there"], step
        assert step["echoes"] == 0, step
    # Of the usual one: a machine that is busy with something else may hold up any single one.
    assert statistics.median(step["waited"] for step in steps) < 1000, steps


def test_at_most_one_message_leaves_in_a_frame_and_the_last_move_arrives(browsers: Browsers) -> None:
    found = browsers.result("measuring")
    print(f"latency in ms: {found['latency']}; round trip in ms: {found['roundTrip']}")
    assert found["here"] == found["there"]
    assert found["messages"] <= found["frames"] + 2
    assert found["viewsMax"] == 1
    assert found["latency"]["p50"] < 1000
    assert float(found["roundTrip"]["p50"]) < 1000


def test_the_picture_does_not_move_under_a_hand(browsers: Browsers) -> None:
    found = browsers.result("dragging")
    assert found["held"] == found["stillHeld"]
    assert found["here"] == found["there"] != found["held"]


def test_people_are_seen_with_name_and_pointer_and_disappear_when_they_leave(browsers: Browsers) -> None:
    found = browsers.result("people")
    assert found["label"] == 'Ben; Bè ^ "x"'
    assert found["offset"]["x"] == pytest.approx(60, abs=2)
    assert found["offset"]["y"] == pytest.approx(30, abs=2)
    assert found["here"] == found["there"]
    assert "Slice 7/25" in found["here"]
    assert len(set(found["colours"])) == 3
    assert found["died"] < 5000, "by the roll call after its connection ended, not by its silence of seven seconds"


def test_what_others_write_stays_text_and_who_is_silent_disappears(browsers: Browsers) -> None:
    demo = browsers.demo
    told = demo.configuration()
    with browsers.begin("hostile") as running:
        running.expect("hostile")
        with WebSocketClient(Address("127.0.0.1", demo.websocket_port)) as client:
            client.ask(f"use-db {told['database']} {told['user']} {told['token']}")
            for key, value in (
                ("demo-people", {"name": HOSTILE_NAME, "colour": "red;background:url(//x)"}),
                ("demo-people", None),
                ("demo-pointer", {"x": 1, "y": 2, "isDown": "<b>"}),
                ("demo-view", {"x": "1", "y": 0, "zoom": 1, "slice": 3, "level": 1, "width": 1}),
                ("demo-view", {"x": 0, "y": 0, "zoom": 1, "slice": 3, "level": 1}),
                ("demo-view", "moved"),
                ("demo-hello", {}),
            ):
                content = json.dumps({"_id": 1, "from": "intruder", "value": value})
                client.ask(f"set-safe {key} -1 {content.replace(';', chr(92) + 'u003b')}")
            for text in ("not JSON", "{", "null", "7", "[]", '{"from":{},"value":[]}', ""):
                for key in ("demo-view", "demo-people", "demo-pointer", "demo-hello"):
                    client.ask(f"set-safe {key} -1 {text}")
            running.tell()
            found = running.done()["result"]
    assert found["names"][0] == HOSTILE_NAME
    assert found["label"] == HOSTILE_NAME
    assert (found["injected"], found["isRun"], found["pointers"]) == (0, False, 0)
    assert found["before"] == found["after"]


def test_the_pages_go_on_after_the_server_was_killed_and_started_again(browsers: Browsers, disk_folder: Path) -> None:
    demo = browsers.demo
    with browsers.begin("restarting") as running:
        for order in ("restart", "restart empty"):
            assert running.expect(order)["phase"] == "kill"
            demo.kill()
            running.tell()
            assert running.expect(order)["phase"] == "start"
            if order == "restart empty":
                demo.options = ("--data-dir", str(disk_folder / "empty"))
            demo.start()
            running.tell()
        results = running.done()["result"]["results"]
    for found, slice_number in zip(results, (10, 15), strict=True):
        assert found["lost"] == "Connection lost, trying again…"
        assert found["here"] == found["there"]
        assert f"Slice {slice_number}/25" in found["here"]


def test_it_fits_a_small_phone_and_fingers_move_and_enlarge_the_picture(browsers: Browsers) -> None:
    found = browsers.result("phone")
    layout = found["layout"]
    assert layout["scrollWidth"] <= layout["width"] == 360
    assert layout["stage"]["height"] > 280
    for place in layout["sizes"]:
        assert place["left"] >= 0, place
        assert place["right"] <= 360, place
        assert place["bottom"] <= layout["height"], place
    assert found["touching"] == 1
    assert found["start"] != found["moved"] == found["movedThere"]
    assert found["pinched"] == found["pinchedThere"]
    zoom = re.search(r"Zoom ([0-9]+) %", found["pinched"])
    assert zoom is not None
    assert int(zoom[1]) == pytest.approx(233, abs=12)  # fingers from 60 to 140 pixels apart
    assert found["last"] == found["lastThere"]
    assert "Slice 13/25" in found["last"]
    assert "L 36  W 84" in found["pinched"]
    assert "L 36  W 84" not in found["last"]


def test_a_phone_can_scan_the_address_and_a_button_copies_it(browsers: Browsers) -> None:
    results = browsers.result("inviting")["results"]
    assert len(results) == 3
    for found in results:
        assert found["scanned"] == found["copied"] == found["address"]


HUES = {
    **{"Coral": (5, 20), "Orange": (25, 40), "Golden": (40, 50), "Lime": (70, 90), "Green": (140, 160)},
    **{"Blue": (190, 230), "Violet": (255, 280), "Pink": (315, 345)},
}


def test_what_is_shown_is_told_apart_and_fits_every_size(browsers: Browsers) -> None:
    found = browsers.result("looking")
    assert re.findall("connect", found["header"].lower()) == ["connect"]
    assert "1 session" in found["header"]
    assert re.fullmatch(r"Measured \d of 10…", found["waiting"]["text"])
    assert not found["waiting"]["isShown"]
    assert found["trips"] >= 10
    assert len({person["name"] for person in found["people"]}) == 2
    for person in found["people"]:
        colour, bird = person["name"].split(" ")
        red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", person["colour"]))
        low, high = HUES[colour]
        assert low <= colorsys.rgb_to_hsv(red, green, blue)[0] * 360 <= high, person
        assert bird == "Owl"
    for size in found["sizes"]:
        assert (size["outside"], size["cut"]) == ([], []), size["width"]
    tablet = found["sizes"][2]
    assert tablet["stage"]["width"] == tablet["width"] == 768
    assert tablet["side"]["bottom"] - tablet["last"]["bottom"] < tablet["height"] / 10
