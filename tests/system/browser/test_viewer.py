"""Several people look at one study: real cornerstone viewports in a real browser, joined by the real `nun-db-react`.

The pages (pages/viewer.js, and pages/synchronisation.js which joins a viewport to the others) say on the wire what the
viewer's public extension says. One session is played once (viewer.js, which acts with mouse and wheel), from the first
two viewers to a restart of the server; each test looks at one part of it. Screenshots and the measured times are kept
in build/artifacts.
"""

from __future__ import annotations

import json
import math
import statistics
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.node import INSTALL_SECONDS_MAX, TESTS, NodeScript
from tools.clients.exact_clients import http_post
from tools.clients.server import Server, new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SESSION_SECONDS_MAX = 600.0

DATABASE = "features-of-db"
KEY = "client-ana"

# 25 moves a second, as a hand on the mouse makes them.
MOVES = 50
INTERVAL_MILLISECONDS = 40

pytestmark = pytest.mark.timeout(INSTALL_SECONDS_MAX + SESSION_SECONDS_MAX + 180)


@pytest.fixture(scope="module", name="session")
def _session(chromium: str, artifacts: Path) -> Iterator[dict[str, Any]]:
    """What was seen in the session, by part."""
    with new_folder() as folder, Server(folder / "dbs") as server:
        # The tutorial's own commands, and one more user, who may only read.
        http_post(
            server.http,
            f"auth {server.credentials}; create-db {DATABASE} {DATABASE}-pwd; use {DATABASE} {DATABASE}-pwd; "
            "create-user client client-pwd; set-permissions client r *|rwx client-*; "
            "create-user student student-pwd; set-permissions student r *",
        )
        options = {
            "chromium": chromium,
            "url": f"ws://{server.websocket}",
            "database": DATABASE,
            "key": KEY,
            "artifacts": str(artifacts),
            "moves": MOVES,
            "intervalMilliseconds": INTERVAL_MILLISECONDS,
        }
        script = TESTS / "system" / "browser" / "viewer.js"
        with NodeScript(script, options, seconds_max=SESSION_SECONDS_MAX) as running:
            running.expect("leave")
            server.stop()
            running.tell()
            running.expect("return")
            server.start()
            running.tell()
            yield running.done()["result"]


def test_two_viewers_open_the_same_study(session: dict[str, Any]) -> None:
    first = session["atFirst"]
    assert (first["study"], first["index"], first["zoom"], first["pan"]) == ("chest", 0, 1, [0, 0])


def test_one_leads_and_the_other_follows(session: dict[str, Any]) -> None:
    """Both showed this very view at the end, with equal pixels: the session goes on only then."""
    seen = session["leftLeads"]["seen"]
    assert seen["index"] == 4
    assert seen["zoom"] == pytest.approx(1.1**3)
    assert seen["pan"] == pytest.approx([40, -30], abs=0.01)


def test_then_the_other_way_round(session: dict[str, Any]) -> None:
    before, seen = session["leftLeads"]["seen"], session["rightLeads"]["seen"]
    assert seen["index"] == 2
    assert seen["zoom"] == pytest.approx(1.1**2)
    moved = [after - zoomed for after, zoomed in zip(seen["pan"], (pan / 1.1 for pan in before["pan"]), strict=True)]
    assert moved == pytest.approx([-70, 10], abs=0.01)


def test_who_follows_says_nothing(session: dict[str, Any]) -> None:
    """No echo: only the leader's changes are on the wire, and none at all when nobody moves."""
    left, right = session["leftLeads"]["sent"]
    assert left > 0
    assert right == 0
    left, right = session["rightLeads"]["sent"]
    assert left == 0
    assert right > 0
    assert session["idle"] == [0, 0]


def test_a_study_that_one_opens_opens_for_all(session: dict[str, Any]) -> None:
    assert session["otherStudy"]["study"] == "head"
    assert session["inOtherStudy"]["study"] == "head"
    assert session["inOtherStudy"]["index"] == 2


def test_with_remote_control_off_a_viewer_neither_leads_nor_follows(session: dict[str, Any]) -> None:
    part = session["remoteControl"]
    assert part["leftAlone"]["pan"] == pytest.approx([25, 25], abs=0.01)
    assert part["leftAlone"]["index"] == part["before"]["index"] == 2
    assert part["rightAlone"]["pan"] == pytest.approx([0, 0], abs=0.01)
    assert part["rightAlone"]["index"] == 7
    # On again, it is with the others from the next move on.
    assert part["onAgain"]["index"] == 2
    assert part["onAgain"]["pan"] == pytest.approx([30, 30], abs=0.01)


def test_one_who_joins_late_makes_nobody_jump(session: dict[str, Any]) -> None:
    part = session["late"]
    assert part["lateAtFirst"]["index"] == 0
    assert part["lateAtFirst"]["pan"] == [0, 0]
    assert part["othersAtFirst"] == session["remoteControl"]["onAgain"]
    assert part["seen"]["index"] == 2
    assert part["seen"]["zoom"] == pytest.approx(1.1)
    assert session["lateLeads"]["index"] == 3


def test_one_who_may_only_read_follows_but_does_not_lead(session: dict[str, Any]) -> None:
    part = session["readOnly"]
    assert part["refusals"] == ["permission denied"]
    assert part["untouched"] == part["followed"]
    assert part["alone"]["index"] == 0
    assert part["alone"]["pan"][0] == pytest.approx(part["followed"]["pan"][0] + 60, abs=0.01)
    assert part["followedAgain"]["index"] == part["followed"]["index"] + 1


def test_the_session_goes_on_after_a_restart_of_the_server(session: dict[str, Any]) -> None:
    part = session["restart"]
    # A move while it was away is seen here only, and kept by the client until the server is back.
    assert part["away"]["left"] != part["away"]["right"]
    assert part["pushed"]["focalPoint"] == part["away"]["left"]["camera"]["focalPoint"]
    # Then both lead and follow as before.
    assert part["backRight"]["index"] == part["away"]["right"]["index"] - 1
    assert part["backLeft"]["zoom"] == pytest.approx(part["backRight"]["zoom"] / 1.1**2)
    # A change that could not be sent is not one that was refused.
    assert part["readOnly"] == [False, False]


def test_the_pages_had_no_trouble_but_the_clients_own(session: dict[str, Any]) -> None:
    """`nun-db-react` takes the features for an object even where the database has none; applications live with it."""
    own = "Cannot convert undefined or null to object"
    assert session["errors"] == {name: [own] for name in ("left", "right", "late", "student")}


def test_the_time_from_a_move_to_the_other_browser(session: dict[str, Any], artifacts: Path) -> None:
    """Measured with both pages' clocks set by the machine's, and written to build/artifacts/viewer-latency.json."""
    measured = session["latencies"]
    figures = {
        "about": "milliseconds from a move of the camera in one browser until the other has heard of it, has set its "
        "camera, has drawn the picture (software rendering, both browsers on this machine); message: from a change "
        "that nothing is drawn for until the other has heard of it",
        "moves": measured["sent"],
        "interval_ms": INTERVAL_MILLISECONDS,
        **{f"{kind}_ms": percentiles(measured[kind]) for kind in ("message", "received", "applied", "rendered")},
    }
    (artifacts / "viewer-latency.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))
    assert measured["sent"] == MOVES
    # A viewer that is slow to draw may be spared some; never the last one, which the session waited for.
    assert len(measured["applied"]) > MOVES / 2
    # An idle machine takes a few milliseconds; what draws by software on a busy one may be ten times as slow.
    assert statistics.median(measured["message"]) < 500
    assert statistics.median(measured["applied"]) < 1000
    # Before the move it can't have been. The clocks of two pages agree to a tenth of a millisecond, or to a few where
    # the machine stops now and then.
    assert min(*measured["message"], *measured["received"]) > -5


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return the 50th and the 95th percentile and the largest of some times, to a hundredth."""
    ordered = sorted(values)
    ranks = {"p50": 0.5, "p95": 0.95, "max": 1.0}
    return {name: round(ordered[math.ceil(rank * len(ordered)) - 1], 2) for name, rank in ranks.items()}
