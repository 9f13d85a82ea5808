"""The player of conversations itself: it must notice what is wrong, and convert between transports by the rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.transcript import Scenario, Step, Target, load_scenarios, over_http, over_tcp, play_and_compare

if TYPE_CHECKING:
    from tools.clients.server import Server

FOLDER = Path(__file__).parent


def _scenario(*steps: Step, setup: tuple[str, ...] = ()) -> Scenario:
    return Scenario("a-scenario", "made here", setup, steps)


OPENED = Step("w1", "<open>", {})


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(Step("w1", "nonsense", {"w1": ["ok \n"]}), id="another-message"),
        pytest.param(Step("w1", "nonsense", {}), id="a-message-too-many"),
        pytest.param(Step("w1", "nonsense", {"w1": ["error unknown command: nonsense \n"] * 2}), id="one-too-few"),
        pytest.param(Step("http", "nonsense", {"http": ["empty"]}), id="another-body"),
    ],
)
def test_a_wrong_answer_is_noticed(shared_server: Server, step: Step) -> None:
    with pytest.raises(AssertionError, match="expected"):
        play_and_compare(Target.of(shared_server), _scenario(OPENED, step), answer_seconds_max=0.3)


def test_an_unexpected_event_is_noticed(shared_server: Server) -> None:
    scenario = _scenario(
        OPENED,
        Step("w1", "use-db player-event pwd", {"w1": ["ok \n"]}),
        Step("w1", "watch k", {"w1": ["ok \n"]}),
        Step("http", "use-db player-event pwd; set k 1", {"http": ["empty;empty"]}),
        setup=("create-db player-event pwd",),
    )
    with pytest.raises(AssertionError, match="changed k 1"):
        play_and_compare(Target.of(shared_server), scenario)


def test_a_frame_of_commands_becomes_lines() -> None:
    scenario = _scenario(
        OPENED, Step("w1", "get a;get b", {"w1": ["error permission denied\n \n", "resolve 1", "ok \n"]})
    )
    converted = over_tcp(scenario)
    assert converted is not None
    assert [step.on for step in converted.steps] == ["t-w1", "t-w1"]
    assert converted.steps[0].receive == {"t-w1": ["ok \n"]}
    assert converted.steps[1].send == "get a\nget b\n"
    assert converted.steps[1].receive == {"t-w1": ["error permission denied\n", " \n", "resolve 1ok \n"]}


def test_a_conversation_becomes_one_body() -> None:
    scenario = _scenario(
        OPENED,
        Step("w1", "use-db d t;", {"w1": ["ok \n", "error empty command \n"]}),
        Step("w1", "get a", {"w1": ["value 1\n", "ok \n"]}),
        Step("w1", "set a 1", {"w1": ["permission denied\n", "error permission denied\n \n"]}),
        Step("w1", "nope", {"w1": ["error unknown command: nope \n"]}),
    )
    converted = over_http(scenario)
    assert converted is not None
    assert [(step.send, step.receive) for step in converted.steps] == [
        ("use-db d t; get a; set a 1; nope", {"http": ["empty;value 1\n;permission denied\n;unknown command: nope"]})
    ]


def test_what_does_not_fit_is_left_out() -> None:
    assert over_tcp(_scenario(OPENED, Step("w1", "get a;;get b", {"w1": ["ok \n"] * 3}))) is None
    assert over_tcp(_scenario(Step("http", "get a", {"http": [""]}))) is None
    assert over_http(_scenario(OPENED, Step("w1", "watch a", {"w1": ["ok \n"]}))) is None
    assert over_http(_scenario(OPENED, Step("w2", "<open>", {}))) is None
    assert over_http(_scenario(OPENED, Step("w1", "set a 1 ", {"w1": ["ok \n"]}))) is None


def test_the_recordings_are_whole() -> None:
    assert len(load_scenarios(FOLDER / "transcripts.json")) == 18
    assert len(load_scenarios(FOLDER / "more_transcripts.json")) >= 55
