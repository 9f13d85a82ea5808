"""What one does in a released viewer, the other sees, both ways round; nothing echoes."""

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

pytestmark = pytest.mark.timeout(INSTALL_SECONDS_MAX + PACK_SECONDS_MAX + SESSION_SECONDS_MAX)


@pytest.fixture(scope="module", name="session", params=list(VERSIONS))
def _session(request: pytest.FixtureRequest, chromium: str) -> Iterator[dict[str, Any]]:
    """What was seen in one session, by part."""
    artifacts = REPOSITORY / "build" / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    with viewer_room(request.param) as room:
        options = {
            "chromium": chromium,
            "url": room.url,
            "paths": room.paths,
            "artifacts": str(artifacts),
            "version": room.version,
            # The older viewer does each thing once, to save time.
            "isBothWays": request.param == list(VERSIONS)[-1],
        }
        with NodeScript(SCRIPT, options, seconds_max=SESSION_SECONDS_MAX) as running:
            result = running.done()["result"]
        (artifacts / f"ohif-{room.version}.json").write_text(json.dumps(result, indent=1))
        yield {**result, "version": room.version}


def test_who_comes_late_sees_what_the_other_does(session: dict[str, Any]) -> None:
    late = session["late"]
    assert late["here"] == late["there"]
    assert "slice 3" in late["there"]["panes"][0]


def test_each_thing_that_is_shared_is_seen_and_not_sent_back(session: dict[str, Any]) -> None:
    assert len(session["steps"]) == (52 if session["version"] == list(VERSIONS)[-1] else 26)
    for step in session["steps"]:
        what = (step["name"], step["by"])
        if step["name"] == "film":  # while it runs, two looks at two windows are at two images
            assert step["here"]["film"] is step["there"]["film"] is True, what
        else:
            assert step["here"] == step["there"], what
        assert step["echoes"] == [], what
        assert step["sent"] > 0, what
    # Windows of two sizes, and what the viewer itself counts, are the same as well.
    measured = [step for step in session["steps"] if step["name"] == "measure"]
    assert all(step["there"]["measurements"] == 1 for step in measured)


def test_a_long_drag_makes_no_more_messages_than_changes(session: dict[str, Any]) -> None:
    for drag in session["dragged"]:
        assert drag["here"] == drag["there"]
        assert 0 < drag["frames"] <= 1.2 * drag["changes"]
        assert drag["mostInASecond"] <= 60
        assert drag["echoes"] == 0
        assert drag["silentAfter"] < 1000, "200 ms on a quiet machine"


def test_nothing_is_sent_while_nothing_moves(session: dict[str, Any]) -> None:
    assert session["idle"] == [[], []]


def test_the_time_from_camera_to_camera(session: dict[str, Any]) -> None:
    times = sorted(time for drag in session["dragged"] for time in drag["latencies"])
    figures = {
        "about": "milliseconds from a camera set in one viewer until the other has it; software rendering, one machine",
        "cameras": len(times),
        **{f"p{share}": round(times[int(share / 100 * (len(times) - 1))], 1) for share in (50, 95)},
    }
    print(json.dumps(figures))
    (REPOSITORY / "build" / "artifacts" / "ohif-latency.json").write_text(json.dumps(figures, indent=1) + "\n")
    assert len(times) > 20
    assert times[len(times) // 2] < 2000


def test_a_pointer_is_at_the_same_place_of_the_patient(session: dict[str, Any]) -> None:
    for pointer, name in zip(session["pointers"], ("Ana", "Ben"), strict=True):
        assert pointer["names"] == [name]
        assert pointer["off"][0] < 2


def test_hidden_segments_are_hidden_for_both(session: dict[str, Any]) -> None:
    hidden, again = session["visibility"]
    assert hidden == [["1 false", "2 true"]] * 2
    assert again == [["1 true", "2 true"]] * 2


def test_a_study_that_one_opens_opens_for_the_other(session: dict[str, Any]) -> None:
    study = session["study"]
    assert study["here"] == study["there"]
    assert study["isSamePage"], "the viewer went there without being loaded again"
    assert session["inStudy"]["here"] == session["inStudy"]["there"]
    assert session["buttons"] == [1, 1]


def test_the_extension_complains_of_nothing(session: dict[str, Any]) -> None:
    assert session["complaints"] == []
