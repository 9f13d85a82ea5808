"""What is measured, and what is to be reached: one row each.

A target compares a server's figures with the baseline's in the same rounds, with the cost of one commit on the same
disk, or with its own figures on fewer keys. Targets are for a quiet machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from tools.benchmark.load import Clients, Viewer, Watchers, Writer
from tools.benchmark.servers import REDIS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tools.benchmark.servers import Server

KEY_COUNT = 1000
SAMPLE_MAX = 1 << 16
"""Of more keys than this, so many, spread over all, are used."""
IDLE_KIB_MAX = 60.0
GROWTH_MIB_MAX = 16.0
"""How much more private memory a server may hold with many keys than with few: what LMDB keeps for the changed pages
of one full batch, and what an allocator keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """What the load generators do."""

    protocol: str = "websocket"
    connections: int = 1
    in_flight: int = 1
    """Requests of one connection that may be unanswered: 1 is one at a time."""
    gets_percent: int = 0
    """How many of a hundred requests are `get-safe` (Redis: GET); the others are `set` of 200-byte values."""
    key_count: int = KEY_COUNT
    watchers: int = 0
    """Connections that watch what one more connection sets, instead of all that."""
    watched_keys: int = 1
    sets_per_second: float = 0.0
    """The pace of that connection; 0: as fast as it goes."""
    are_viewers: bool = False
    """Whether that connection watches too, and sets all keys at once."""

    def loads(self, server: Server, generators: int = 1) -> Sequence[Clients | Writer | Watchers]:
        """The loads for a server, each for a process of its own."""
        protocol = "redis" if server.name == REDIS else self.protocol
        address = server.addresses[protocol]
        if self.watchers:
            # At full speed a quarter of the watchers reads the times, lest reading them is what is measured.
            step = 1 if self.sets_per_second else 4
            writer = Viewer if self.are_viewers else Writer
            return [
                writer(address=address, watched_keys=self.watched_keys, sets_per_second=self.sets_per_second),
                Watchers(address=address, connections=self.watchers, watched_keys=self.watched_keys, stamped_step=step),
            ]
        common = Clients(
            address=address, protocol=protocol, in_flight=self.in_flight, gets_percent=self.gets_percent,
            key_count=self.key_count, key_sample=min(self.key_count, SAMPLE_MAX),
        )  # fmt: skip
        count = min(generators, self.connections)
        shares = [self.connections // count + (index < self.connections % count) for index in range(count)]
        return [replace(common, connections=share, seed=index) for index, share in enumerate(shares)]


class Facts(NamedTuple):
    """What a target is judged by; medians over the rounds."""

    p50_ms: float
    ratio: float
    """Operations per second to those of the baseline (or on fewer keys) in the same round."""
    baseline_p50_ms: float
    commit_ms: float
    """One LMDB commit of ten puts with fsync, on the same disk."""


class Target(NamedTuple):
    """What has to be reached."""

    text: str
    holds: Callable[[Facts], bool]


def rate(ratio: float, than: str = "baseline") -> Target:
    """At least so many times as fast as the baseline."""
    return Target(f"≥ {ratio:g} x {than}", lambda facts: facts.ratio >= ratio)


def p50_in_commits(commits: float, plus_ms: float) -> Target:
    """Half of the answers come within so many commits and some time."""
    text = f"p50 ≤ {commits:g} x commit + {plus_ms:g} ms"
    return Target(text, lambda facts: facts.p50_ms <= commits * facts.commit_ms + plus_ms)


def p50(ratio: float, plus_commits: float = 0) -> Target:
    """Half of the events arrive within a part of the baseline's time, and so many commits."""
    text = f"p50 ≤ {ratio:g} x baseline" + (f" + {plus_commits:g} commit" if plus_commits else "")
    return Target(text, lambda facts: facts.p50_ms <= ratio * facts.baseline_p50_ms + plus_commits * facts.commit_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A row of the table, measured for every server that can do it."""

    name: str
    title: str
    drive: Drive
    baseline_drive: Drive | None = None
    """What the baseline does to compare with, when it can't do the same (it knows only WebSocket)."""
    unit: str = "op"
    compares_p50: bool = False
    """Whether the ratio to the baseline is that of p50 instead of that of operations per second."""
    targets: dict[str, Target] = field(default_factory=dict)
    """By durability."""

    @property
    def has_redis(self) -> bool:
        """Whether Redis does the same: one command after another, no events."""
        return self.drive.protocol == "websocket" and not self.drive.watchers


def _targets(relaxed: Target, always: Target | None = None) -> dict[str, Target]:
    return {"relaxed": relaxed} | ({"always": always} if always else {})


ONE = Drive(connections=1)
FOUR_BY_32 = Drive(connections=4, in_flight=32)

SCENARIOS = (
    Scenario(name="ws-1", title="WS, 1 connection", drive=ONE, targets=_targets(rate(2), p50_in_commits(2, 0.2))),
    Scenario(
        name="ws-20", title="WS, 20 connections", drive=Drive(connections=20), targets=_targets(rate(2.4), rate(0.8)),
    ),
    Scenario(
        name="ws-100", title="WS, 100 connections", drive=Drive(connections=100), targets=_targets(rate(3), rate(2)),
    ),
    Scenario(
        name="ws-20-get", title="WS, 20 connections, 90 % get-safe", drive=Drive(connections=20, gets_percent=90),
        targets=_targets(rate(3), rate(2)),
    ),
    Scenario(
        name="ws-4x32", title="WS, 4 connections, 32 in flight", drive=FOUR_BY_32, targets=_targets(rate(8), rate(3)),
    ),
    Scenario(
        name="fan-out", title="1 writer, 100 watchers, full speed", drive=Drive(watchers=100), unit="event",
        targets=_targets(rate(6), rate(1.5)),
    ),
    Scenario(
        name="fan-out-60", title="1 writer at 60/s, 100 watchers", drive=Drive(watchers=100, sets_per_second=60),
        unit="event", compares_p50=True, targets=_targets(p50(0.4), p50(0.4, 1)),
    ),
    Scenario(
        name="viewers-60", title="2 viewers, 60 pairs of sets a second", unit="event", compares_p50=True,
        drive=Drive(watchers=1, watched_keys=2, sets_per_second=60, are_viewers=True),
        targets=_targets(p50(0.5), p50(0.5, 1)),
    ),
    Scenario(
        name="tcp-1", title="TCP, 1 connection", drive=replace(ONE, protocol="tcp"), baseline_drive=ONE,
        targets=_targets(rate(2, "baseline's WS")),
    ),
    Scenario(
        name="tcp-4x32", title="TCP, 4 connections, 32 in flight", drive=replace(FOUR_BY_32, protocol="tcp"),
        baseline_drive=FOUR_BY_32, targets=_targets(rate(8, "baseline's WS")),
    ),
    Scenario(
        name="http-8", title="HTTP, 8 connections, 4 commands a request", drive=Drive(protocol="http", connections=8),
        baseline_drive=ONE, unit="request", targets=_targets(rate(0.75, "baseline's WS, 1 conn.")),
    ),
)  # fmt: skip
"""Those that every round repeats for every server."""

KEYS_SCENARIO = "keys"
"""Set and get with many keys beside few."""
IDLE_SCENARIO = "idle"
"""Memory of many connections that do nothing."""
COMMIT_SCENARIO = "commit"
"""Writes and syncs of one commit."""
KEYS_TARGET = rate(0.8, "with few keys")
