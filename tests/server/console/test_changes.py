"""A page that looks at what changes is told for as long as it looks."""

from __future__ import annotations

from typing import Any

import pytest

from pynun.server.console.changes import ConsoleReceiver
from tests.engine.world import World


def test_a_change_is_told_once_it_is_on_disk() -> None:
    world = World()
    world.admin("create-db shop token")
    world.commit()
    page: Any = world.connect("use-db shop token")
    page.outbox.waiting_bytes = 0
    receiver = ConsoleReceiver(page.session, page.outbox)
    receiver.execute("console-watch *")
    world.connect("use-db shop token", "set key value")
    taken = world.view.take_batch()
    assert [event.revision for event in page.outbox.events] == [taken.revision]


@pytest.mark.parametrize("end", ["unwatch", "close"])
def test_the_engine_forgets_a_page(end: str) -> None:
    world = World()
    page: Any = world.connect()  # its session, and its outbox
    receiver = ConsoleReceiver(page.session, page.outbox)
    for pattern in ("a*", "b*"):
        receiver.execute(f"console-watch {pattern}")
    assert (len(world.view.on_taken), len(world.view.on_ephemeral)) == (1, 1)
    if end == "close":
        receiver.close()
    receiver.execute("console-unwatch")
    assert (world.view.on_taken, world.view.on_ephemeral) == ([], [])
