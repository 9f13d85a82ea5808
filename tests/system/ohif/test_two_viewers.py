"""What one does in a released viewer, the other sees, both ways round; nothing echoes.

The two are of different versions, so each version leads and follows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.node import INSTALL_SECONDS_MAX, NodeScript
from tests.system.ohif.rooms import viewer_room
from tests.system.ohif.viewers import PACK_SECONDS_MAX, VERSIONS
from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).parent / "two_viewers.js"
SESSION_SECONDS_MAX = 900.0
SILENT_MILLISECONDS = 200

pytestmark = pytest.mark.timeout(INSTALL_SECONDS_MAX + PACK_SECONDS_MAX + SESSION_SECONDS_MAX)


@pytest.fixture(scope="module", name="session")
def _session(chromium: str) -> Iterator[dict[str, Any]]:
    """What was seen in the session, by part."""
    artifacts = REPOSITORY / "build" / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    with viewer_room(*VERSIONS) as (pages, server):
        options = {
            "chromium": chromium,
            "urls": pages.urls,
            "paths": pages.paths,
            "server": str(server.websocket),
            "artifacts": str(artifacts),
        }
        with NodeScript(SCRIPT, options, seconds_max=SESSION_SECONDS_MAX) as running:
            result = running.done()["result"]
        (artifacts / "ohif-session.json").write_text(json.dumps(result, indent=1))
        yield {**result, "urls": options["urls"], "paths": pages.paths}


def test_who_comes_late_sees_what_the_other_does(session: dict[str, Any]) -> None:
    late = session["late"]
    assert late["here"] == late["there"]
    assert "slice 3" in late["there"]["panes"][0]


def test_a_window_whose_border_is_dragged_stays_in_step(session: dict[str, Any]) -> None:
    assert session["resized"]["here"] == session["resized"]["there"]


def test_each_thing_that_is_shared_is_seen_and_not_sent_back(session: dict[str, Any]) -> None:
    assert len(session["steps"]) == 62
    for step in session["steps"]:
        what = (step["name"], step["by"])
        assert step["error"] is None, what
        if step["name"] == "film":  # while it runs, two looks at two windows are at two images
            assert step["here"]["film"] is step["there"]["film"] is True, what
        else:
            assert step["here"] == step["there"], what
        assert step["echoes"] == [], what
        assert step["sent"] > 0, what
        assert step["isChange"], what


def test_measurements_come_with_their_label_and_kind(session: dict[str, Any]) -> None:
    there = {(step["by"], step["name"]): step["there"] for step in session["steps"]}
    for by in ("left", "right"):
        assert there[by, "measure"]["measurements"] == [""]
        assert there[by, "label the measurement"]["measurements"] == ["nodule <b>"]
        (freehand,) = there[by, "freehand"]["annotations"]
        assert "PlanarFreehandROI" in freehand
        assert freehand.endswith(" true true"), "closed and visible"
        assert any("CATMULLROM" in one for one in there[by, "spline"]["annotations"])
        assert there[by, "remove both"]["annotations"] == []
    assert session["madeBy"] == ["Ana"]


def test_a_long_drag_makes_no_more_messages_than_changes(session: dict[str, Any]) -> None:
    for drag in session["dragged"]:
        assert drag["here"] == drag["there"]
        assert 0 < drag["frames"] <= 1.2 * drag["changes"]
        assert drag["echoes"] == 0
        # Without a graphics card, and beside other tests, one frame may take longer than that.
        assert drag["silentAfter"] < max(SILENT_MILLISECONDS, 2 * drag["longestFrame"])


def test_nothing_is_sent_while_nothing_moves(session: dict[str, Any]) -> None:
    assert session["idle"] == [[], []]


def test_at_most_60_changes_a_second(session: dict[str, Any]) -> None:
    left, right, flood = session["most"]
    assert max(left, right) <= 60
    assert 20 < flood <= 60, "a connection with far more to say sends as much as it may"


def test_two_who_come_at_the_same_time_hear_of_each_other(session: dict[str, Any]) -> None:
    assert session["heard"] == 10


def test_the_time_from_camera_to_camera(session: dict[str, Any]) -> None:
    times = sorted(time for drag in session["dragged"] for time in drag["latencies"])
    figures = {
        "about": "milliseconds from a camera set in one viewer until the other has it; software rendering, one machine",
        "cameras": len(times),
        **{f"p{share}": round(times[int(share / 100 * (len(times) - 1))], 1) for share in (50, 95)},
        "silent_after_drag": [round(drag["silentAfter"], 1) for drag in session["dragged"]],
        "longest_frame": [round(drag["longestFrame"], 1) for drag in session["dragged"]],
    }
    print(json.dumps(figures))
    (REPOSITORY / "build" / "artifacts" / "ohif-latency.json").write_text(json.dumps(figures, indent=1) + "\n")
    assert len(times) > 20
    assert times[len(times) // 2] < 2000


def test_a_pointer_is_at_the_same_place_of_the_patient(session: dict[str, Any]) -> None:
    # In one pane, and in MPR.
    for pointer, name in zip(session["pointers"], ("Ana", "Ben") * 2, strict=True):
        assert set(pointer["names"]) == {name}
        assert pointer["off"] < 2


def test_hidden_segments_are_hidden_for_both(session: dict[str, Any]) -> None:
    hidden, again = session["visibility"]
    assert hidden == [["1 false", "2 true"]] * 2
    assert again == [["1 true", "2 true"]] * 2


def test_the_bar_says_that_a_document_is_not_shared(session: dict[str, Any]) -> None:
    assert session["signs"] == [[True, True], [False, False]], "while it is open"


def test_a_study_that_one_opens_opens_for_the_other(session: dict[str, Any]) -> None:
    study = session["study"]
    assert study["here"] == study["there"]
    assert study["isSamePage"], "the viewer went there without being loaded again"
    (left, right), head = session["urls"], session["paths"][1]
    assert study["addresses"] == [left + head, f"{right}ohif/{head}"], "each at its own address"
    assert session["inStudy"]["here"] == session["inStudy"]["there"]
    assert session["buttons"] == [1, 1]


def test_measurements_are_still_there_on_return(session: dict[str, Any]) -> None:
    back = session["back"]
    assert back["here"] == back["there"]
    assert len(back["there"]["annotations"]) == 1


def test_the_extension_complains_of_nothing(session: dict[str, Any]) -> None:
    assert session["complaints"] == []
