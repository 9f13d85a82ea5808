"""How time and memory grow: with keys, connections, watchers, watches, the length of values, databases.

Each part measures the same at several sizes and gives a section. A part that fails leaves the points it has; the
others are measured all the same.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.benchmark import processes
from tools.benchmark.runs import FAILURES, say
from tools.benchmark.scale_connections import measure_connections, measure_presence, measure_watchers, measure_watches
from tools.benchmark.scale_data import measure_databases, measure_keys, measure_listing, measure_values
from tools.benchmark.sections import shown_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tools.benchmark.measure import Timing
    from tools.benchmark.sections import Section


IDLE_SECONDS = 35.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePlan:
    """What is measured, at which sizes."""

    timing: Timing
    repeat: int
    """Rounds of what is held against the same server on few keys."""
    durabilities: tuple[str, ...]
    """Parts about memory and many clients take the first alone."""
    folder: Path
    """On the disk that is measured; everything in it is removed at the end."""
    keys: Sequence[int]
    listed_keys: Sequence[int]
    connections: Sequence[int]
    idle_seconds: float
    """How long the idle are watched: silent clients are pinged every 30 s."""
    watchers: Sequence[int]
    watches: Sequence[int]
    watching_sessions: int
    presence_sessions: Sequence[int]
    value_bytes: Sequence[int]
    databases: Sequence[int]
    uses: int
    """How often the same token is used."""


PARTS: dict[str, Callable[[ScalePlan], Iterator[Section]]] = {
    "keys": measure_keys,
    "listing": measure_listing,
    "connections": measure_connections,
    "watchers": measure_watchers,
    "watches": measure_watches,
    "presence": measure_presence,
    "values": measure_values,
    "databases": measure_databases,
}
"""By the name that the command line takes. A part yields its section, empty, and fills it when it is resumed."""


def plan_of(
    *,
    timing: Timing,
    repeat: int,
    durabilities: tuple[str, ...],
    folder: Path,
    keys_max: int,
    connections_max: int,
    is_quick: bool,
) -> ScalePlan:
    """The sizes: powers of ten and what the targets name, up to the limits; a quick run has small ones."""
    few = 50 if is_quick else 1

    def up_to(most: int, *sizes: int) -> tuple[int, ...]:
        return (*(size for size in sizes if size < most), most)

    databases = (1, 10, 20) if is_quick else (10, 100, 500, 1000, 2000)
    return ScalePlan(
        timing=timing,
        repeat=repeat,
        durabilities=durabilities,
        folder=folder,
        keys=up_to(keys_max, 1000, 100_000, 1_000_000),
        listed_keys=up_to(min(keys_max, 1_000_000), 1000, 10_000, 100_000),
        connections=up_to(connections_max, 100, 1000, 2500),
        idle_seconds=timing.seconds if is_quick else IDLE_SECONDS,
        watchers=up_to(connections_max, 10, 100, 1000, 2500),
        watches=up_to(100_000 // few, 100, 1000, 10_000),
        watching_sessions=100,
        presence_sessions=up_to(2000 // few, 250, 500, 1000),
        value_bytes=(1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20),
        databases=databases,
        uses=1000,
    )


def run_scale(parts: Sequence[str], plan: ScalePlan) -> list[Section]:
    """Measure the chosen parts, in the order of PARTS."""
    sections: list[Section] = []
    for name, measure in PARTS.items():
        if name not in parts:
            continue
        busy_before, own_before, began = processes.machine_busy_seconds(), _own_cpu_seconds(), time.monotonic()
        steps = measure(plan)
        section = next(steps)
        sections.append(section)
        say(section.title)
        try:
            for _ in steps:
                say("  " + _last_point(section))
        except FAILURES as error:
            section.error = str(error)
            say(f"  failed: {error}")
        others = processes.machine_busy_seconds() - busy_before - (_own_cpu_seconds() - own_before)
        section.others_cpu_share = max(0.0, others) / (time.monotonic() - began)
    return sections


def _own_cpu_seconds() -> float:
    """Processor time of this process and of its children that ended: at the end of a part, all that it used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _last_point(section: Section) -> str:
    point = section.points[-1]
    shown = [(column, point[column.name]) for column in section.columns if column.name in point]
    return ", ".join(f"{column.heading} {shown_value(value, column.style)}" for column, value in shown)
