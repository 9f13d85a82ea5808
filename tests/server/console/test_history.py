"""The figures of the overview: what happened since the sample before, for an hour and no longer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import trio

from pynun import limits
from pynun.server.console.history import History
from pynun.server.monitoring.endpoint import Monitoring
from pynun.settings import load
from pynun.transports.tcp.connection import serve_tcp
from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER
from tests.transports.service_bench import converse, open_service

if TYPE_CHECKING:
    from pathlib import Path

    from pynun.transports.service import Service


def test_it_notes_what_happened_for_an_hour(tmp_path: Path) -> None:
    settings = load({"NUN_USER": "user", "NUN_PWD": "password", "NUN_DBS_DIR": str(tmp_path)}, {})
    monitoring = Monitoring(settings, cast("Any", None), cast("Any", None))  # of the data and logins it asks nothing
    history = History(tmp_path, monitoring)

    async def main() -> None:
        async with open_service() as service:
            monitoring.health.committer = service.committer
            history.take(service)
            commands = (f"auth {ADMIN_USER} {ADMIN_PASSWORD}", "create-db one p", "use-db one p", "set a 1", "get a")
            received = await converse(
                service, partial(_serve, service), [f"{command}\n".encode() for command in commands]
            )
            assert b"value 1\n" in received
            monitoring.loop_delay_seconds.observe(0.25)
            history.take(service)
            told = history.since(0)
            grown = {name: column[1] - column[0] for name, column in told.items()}
            assert grown["commands"] == 5
            assert grown["sent"] >= 5
            assert grown["changes"] >= 2
            assert grown["commits"] >= 1
            assert 0 < grown["commit_seconds"] < 60
            assert grown["loop_delay_seconds"] == 0.25
            assert told["memory_bytes"][0] > 1_000_000
            assert history.since(told["time"][0])["time"] == told["time"][1:]
            assert history.since(told["time"][1])["time"] == []
            for _ in range(limits.CONSOLE_SAMPLES_MAX):
                history.take(service)
            told = history.since(0)
            assert {len(column) for column in told.values()} == {limits.CONSOLE_SAMPLES_MAX}

    trio.run(main)


async def _serve(service: Service, ours: Any) -> None:  # noqa: ANN401
    await serve_tcp(ours, service, trio.Event())
