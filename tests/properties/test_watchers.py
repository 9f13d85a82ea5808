"""Every watcher that stays connected and reads ends with the newest value and version of each key it watches.

Over real sockets, whatever the load: writers on all transports, values from nothing to large, and watchers that read
at once, now and then, a little at a time, or not at all until the load is over.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import selectors
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from tests.properties.effort import effort
from tools.clients.exact_clients import RECEIVE_BYTES_MAX, Connection, HttpClient, TcpClient, WebSocketClient
from tools.clients.server import Server, new_folder
from tools.clients.sessions import OK, TOKEN, create_database, select

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.timeout(400)

KEYS = ("a", "camera", "ü")
OUTBOX_BYTES_MAX = 2 * 1024 * 1024
"""The server's setting: events are conflated when a quarter of it waits."""

LARGE_CHARACTERS = 60_000
SECONDS_MAX = 150.0
IN_FLIGHT_MAX = 16
TICK_SECONDS = 0.002
LITTLE_BYTES = 4096

_names = itertools.count()

State = tuple[int, str] | None
"""Version and value of a key; None: there is none."""


@dataclass(frozen=True)
class WriterPlan:
    """What one writer does."""

    transport: str
    changes: int
    large_share: float
    """Of its values."""


@dataclass(frozen=True)
class WatcherPlan:
    """How one watcher reads."""

    transport: str
    pace: str
    """`steady`, `pausing`, `little` at a time, or `late`: nothing before the load is over."""
    receive_buffer_bytes: int | None
    joins_after: float
    """Which part of all changes is acknowledged when it comes."""


writers = st.builds(
    WriterPlan, st.sampled_from(("websocket", "tcp", "http")), st.integers(1, 120), st.sampled_from((0.0, 0.1, 0.9))
)
watchers = st.builds(
    WatcherPlan,
    st.sampled_from(("websocket", "tcp")),
    st.sampled_from(("steady", "pausing", "little", "late")),
    st.sampled_from((None, 4096)),
    st.sampled_from((0.0, 0.0, 0.5)),
)


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[Server]:
    with (
        new_folder() as folder,
        Server(folder / "dbs", environment={"NUN_MAX_OUTBOX_SIZE": str(OUTBOX_BYTES_MAX)}) as running,
    ):
        yield running


class Watcher:
    """A connection that watches all keys and believes what it is told last."""

    def __init__(self, server: Server, database: str, plan: WatcherPlan, chance: random.Random) -> None:
        self.plan = plan
        self.believes: dict[str, State] = {}
        self.events = 0
        make, address = {
            "websocket": (WebSocketClient, server.websocket),
            "tcp": (TcpClient, server.tcp),
        }[plan.transport]
        self.connection: Connection = make(address, receive_buffer_bytes=plan.receive_buffer_bytes)
        self._chance = chance
        self._sleeps_until = 0.0
        self._asked = list(KEYS)
        select(self.connection, database)
        for key in KEYS:  # as clients do: events from now on, and what there is now
            self.connection.send(f"watch {key}")
            self.connection.send(f"get-safe {key}")

    def read(self) -> None:
        """Read as far as its pace allows; called whenever there is something."""
        now = time.monotonic()
        match self.plan.pace:
            case "late":
                return
            case "pausing":
                if now < self._sleeps_until:
                    return
                if self._chance.random() < 0.2:
                    self._sleeps_until = now + self._chance.choice((0.02, 0.2))
                    return
            case "little":
                if now < self._sleeps_until:
                    return
                self._sleeps_until = now + TICK_SECONDS
                self._take(LITTLE_BYTES)
                return
        self._take(RECEIVE_BYTES_MAX)

    def read_all(self, newest: dict[str, State]) -> None:
        """The load is over: read until it believes what is so; it must stay at that."""
        deadline = time.monotonic() + SECONDS_MAX
        while self.believes != newest or self._asked:
            assert time.monotonic() < deadline, f"{self.plan} believes {_short(self.believes)}, so is {_short(newest)}"
            self._take(RECEIVE_BYTES_MAX)
        self.connection.send("get marker")
        while not self._take(RECEIVE_BYTES_MAX):
            assert time.monotonic() < deadline
        assert self.believes == newest, "something old came behind the newest"

    def _take(self, bytes_max: int) -> bool:
        """Read so much; say whether the answer of `get marker` has come."""
        try:
            data = self.connection.socket.recv(bytes_max)
        except TimeoutError:
            raise AssertionError(f"{self.plan} hears nothing more, and believes {_short(self.believes)}") from None
        code = getattr(self.connection, "close_code", None)
        assert data, f"the server has ended a connection that reads: {self.plan}, {code}"
        self.connection.feed(data)
        return any([self._note(message) for message in self.connection.take_all()])

    def _note(self, message: str) -> bool:
        kind, _, rest = message.rstrip("\n").partition(" ")
        if kind == "value-version":
            version, value = rest.split(" ", 1)
            self.believes[self._asked.pop(0)] = None if value == "<Empty>" else (int(version), value)
        elif kind == "changed-version":
            key, version, value = rest.split(" ", 2)
            self.believes[key] = int(version), value
            self.events += 1
        elif kind == "removed":
            self.believes[rest] = None
            self.events += 1
        return kind == "value"


@dataclass
class Writer:
    """A connection that changes keys, some changes ahead of the answers."""

    connection: Connection | HttpClient
    commands: list[str]
    database: str
    sent: int = 0
    acknowledged: int = 0

    @property
    def is_done(self) -> bool:
        """Whether everything was answered."""
        return self.acknowledged == len(self.commands)

    def go_on(self) -> None:
        """Send what may be sent; take the answers that are there."""
        if isinstance(self.connection, HttpClient):
            some = self.commands[self.sent : self.sent + IN_FLIGHT_MAX]
            if some:
                response = self.connection.request(";".join([f"use-db {self.database} {TOKEN}", *some]))
                assert response.status == 200
                self.sent += len(some)
                self.acknowledged += len(some)
            return
        while self.sent < len(self.commands) and self.sent - self.acknowledged < IN_FLIGHT_MAX:
            self.connection.send(self.commands[self.sent])
            self.sent += 1

    def read(self) -> None:
        """Count answers."""
        assert isinstance(self.connection, Connection)
        assert self.connection.pump()
        self.acknowledged += len(self.connection.take_all())


def _commands(plan: WriterPlan, chance: random.Random, name: str) -> list[str]:
    commands = []
    for number in range(plan.changes):
        key = chance.choice(KEYS)
        filling = "x" * LARGE_CHARACTERS if chance.random() < plan.large_share else ""
        commands.append(
            chance.choice(
                (
                    f"set {key} {name}-{number}-{filling}",
                    f"set {key} {name}-{number}-{filling}",
                    f"set-safe {key} {chance.randrange(200)} {name}-{number}-{filling}",
                    f"remove {key}",
                    f"increment {key} {number}",
                )
            )
        )
    return commands


def _short(states: dict[str, State]) -> dict[str, object]:
    return {key: state and (state[0], state[1][:20]) for key, state in states.items()}


def run(
    server: Server, seed: int, writer_plans: Sequence[WriterPlan], watcher_plans: Sequence[WatcherPlan]
) -> tuple[list[Watcher], int]:
    """Run a load to its end and check every watcher; return them, and how many changes there were."""
    chance = random.Random(seed)
    database = f"watched-{next(_names)}"
    create_database(server, database)
    deadline = time.monotonic() + SECONDS_MAX
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        writing: list[Writer] = []
        for place, plan in enumerate(writer_plans):
            connection: Connection | HttpClient
            if plan.transport == "http":
                connection = stack.enter_context(HttpClient(server.http))
            else:
                make = WebSocketClient if plan.transport == "websocket" else TcpClient
                address = server.websocket if plan.transport == "websocket" else server.tcp
                connection = stack.enter_context(make(address))
                select(connection, database)
            writer = Writer(connection, _commands(plan, chance, f"w{place}"), database)
            if isinstance(connection, Connection):
                selector.register(connection, selectors.EVENT_READ, writer)
            writing.append(writer)
        every = sum(len(writer.commands) for writer in writing)
        coming = sorted(watcher_plans, key=lambda plan: plan.joins_after)
        watching: list[Watcher] = []
        while coming or not all(writer.is_done for writer in writing):
            assert time.monotonic() < deadline, "the writers were not answered"
            done = sum(writer.acknowledged for writer in writing)
            while coming and done >= coming[0].joins_after * every:
                watcher = Watcher(server, database, coming.pop(0), chance)
                stack.enter_context(watcher.connection)
                if watcher.plan.pace != "late":
                    selector.register(watcher.connection, selectors.EVENT_READ, watcher)
                watching.append(watcher)
            for writer in writing:
                writer.go_on()
            for ready, _ in selector.select(TICK_SECONDS):
                assert isinstance(ready.data, Writer | Watcher)
                ready.data.read()
        newest = _read_states(server, database)
        for watcher in watching:
            watcher.read_all(newest)
        return watching, every


def _read_states(server: Server, database: str) -> dict[str, State]:
    states: dict[str, State] = {}
    with TcpClient(server.tcp) as client:
        select(client, database)
        for key in KEYS:
            answer, end = client.ask(f"get-safe {key}")
            assert end == OK
            version, value = answer.removeprefix("value-version ").rstrip("\n").split(" ", 1)
            states[key] = None if value == "<Empty>" else (int(version), value)
    return states


@given(
    seed=st.integers(0, 1 << 32),
    writer_plans=st.lists(writers, min_size=1, max_size=4),
    watcher_plans=st.lists(watchers, min_size=1, max_size=5),
)
@example(1, [WriterPlan("websocket", 5, 0.0)], [WatcherPlan("tcp", "late", 4096, 0.0)])
@settings(effort(12), phases=[Phase.explicit, Phase.generate])  # a failing example takes seconds: it is not shrunk
def test_watchers_end_with_the_newest(
    server: Server, seed: int, writer_plans: list[WriterPlan], watcher_plans: list[WatcherPlan]
) -> None:
    run(server, seed, writer_plans, watcher_plans)


def test_a_load_that_no_buffer_holds(server: Server) -> None:
    paces = ("steady", "pausing", "little", "late")
    watching, every = run(
        server,
        7,
        [WriterPlan(transport, 150, 0.9) for transport in ("websocket", "tcp", "http")],
        [WatcherPlan(transport, pace, 4096, 0.0) for transport in ("websocket", "tcp") for pace in paces],
    )
    heard = {(watcher.plan.transport, watcher.plan.pace): watcher.events for watcher in watching}
    print(f"{every} commands; events heard: {heard}")
    for transport in ("websocket", "tcp"):
        assert 0 < heard[transport, "late"] < every // 2, "nothing was conflated: the load is too small"
