"""What is measured, and what is to be reached: one row each.

A target compares a server's figures with the baseline's in the same rounds, with the cost of one commit on the same
disk, or with its own figures on fewer keys. Targets are for a quiet machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

KEY_COUNT = 1000
KEY_COUNT_MANY = 1_000_000
IDLE_CONNECTIONS = 5000
IDLE_KIB_MAX = 60.0
GROWTH_MIB_MAX = 16.0
"""How much more private memory a server may hold with many keys than with few: what LMDB keeps for the changed pages
of one full batch (`BATCH_ENTRIES_MAX` of pynun/storage/committer.py, 8 MiB), and what an allocator keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the load generators do."""

    protocol: str = "websocket"
    connections: int = 1
    in_flight: int = 1
    """Requests of one connection that may be unanswered: 1 is one at a time."""
    gets_percent: int = 0
    """How many of a hundred requests are `get-safe` (Redis: GET); the others are `set` of 200-byte values."""
    watchers: int = 0
    """Connections that watch what one more connection sets."""
    watched_keys: int = 1
    """How many keys that is."""
    sets_per_second: float = 0.0
    """The pace of that connection; 0: as fast as it goes."""
    key_count: int = KEY_COUNT
    key_sample: int = KEY_COUNT


class Facts(NamedTuple):
    """What a target is judged by; medians over the rounds."""

    p50_ms: float
    rate_ratio: float
    """Operations per second to those of the baseline (or on fewer keys) in the same round."""
    baseline_p50_ms: float
    commit_ms: float
    """One LMDB commit of ten puts with fsync, on the same disk."""


@dataclass(frozen=True, slots=True)
class Target:
    """What has to be reached: `figure` is at least, or at most, `limit`."""

    text: str
    figure: Callable[[Facts], float]
    limit: Callable[[Facts], float]
    is_at_least: bool

    def holds(self, facts: Facts) -> bool:
        """Whether these figures reach it."""
        figure, limit = self.figure(facts), self.limit(facts)
        return figure >= limit if self.is_at_least else figure <= limit


def rate_at_least(ratio: float, than: str = "baseline") -> Target:
    """So many times as fast as the baseline."""
    return Target(f"≥ {ratio:g} x {than}", lambda facts: facts.rate_ratio, lambda _: ratio, is_at_least=True)


def p50_within_commits(commits: float, plus_ms: float) -> Target:
    """Half of the answers come within so many commits and some time."""
    return Target(
        f"p50 ≤ {commits:g} x commit + {plus_ms:g} ms",
        lambda facts: facts.p50_ms,
        lambda facts: commits * facts.commit_ms + plus_ms,
        is_at_least=False,
    )


def p50_at_most(ratio: float, plus_commits: float = 0) -> Target:
    """Half of the events arrive within a part of the baseline's time, and so many commits."""
    return Target(
        f"p50 ≤ {ratio:g} x baseline" + (f" + {plus_commits:g} commit" if plus_commits else ""),
        lambda facts: facts.p50_ms,
        lambda facts: ratio * facts.baseline_p50_ms + plus_commits * facts.commit_ms,
        is_at_least=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A row of the table, measured for every server that can do it."""

    name: str
    title: str
    load: Load
    baseline_load: Load | None = None
    """What the baseline does to compare with, when it can't do the same (it knows only WebSocket)."""
    unit: str = "op"
    compares_p50: bool = False
    """Whether the ratio to the baseline is that of p50 instead of that of operations per second."""
    has_redis: bool = False
    targets: dict[str, Target] = field(default_factory=dict)
    """By durability."""


WEBSOCKET_1 = Load(connections=1)
WEBSOCKET_4_BY_32 = Load(connections=4, in_flight=32)

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        name="ws-1", title="WS, 1 connection", load=WEBSOCKET_1, has_redis=True,
        targets={"relaxed": rate_at_least(2.0), "always": p50_within_commits(2, 0.2)},
    ),
    Scenario(
        name="ws-20", title="WS, 20 connections", load=Load(connections=20), has_redis=True,
        targets={"relaxed": rate_at_least(2.4), "always": rate_at_least(0.8)},
    ),
    Scenario(
        name="ws-100", title="WS, 100 connections", load=Load(connections=100), has_redis=True,
        targets={"relaxed": rate_at_least(3), "always": rate_at_least(2)},
    ),
    Scenario(
        name="ws-20-get", title="WS, 20 connections, 90 % get-safe", load=Load(connections=20, gets_percent=90),
        has_redis=True, targets={"relaxed": rate_at_least(3), "always": rate_at_least(2)},
    ),
    Scenario(
        name="ws-4x32", title="WS, 4 connections, 32 in flight", load=WEBSOCKET_4_BY_32, has_redis=True,
        targets={"relaxed": rate_at_least(8), "always": rate_at_least(3)},
    ),
    Scenario(
        name="fan-out", title="1 writer, 100 watchers, full speed", load=Load(watchers=100), unit="event",
        targets={"relaxed": rate_at_least(6), "always": rate_at_least(1.5)},
    ),
    Scenario(
        name="fan-out-60", title="1 writer at 60/s, 100 watchers", load=Load(watchers=100, sets_per_second=60),
        unit="event", compares_p50=True, targets={"relaxed": p50_at_most(0.4), "always": p50_at_most(0.4, 1)},
    ),
    Scenario(
        name="tcp-1", title="TCP, 1 connection", load=Load(protocol="tcp"), baseline_load=WEBSOCKET_1,
        targets={"relaxed": rate_at_least(2, "baseline's WS")},
    ),
    Scenario(
        name="tcp-4x32", title="TCP, 4 connections, 32 in flight",
        load=Load(protocol="tcp", connections=4, in_flight=32), baseline_load=WEBSOCKET_4_BY_32,
        targets={"relaxed": rate_at_least(8, "baseline's WS")},
    ),
    Scenario(
        name="http-8", title="HTTP, 8 connections, 4 commands a request", load=Load(protocol="http", connections=8),
        baseline_load=WEBSOCKET_1, unit="request", targets={"relaxed": rate_at_least(0.75, "baseline's WS, 1 conn.")},
    ),
)  # fmt: skip
"""Those that every round repeats for every server."""

KEYS_SCENARIO = "keys"
"""Set and get with many keys beside few."""
IDLE_SCENARIO = "idle"
"""Memory of many connections that do nothing."""

KEYS_TARGET = rate_at_least(0.8, "with few keys")
