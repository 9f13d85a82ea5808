"""The player of recorded conversations: sends each step to a server and collects all that arrives on any connection.

A recording is a JSON list of scenarios `{name, about, setup, steps, better}`. `setup` holds bodies posted over HTTP
after `auth USER PWD;`. A step `{on, send, receive}` sends one text on the connection `on` (`w…` WebSocket, `t…` TCP,
`http` one POST) and names what then arrives, per connection. In `send`, `<open>` and `<close>` open and close the
connection, `{ADMIN}` stands for `USER PWD` of the admin, `{OPP0}`, `{OPP1}` … for the first, second … distinct number
of 17 to 20 digits seen in a message. In `receive` such numbers are `<OPPID>` and the server's TCP address is
`<TCP-ADDR>`. `better` maps a step's number to what is expected instead of `receive`, or to "any".

The player takes addresses only, so that it can hold any server against a recording.
"""

from __future__ import annotations

import json
import re
import select
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, cast

from tools.clients.exact_clients import Connection, TcpClient, WebSocketClient, http_post

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.clients.server import Address, Server

Received = dict[str, list[str]]
Expected = Received | Literal["any"]

HTTP = "http"
OPEN = "<open>"
CLOSE = "<close>"

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_LONG_NUMBER = re.compile(r"(?<![0-9])[0-9]{17,20}(?![0-9])")


@dataclass(frozen=True, slots=True)
class Step:
    """One text sent, and what must arrive then, per connection ("any": whatever it is)."""

    on: str
    send: str
    receive: Expected
    hint: Received = field(default_factory=dict)  # what the recording holds; tells how long "any" is waited for


@dataclass(frozen=True, slots=True)
class Scenario:
    """One recorded conversation."""

    name: str
    about: str
    setup: tuple[str, ...]
    steps: tuple[Step, ...]

    def connections(self) -> set[str]:
        """Return the names of the connections that it opens."""
        return {step.on for step in self.steps} - {HTTP}


def load_scenarios(path: Path) -> list[Scenario]:
    """Read a recording, with its `better` answers in place of the recorded ones."""
    scenarios = []
    for entry in json.loads(path.read_text(encoding="utf-8")):
        better = cast("dict[str, Expected]", entry.get("better", {}))
        unknown = {int(number) for number in better} - set(range(len(entry["steps"])))
        assert not unknown, f"{entry['name']}: `better` names steps that do not exist: {unknown}"
        steps = tuple(
            Step(step["on"], step["send"], better.get(str(number), step["receive"]), _hint(step["on"], step["receive"]))
            for number, step in enumerate(entry["steps"])
        )
        scenarios.append(Scenario(entry["name"], entry["about"], tuple(entry["setup"]), steps))
    names = [scenario.name for scenario in scenarios]
    assert len(set(names)) == len(names), f"two scenarios of one name in {path}"
    return scenarios


def _hint(on: str, receive: Expected) -> Received:
    """Return what to wait for when the answer may be anything: as much as was recorded, else one message."""
    return {on: [""]} if receive == "any" else receive


@dataclass(frozen=True, slots=True)
class Target:
    """A server to play against: its addresses and its admin."""

    websocket: Address
    http: Address
    tcp: Address
    credentials: str
    tcp_address_text: str  # how the server shows its TCP address

    @classmethod
    def of(cls, server: Server) -> Target:
        """Return the target that a test's server is."""
        return cls(server.websocket, server.http, server.tcp, server.credentials, str(server.tcp))


@dataclass(frozen=True, slots=True)
class Played:
    """One step that was played, and what arrived."""

    number: int
    step: Step
    received: Received

    def is_as_expected(self) -> bool:
        """Whether what arrived is what the step names."""
        return self.step.receive == "any" or self.received == self.step.receive

    def __str__(self) -> str:
        return (
            f"step {self.number} on {self.step.on}: {self.step.send!r}\n"
            f"  expected {self.step.receive!r}\n  received {self.received!r}"
        )


class Player:
    """Plays scenarios on one server.

    After each step everything is collected until what the step names has arrived (or `answer_seconds_max` are over)
    and then nothing more for `quiet_seconds`. A message that comes later still is not lost: it is found in the next
    step; the last one, and those that close a connection, are followed by a longer wait.
    """

    LAST_QUIET_SECONDS = 0.05

    def __init__(self, target: Target, *, quiet_seconds: float = 0.12, answer_seconds_max: float = 30.0) -> None:
        self._target = target
        self._quiet_seconds = quiet_seconds
        self._answer_seconds_max = answer_seconds_max
        self._connections: dict[str, Connection] = {}
        self._http: list[str] = []
        self._numbers: list[str] = []

    def play(self, scenario: Scenario) -> Iterator[Played]:
        """Play a scenario step by step, and yield what arrived after each."""
        self._connections, self._http, self._numbers = {}, [], []
        try:
            for body in scenario.setup:
                answer = http_post(self._target.http, f"auth {self._target.credentials};{body}")
                assert answer.startswith("valid auth\n;"), f"{scenario.name}: setup {body!r} answered {answer!r}"
            for number, step in enumerate(scenario.steps):
                self._send(step)
                is_last = number == len(scenario.steps) - 1
                yield Played(number, step, self._collect(step, is_last=is_last))
        finally:
            for connection in self._connections.values():
                connection.abandon()

    def _send(self, step: Step) -> None:
        text = step.send.replace("{ADMIN}", self._target.credentials)
        for index, number in enumerate(self._numbers):
            text = text.replace(f"{{OPP{index}}}", number)
        if step.on == HTTP:
            self._http.append(http_post(self._target.http, text))
        elif text == OPEN:
            self._connections[step.on] = (
                WebSocketClient(self._target.websocket)
                if step.on.startswith("w")
                else TcpClient(self._target.tcp, greeting=False)
            )
        elif text == CLOSE:
            self._connections[step.on].close()
        elif isinstance(connection := self._connections[step.on], TcpClient):
            connection.send_bytes(text.encode())
        else:
            connection.send(text)

    def _collect(self, step: Step, *, is_last: bool) -> Received:
        deadline = time.monotonic() + self._answer_seconds_max
        quiet_seconds = self._quiet_seconds
        if is_last or step.send == CLOSE or step.receive == "any":
            quiet_seconds = max(quiet_seconds, self.LAST_QUIET_SECONDS)
        expected = step.hint if step.receive == "any" else step.receive
        received: Received = {}
        while True:
            has_all = all(self._count(name, received) >= len(messages) for name, messages in expected.items())
            waiting = quiet_seconds if has_all else max(quiet_seconds, deadline - time.monotonic())
            ready = self._wait_readable(waiting)
            for connection in ready:
                connection.pump()
            self._take_into(received)
            if not ready and (has_all or time.monotonic() >= deadline):
                self._take_partial_into(received)
                return {name: [self._shown(message) for message in messages] for name, messages in received.items()}

    def _wait_readable(self, seconds: float) -> list[Connection]:
        alive = [connection for connection in self._connections.values() if connection.fileno() >= 0]
        alive = [connection for connection in alive if not connection.is_ended]
        return select.select(alive, [], [], 0 if self._http else seconds)[0]

    def _count(self, name: str, received: Received) -> int:
        partial = name in self._connections and self._connections[name].partial()
        return len(received.get(name, ())) + bool(partial)

    def _take_partial_into(self, received: Received) -> None:
        for name, connection in self._connections.items():
            if partial := connection.take_partial():
                received.setdefault(name, []).append(partial)
                self._note_numbers(partial)

    def _take_into(self, received: Received) -> None:
        if self._http:
            received.setdefault(HTTP, []).extend(self._http)
            for message in self._http:
                self._note_numbers(message)
            self._http = []
        for name, connection in self._connections.items():
            if messages := connection.take_all():
                received.setdefault(name, []).extend(messages)
                for message in messages:
                    self._note_numbers(message)

    def _note_numbers(self, message: str) -> None:
        for number in _LONG_NUMBER.findall(message):
            if number not in self._numbers:
                self._numbers.append(number)

    def _shown(self, message: str) -> str:
        return _LONG_NUMBER.sub("<OPPID>", message).replace(self._target.tcp_address_text, "<TCP-ADDR>")


def play_and_compare(
    target: Target, scenario: Scenario, *, quiet_seconds: float = 0.004, answer_seconds_max: float = 30.0
) -> None:
    """Play a scenario and fail at the first step that answers otherwise, naming the steps before it."""
    before: list[str] = []
    player = Player(target, quiet_seconds=quiet_seconds, answer_seconds_max=answer_seconds_max)
    for played in player.play(scenario):
        assert played.is_as_expected(), "\n".join(
            [f"{scenario.name}: {scenario.about}", *before, str(played), f"setup: {list(scenario.setup)}"]
        )
        before.append(f"step {played.number} on {played.step.on}: {played.step.send!r} as expected")


def over_tcp(scenario: Scenario) -> Scenario | None:
    """Return a WebSocket scenario as it must go on TCP, or None if it has no WebSocket step or does not fit.

    By the rules of transports: a greeting, a line for each command (so a frame with an empty command does not fit),
    and each message as the lines it consists of.
    """
    names = {name: f"t-{name}" for name in scenario.connections() if name.startswith("w")}
    if not names:
        return None
    steps = []
    for step in scenario.steps:
        send, receive, hint = step.send, step.receive, _as_lines(step.hint, names)
        if receive != "any":
            receive = _as_lines(receive, names)
        if step.on in names:
            if send == OPEN:
                hint = {**hint, names[step.on]: ["ok \n"]}
                receive = hint if receive == "any" else {**receive, names[step.on]: ["ok \n"]}
            elif send != CLOSE:
                commands = send.split(";")
                if "" in commands or "\n" in send:
                    return None
                send = "".join(f"{command}\n" for command in commands)
        steps.append(Step(names.get(step.on, step.on), send, receive, hint))
    return replace(scenario, name=f"{scenario.name}-over-tcp", steps=tuple(steps))


def _as_lines(received: Received, names: dict[str, str]) -> Received:
    return {
        names.get(name, name): _LINE.findall("".join(messages)) if name in names else messages
        for name, messages in received.items()
    }


def over_http(scenario: Scenario) -> Scenario | None:
    """Return a WebSocket scenario as one HTTP body and its answer, or None if it does not fit.

    It fits if it has one connection only, uses nothing that outlives a command (watches, conflict numbers), and no
    command begins or ends in a space (HTTP trims) or has two messages of its own (a result is one). By the rules of
    transports: empty commands are skipped, a command's own message is its result, else `empty`, else the error without
    its prefix. Steps whose answer may be anything are left out.
    """
    if scenario.connections() != {"w1"} or any(step.on == HTTP for step in scenario.steps):
        return None
    commands: list[str] = []
    results: list[str] = []
    for step in scenario.steps[1:]:
        if step.send == CLOSE or "{OPP" in step.send or "\n" in step.send:
            return None
        if step.receive == "any":
            continue
        parts = step.send.split(";")
        answers = list(_answers(step.receive.get("w1", [])))
        if len(parts) != len(answers) or any(part != part.strip() for part in parts):
            return None
        for part, (own, end) in zip(parts, answers, strict=True):
            if part.split(" ")[0] in ("watch", "arbiter") or len(own) > 1:
                return None
            if part:
                commands.append(part)
                results.append("".join(own) or ("empty" if end == "ok \n" else end[len("error ") : -len(" \n")]))
    if not commands:
        return None
    received: Received = {HTTP: [";".join(results)]}
    step = Step(HTTP, "; ".join(commands), received, received)
    return replace(scenario, name=f"{scenario.name}-over-http", steps=(step,))


def _answers(messages: list[str]) -> Iterator[tuple[list[str], str]]:
    """Cut the frames of a step into each command's own messages and the frame that ends it."""
    own: list[str] = []
    for message in messages:
        if message == "ok \n" or (message.startswith("error ") and message.endswith(" \n")):
            yield own, message
            own = []
        else:
            own.append(message)
    assert not own, f"messages without an end: {own}"
