"""The recorded conversations on the engine alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.engine.recordings import CREATE_USER_REFUSED, engine_talkers, play, recordings
from tests.support.transcript import Scenario, with_expected


def corrected(scenario: Scenario) -> Scenario:
    """The scenario with the one answer in it that is wrong on purpose."""
    if scenario.name == "admin":
        return with_expected(scenario, 11, "create-user u1", {"w1": CREATE_USER_REFUSED})
    return scenario


@pytest.mark.parametrize("scenario", [pytest.param(corrected(one), id=one.name) for one in recordings()])
def test_the_engine_alone_answers_as_recorded(scenario: Scenario) -> None:
    play(scenario, engine_talkers())


def test_the_player_sees_a_wrong_answer() -> None:
    scenario = next(one for one in recordings() if one.name == "versions")
    step = replace(scenario.steps[3], receive={"w1": ["value-version 5 five\n", "ok \n"]})
    with pytest.raises(AssertionError, match="get-safe k"):
        play(replace(scenario, steps=(*scenario.steps[:3], step)), engine_talkers())
