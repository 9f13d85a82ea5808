"""Released viewers at different nodes of a cluster: they go on over their connections when the owner is killed."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import running_nodes, wait_until
from tests.support.etcd import running_etcd
from tests.support.node import INSTALL_SECONDS_MAX, NodeScript
from tests.system.cluster.test_nodes import health
from tests.system.ohif.rooms import OldClient, create_users, viewer_pages
from tests.system.ohif.viewers import PACK_SECONDS_MAX, VERSIONS
from tools.clients.server import REPOSITORY

SCRIPT = Path(__file__).parent / "two_nodes.js"
SESSION_SECONDS_MAX = 400.0

pytestmark = pytest.mark.timeout(INSTALL_SECONDS_MAX + PACK_SECONDS_MAX + SESSION_SECONDS_MAX)


def test_viewers_at_two_nodes_stay_in_step_and_outlive_the_owner(chromium: str, disk_folder: Path) -> None:
    """With a client of the first extension at the owner."""
    with running_etcd() as etcd, running_nodes(etcd, disk_folder, name="viewers") as nodes:
        owner = nodes.wait_for_owner()
        edges = nodes.others(owner)
        create_users(nodes.servers[owner])
        for server in edges:
            wait_until(lambda server=server: health(server) == (200, "ok\n"), server.log_text())  # type: ignore[misc]
        with viewer_pages(*zip(list(VERSIONS), edges, strict=True)) as pages:
            options = {"chromium": chromium, "urls": pages.urls, "paths": pages.paths}
            with NodeScript(SCRIPT, options, seconds_max=SESSION_SECONDS_MAX) as script:
                camera = script.expect("old")["camera"]
                old = OldClient(nodes.servers[owner])
                old.move({**camera, "parallelScale": 60}, 9)
                script.tell()
                script.expect("old heard")
                heard = old.heard()
                script.tell()
                script.expect("hang")
                nodes.servers[owner].send_signal(signal.SIGSTOP)
                script.tell()
                script.expect("kill")
                nodes.servers[owner].kill()
                old.abandon()
                script.tell()
                script.expect("old again")
                with OldClient(edges[0]) as again:
                    heard_again = again.heard()
                script.tell()
                script.expect("sleep")
                sleeper = next(server for server in nodes.others(nodes.wait_for_owner()) if server in edges)
                sleeper.send_signal(signal.SIGSTOP)
                script.tell(asleep=edges.index(sleeper))
                script.expect("wake")
                sleeper.send_signal(signal.SIGCONT)
                script.tell()
                seen: dict[str, Any] = script.done()["result"]
    artifacts = REPOSITORY / "build" / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    (artifacts / "ohif-two-nodes.json").write_text(json.dumps(seen, indent=1))
    print(f"milliseconds from the kill until the other viewer moved: {seen['pauseMs']}")
    assert seen["late"]["here"] == seen["late"]["there"]
    assert "slice 3" in seen["late"]["there"]["panes"][0]
    for shown in (seen["old"]["here"], seen["old"]["there"]):
        assert "slice 9" in shown["panes"][0]
        assert "scale 60.00" in shown["panes"][0]
    assert seen["byRight"]["here"] == seen["byRight"]["there"]
    assert '"value":{"currentImageIdIndex":10}' in heard
    assert len(seen["measured"]["there"]["annotations"]) == 1
    # What was under way when the owner was killed.
    assert "slice 12" in seen["wanted"]["panes"][0]
    assert seen["wanted"]["annotations"] == []
    assert seen["after"]["here"] == seen["after"]["there"] == seen["wanted"]
    assert seen["hand"][1] == "Ana, hand raised"
    assert seen["pointer"]["names"] == ["Ana"]
    assert seen["pointer"]["off"] < 2
    # What came later.
    assert seen["goesOn"]["here"] == seen["goesOn"]["there"]
    assert "slice 13" in seen["goesOn"]["there"]["panes"][0]
    assert '"value":{"currentImageIdIndex":13}' in heard_again
    assert seen["people"] == [["Ana (you), hand raised", "Ben"], ["Ben (you)", "Ana, hand raised"]]
    assert len(seen["alone"]) == 1
    assert len(seen["back"]) == 2
    assert seen["sockets"] == [1, 1], "a viewer connected again"
    assert seen["echoes"] == []
    assert seen["complaints"] == []
