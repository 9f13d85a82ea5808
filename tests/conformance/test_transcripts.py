"""Every scenario of the recordings, on the transport it was recorded on and on the others where it fits.

`transcripts.json` and `recorded_arguments.json` (every command's arguments, complete or not) hold what the public
server really answered; `more_transcripts.json` holds, in the same format, what docs/protocol.md sections 1 to 5 say
beyond that. Each of the runs has a server of its own, for all of them create the same databases.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.transcript import (
    Scenario,
    Target,
    load_scenarios,
    over_http,
    over_tcp,
    play_and_compare,
)
from tools.clients.server import new_folder, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent

RECORDED = load_scenarios(FOLDER / "transcripts.json") + load_scenarios(FOLDER / "recorded_arguments.json")
MORE = load_scenarios(FOLDER / "more_transcripts.json")
OVER_TCP = [replayed for scenario in RECORDED + MORE if (replayed := over_tcp(scenario))]
OVER_HTTP = [replayed for scenario in RECORDED + MORE if (replayed := over_http(scenario))]


def _name(scenario: Scenario) -> str:
    return scenario.name


@pytest.fixture(scope="module", name="target")
def _target() -> Iterator[Target]:
    with new_folder() as folder, running_server(folder / "dbs") as server:
        yield Target.of(server)


@pytest.fixture(scope="module", name="default_target")
def _default_target() -> Iterator[Target]:
    defaults = {"NUN_LOGIN_BURST": "", "NUN_LOGIN_DELAY_MAX": ""}  # the recordings must be answered without a wait
    with new_folder() as folder, running_server(folder / "dbs", environment=defaults) as server:
        yield Target.of(server)


@pytest.fixture(scope="module", name="target_over_tcp")
def _target_over_tcp() -> Iterator[Target]:
    with new_folder() as folder, running_server(folder / "dbs") as server:
        yield Target.of(server)


@pytest.fixture(scope="module", name="target_over_http")
def _target_over_http() -> Iterator[Target]:
    with new_folder() as folder, running_server(folder / "dbs") as server:
        yield Target.of(server)


@pytest.mark.parametrize("scenario", RECORDED, ids=_name)
def test_recorded_scenario(default_target: Target, scenario: Scenario) -> None:
    play_and_compare(default_target, scenario)


@pytest.mark.parametrize("scenario", MORE, ids=_name)
def test_more_scenarios(target: Target, scenario: Scenario) -> None:
    play_and_compare(target, scenario)


@pytest.mark.parametrize("scenario", OVER_TCP, ids=_name)
def test_websocket_scenario_over_tcp(target_over_tcp: Target, scenario: Scenario) -> None:
    play_and_compare(target_over_tcp, scenario)


@pytest.mark.parametrize("scenario", OVER_HTTP, ids=_name)
def test_websocket_scenario_over_http(target_over_http: Target, scenario: Scenario) -> None:
    play_and_compare(target_over_http, scenario)


def test_the_replays_cover_most_scenarios() -> None:
    """A change of the rules above must not silently leave the other transports without scenarios."""
    assert len(OVER_TCP) >= 25
    assert len(OVER_HTTP) >= 8
