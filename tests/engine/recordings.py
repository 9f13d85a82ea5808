"""Plays the recorded conversations without any transport: on the engine alone, and on its model.

What a transport adds is done here by the contract's rules: `;` splits frames, a line is a command, HTTP trims and skips
empty ones and joins first results (docs/protocol.md section 1). Recordings that are about the bytes themselves are
those of the transports' own tests.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pynun.protocol.framing import http_commands, websocket_commands
from tests.engine.model_sessions import Client as ModelClient
from tests.engine.model_sessions import Model
from tests.engine.world import ADDRESS, ADMIN_PASSWORD, ADMIN_USER, START_NS, Client, World
from tests.support.transcript import CLOSE, HTTP, OPEN, Scenario, load_scenarios

if TYPE_CHECKING:
    from collections.abc import Callable

_FOLDER = Path(__file__).parents[1] / "conformance"
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_LONG_NUMBER = re.compile(r"(?<![0-9])[0-9]{17,20}(?![0-9])")


class Talker(Protocol):
    """One client of whatever is played on."""

    def say(self, text: str) -> None:
        """Run one command."""

    def take(self) -> list[str]:
        """What it was told since the last time."""

    def leave(self) -> None:
        """Go away."""


class EngineTalker:
    """A session of the real engine."""

    def __init__(self, world: World) -> None:
        self._client = Client(world)

    def say(self, text: str) -> None:
        """Run one command."""
        self._client.world.time_ns += 1
        self._client.world.settle(self._client.session.execute(text))

    def take(self) -> list[str]:
        """What it was told since the last time."""
        return self._client.outbox.take()

    def leave(self) -> None:
        """Go away."""
        self._client.close()


class ModelTalker:
    """A session of the model, which gets its words as pynun/protocol reads them."""

    def __init__(self, model: Model) -> None:
        self._model, self._client = model, ModelClient()

    def say(self, text: str) -> None:
        """Run one command."""
        self._model.now += 1
        self._model.execute(self._client, text.replace("\n", "").rstrip(";"))

    def take(self) -> list[str]:
        """What it was told since the last time."""
        told, self._client.told = self._client.told, []
        return told

    def leave(self) -> None:
        """Go away."""
        self._model.leave(self._client)


def engine_talkers() -> Callable[[], Talker]:
    """A new engine's way to make clients."""
    world = World()
    return lambda: EngineTalker(world)


def model_talkers() -> Callable[[], Talker]:
    """A new model's way to make clients."""
    model = Model(ADMIN_PASSWORD)
    model.now = START_NS
    return lambda: ModelTalker(model)


def play(scenario: Scenario, connect: Callable[[], Talker]) -> None:
    """Play a scenario; fails at the first step that is answered otherwise."""
    admin = f"{ADMIN_USER} {ADMIN_PASSWORD}"
    talkers: dict[str, Talker] = {}
    seen: list[str] = []
    for body in scenario.setup:
        _post(connect, f"auth {admin};{body}")
    for step in scenario.steps:
        text = step.send.replace("{ADMIN}", admin)
        for index, number in enumerate(seen):
            text = text.replace(f"{{OPP{index}}}", number)
        received: dict[str, list[str]] = {}
        if step.on == HTTP:
            received[HTTP] = [_post(connect, text)]
        elif text == OPEN:
            talkers[step.on] = connect()
            if step.on.startswith("t"):
                received[step.on] = ["ok \n"]
        elif text == CLOSE:
            talkers.pop(step.on).leave()
        else:
            for command in _commands(step.on, text):
                talkers[step.on].say(command)
        for name, talker in talkers.items():
            if told := talker.take():
                received[name] = received.get(name, []) + _messages(name, told)
        for message in (message for messages in received.values() for message in messages):
            seen += [number for number in _LONG_NUMBER.findall(message) if number not in seen]
        if step.receive != "any":
            shown = {name: [_shown(message) for message in messages] for name, messages in received.items()}
            assert shown == step.receive, f"{scenario.name}: {step.on} {step.send!r}"


def _commands(name: str, text: str) -> list[str]:
    if name.startswith("w"):
        return list(websocket_commands(text))
    return [line.removesuffix("\r") for line in text.split("\n")[:-1]]


def _messages(name: str, told: list[str]) -> list[str]:
    return told if name.startswith("w") else _LINE.findall("".join(told))


def _shown(message: str) -> str:
    return _LONG_NUMBER.sub("<OPPID>", message).replace(ADDRESS, "<TCP-ADDR>")


def _post(connect: Callable[[], Talker], body: str) -> str:
    talker = connect()
    results = []
    for command in http_commands(body):
        talker.say(command)
        told = [message for message in talker.take() if not _is_event(message)]
        results.append(_result(told))
    talker.leave()
    return ";".join(results)


def _is_event(message: str) -> bool:
    return message.startswith(("changed ", "changed-version ", "removed "))


def _result(told: list[str]) -> str:
    if len(told) > 1:
        return told[0]
    return "empty" if told == ["ok \n"] else told[0].removeprefix("error ").removesuffix(" \n")


def recordings() -> list[Scenario]:
    """Every scenario of the recordings that is about commands, and not about the bytes of a transport."""
    scenarios = []
    for name in ("transcripts.json", "recorded_arguments.json", "more_transcripts.json"):
        for scenario in load_scenarios(_FOLDER / name):
            steps = [step for step in scenario.steps if step.on.startswith("t") and step.send not in (OPEN, CLOSE)]
            if all(step.send.endswith("\n") for step in steps):
                scenarios.append(scenario)
    return scenarios
