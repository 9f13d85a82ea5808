"""The table for people and the JSON for programs, from the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.benchmark.runs import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.benchmark.runs import Row

FORMAT = 2
OTHERS_CPU_SHARE_MAX = 0.10
"""More than this used by others, as a part of one core: the machine is not quiet."""

_HEADINGS = (
    "scenario|server|per second|p50 ms|p95 ms|p99 ms|CPU µs/op|RssAnon MiB|RSS MiB|ratio|CPU ratio|% of limit"
    "|generator CPU %|to reach|"
)


def table(rows: Sequence[Row]) -> str:
    """All rows, a line each; the title only of the first of a scenario."""
    lines: list[Sequence[str]] = [_HEADINGS.split("|")]
    for number, row in enumerate(rows):
        head = ["" if number and row.title == rows[number - 1].title else row.title, f"{row.server} ({row.durability})"]
        lines.append([*head, *_cells(row)])
    return aligned(lines, left=(0, 1, 13, 14))


def _cells(row: Row) -> list[str]:
    figures = row.figures
    if row.error is not None or not figures:
        return [""] * 11 + [f"failed: {(row.error or 'not measured').splitlines()[-1][:120]}", ""]

    def number(value: float | None, style: str, factor: float = 1) -> str:
        return "" if value is None else format(value * factor, style)

    if "writes_per_commit" in figures:
        calls = f"{figures['writes_per_commit']:.1f} writes, {figures['syncs_per_commit']:.1f} syncs"
        return [f"{calls}, {figures['kib_per_commit']:.1f} KiB", *[""] * 12]
    if "kib_per_connection" in figures:
        rate = f"{figures['kib_per_connection']:.1f} KiB/conn."
    else:
        rate = f"{figures['operations_per_second']:,.0f} {row.unit}"
    return [
        rate,
        number(figures.get("p50_ms"), ".3f"),
        number(figures.get("p95_ms"), ".3f"),
        number(figures.get("p99_ms"), ".3f"),
        number(figures.get("cpu_us_per_operation"), ".1f"),
        number(figures.get("rss_anon_bytes"), ".1f", 1 / MIB),
        number(figures.get("rss_bytes"), ".1f", 1 / MIB),
        number(row.ratio, ".2f") + (" x" if row.ratio is not None else "") + (" p50" if row.ratio_is_of_p50 else ""),
        number(row.cpu_ratio, ".1f") + (" x" if row.cpu_ratio is not None else ""),
        number(row.generator_limit_share, ".0f", 100),
        number(figures.get("generator_cpu_share"), ".0f", 100),
        row.target or "",
        "" if row.holds is None else "holds" if row.holds else "NOT REACHED",
    ]


def aligned(lines: Sequence[Sequence[str]], left: Sequence[int] = ()) -> str:
    """Lines of cells as a table, with a rule under the first."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def place(index: int, cell: str) -> str:
        return cell.ljust(widths[index]) if index in left else cell.rjust(widths[index])

    texts = ["  ".join(place(index, cell) for index, cell in enumerate(line)).rstrip() for line in lines]
    return "\n".join([texts[0], "─" * max(map(len, texts)), *texts[1:]])


def notes(rows: Sequence[Row], *, redis_is_missing: bool, file_system_is_memory: bool) -> list[str]:
    """What a reader has to know beside the figures, a line each."""
    found = []
    if commits := sorted({row.figures["commit_ms"] for row in rows if "commit_ms" in row.figures}):
        found.append(f"one LMDB commit of 10 puts with fsync: {commits[0]:.3f} to {commits[-1]:.3f} ms (p50)")
    found += [
        f"{row.title}, {row.durability}: private memory {row.figures['memory_growth_mib']:+.1f} MiB beside few keys,"
        f" ready after {row.figures['start_seconds']:.2f} s"
        for row in rows
        if "memory_growth_mib" in row.figures and row.scenario.endswith("get-safe")
    ]
    if redis_is_missing:
        found.append("Redis is missing (Debian: apt-get install redis-server), so it is not in the table")
    if file_system_is_memory:
        found.append("the data folder is in memory: figures of `always` mean nothing; choose a disk with --data-dir")
    found += noise_notes([row.figures["others_cpu_share"] for row in rows if "others_cpu_share" in row.figures])
    judged = [row.holds for row in rows if row.holds is not None]
    return [*found, f"{sum(judged)} of {len(judged)} targets hold"] if judged else found


def noise_notes(shares: Sequence[float]) -> list[str]:
    """A line when others used the machine meanwhile."""
    if not shares or max(shares) <= OTHERS_CPU_SHARE_MAX:
        return []
    average = sum(shares) / len(shares)
    return [f"NOT A QUIET MACHINE: others used up to {max(shares):.0%} of a core ({average:.0%} on average)"]
