"""The table for people and the JSON for programs, from the same rows."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from tools.benchmark.runs import MIB, RAW

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tools.benchmark.runs import Row
    from tools.benchmark.sections import Section
    from tools.benchmark.slow_reader import SlowReader

FORMAT = 1
OTHERS_CPU_SHARE_MAX = 0.10
"""More than this used by others, as a part of one core: the machine is not quiet."""

_HEADINGS = (
    "scenario", "server", "per second", "p50 ms", "p99 ms", "CPU µs/op", "RssAnon MiB", "RSS MiB", "ratio", "CPU ratio",
    "% of limit", "generator CPU %", "to reach", "",
)  # fmt: skip
_LEFT = frozenset({0, 1, 12, 13})


def table(rows: Sequence[Row]) -> str:
    """All rows, a line each, scenarios apart."""
    lines: list[tuple[str, ...]] = [_HEADINGS]
    previous = None
    for row in rows:
        lines.append(_cells(row, is_first=row.title != previous))
        previous = row.title
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = [
        "  ".join(
            cell.ljust(width) if index in _LEFT else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    texts.insert(1, "─" * max(map(len, texts)))
    return "\n".join(texts)


def _cells(row: Row, *, is_first: bool) -> tuple[str, ...]:
    figures = row.figures
    head = (row.title if is_first else "", f"{row.server} ({row.durability})")
    if row.error is not None or figures is None:
        return (*head, *[""] * 10, f"failed: {(row.error or 'not measured').splitlines()[-1][:120]}", "")
    if row.kib_per_connection is not None:
        rates = (f"{row.kib_per_connection:.1f} KiB/conn.", "", "", "")
    else:
        rates = (
            f"{figures.operations_per_second:,.0f} {row.unit}",
            f"{figures.p50_ms:.3f}",
            f"{figures.p99_ms:.3f}",
            _number(figures.cpu_us_per_operation, ".1f"),
        )
    return (
        *head,
        *rates,
        _number(None if figures.rss_anon_bytes is None else figures.rss_anon_bytes / MIB, ".1f"),
        _number(None if figures.rss_bytes is None else figures.rss_bytes / MIB, ".1f"),
        "" if row.ratio is None else f"{row.ratio:.2f} x" + (" p50" if row.ratio_is_of_p50 else ""),
        "" if row.cpu_ratio is None else f"{row.cpu_ratio:.1f} x",
        _number(None if row.generator_limit_share is None else row.generator_limit_share * 100, ".0f"),
        "" if row.kib_per_connection is not None else f"{figures.generator_cpu_share * 100:.0f}",
        row.target or "",
        "" if row.holds is None else "holds" if row.holds else "NOT REACHED",
    )


def _number(value: float | None, style: str) -> str:
    return "" if value is None else format(value, style)


def notes(rows: Sequence[Row], *, redis_is_missing: bool, file_system_is_memory: bool) -> list[str]:
    """What a reader has to know beside the figures, a line each."""
    found = []
    commits = sorted({row.commit_ms for row in rows if row.commit_ms is not None})
    if commits:
        found.append(f"one LMDB commit of 10 puts with fsync: {commits[0]:.3f} to {commits[-1]:.3f} ms (p50)")
    found += [
        f"{row.title}, {row.durability}: private memory {row.memory_growth_mib:+.1f} MiB beside few keys"
        for row in rows
        if row.memory_growth_mib is not None and row.scenario.endswith("get-safe")
    ]
    if redis_is_missing:
        found.append("Redis is missing (Debian: apt-get install redis-server), so it is not in the table")
    if file_system_is_memory:
        found.append(
            "the data folder is in memory: the figures of `always` mean nothing; choose a disk with --data-dir"
        )
    found += noise_notes([row.figures.others_cpu_share for row in rows if row.figures is not None])
    judged = [row for row in rows if row.holds is not None]
    if judged:
        found.append(f"{sum(bool(row.holds) for row in judged)} of {len(judged)} targets hold")
    return found


def noise_notes(shares: Sequence[float]) -> list[str]:
    """A line when others used the machine meanwhile."""
    if not shares or max(shares) <= OTHERS_CPU_SHARE_MAX:
        return []
    average = sum(shares) / len(shares)
    return [
        f"NOT A QUIET MACHINE: other processes used up to {max(shares) * 100:.0f} % of a core"
        f" ({average * 100:.0f} % on average)"
    ]


def as_json(rows: Sequence[Row], about: Mapping[str, object], remarks: Sequence[str]) -> dict[str, object]:
    """Everything that was measured, with each round."""
    return {"format": FORMAT, **about, "notes": list(remarks), "results": [asdict(row) for row in rows]}


def scale_as_json(
    sections: Sequence[Section], readers: Sequence[SlowReader], about: Mapping[str, object], remarks: Sequence[str]
) -> dict[str, object]:
    """Everything that was measured at scale, and of the slow reader."""
    scale = [
        asdict(section) | {"columns": [{"name": one.name, "heading": one.heading} for one in section.columns]}
        for section in sections
    ]
    slow = [asdict(reader) | {"growth_bytes": reader.growth_bytes} for reader in readers]
    return {"format": FORMAT, **about, "notes": list(remarks), "scale": scale, "slow_reader": slow}


def is_raw(row: Row) -> bool:
    """Whether the row is the load generator's limit and not a server."""
    return row.server == RAW
