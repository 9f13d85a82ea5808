"""The recorded conversations on the engine alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.engine.recordings import engine_talkers, play, recordings

if TYPE_CHECKING:
    from tests.support.transcript import Scenario


@pytest.mark.parametrize("scenario", [pytest.param(one, id=one.name) for one in recordings()])
def test_the_engine_alone_answers_as_recorded(scenario: Scenario) -> None:
    play(scenario, engine_talkers())


def test_the_player_sees_a_wrong_answer() -> None:
    scenario = next(one for one in recordings() if one.name == "versions")
    step = replace(scenario.steps[3], receive={"w1": ["value-version 5 five\n", "ok \n"]})
    with pytest.raises(AssertionError, match="get-safe k"):
        play(replace(scenario, steps=(*scenario.steps[:3], step)), engine_talkers())
