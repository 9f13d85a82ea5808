"""Databases that have a limit are measured when they are first used, with what is not on disk yet."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
import trio.testing

from pynun.server.database_measurer import DatabaseMeasurer
from tests.engine.world import World


@pytest.mark.parametrize("batches", [1, 2])
def test_what_was_not_on_disk_yet_is_counted(batches: int) -> None:
    trio.run(_measure, batches)


async def _measure(batches: int) -> None:
    world = World()
    world.admin("create-db d pwd")
    world.commit()
    world.context = replace(world.engine.context, database_bytes_max=1000)
    world.restart()
    async with trio.open_nursery() as nursery:
        measurer = DatabaseMeasurer()
        world.on_unmeasured = measurer.ring
        nursery.start_soon(measurer.run, world.engine)
        await trio.testing.wait_all_tasks_blocked()
        client = world.connect("use-db d pwd", "set k value")
        if batches == 2:
            world.begin_commit()
            client.ask("set k2 value")
        await trio.testing.wait_all_tasks_blocked()
        if batches == 2:
            world.finish_commit()
            await trio.testing.wait_all_tasks_blocked()
        world.commit()
        database = world.engine.database("d")
        assert database.size_limit is not None
        for _ in range(10_000):
            if database.size_limit.is_known:
                break
            await trio.sleep(0.001)
        assert database.size_limit.bytes == world.store.measure_database(database.prefix, b"", 100)[1]
        nursery.cancel_scope.cancel()
