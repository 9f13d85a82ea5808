"""The table of a run, thinned out to what fits a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.soak.samples import MIB, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.soak.run import Figures
    from tools.soak.samples import Growth, Sample

ROWS_MAX = 12
_HEAD = ("at second", "private MiB", "RSS MiB", "descriptors", "threads", "data MiB")


def table(phase: str, samples: Sequence[Sample]) -> str:
    """The samples at rest of a phase, evenly thinned out, as a table; and the most that was seen under load."""
    at_rest = [sample for sample in samples if sample.phase == phase and sample.moment == "rest"]
    under_load = [sample for sample in samples if sample.phase == phase and sample.moment == "load"]
    count = min(ROWS_MAX, len(at_rest))
    shown = [at_rest[round(number * (len(at_rest) - 1) / max(count - 1, 1))] for number in range(count)]
    lines = [f"{phase}, at rest ({len(at_rest)} samples)", " | ".join(f"{name:>11}" for name in _HEAD)]
    lines += [_row(f"{sample.seconds:.0f}", [sample]) for sample in shown]
    if under_load:
        lines.append(f"most under load ({len(under_load)} samples)")
        lines.append(_row("", under_load))
    return "\n".join(lines)


def _row(first: str, samples: Sequence[Sample]) -> str:
    values = (
        first,
        f"{max(sample.rss_anon_bytes for sample in samples) / MIB:.1f}",
        f"{max(sample.rss_bytes for sample in samples) / MIB:.1f}",
        str(max(sample.descriptors for sample in samples)),
        str(max(sample.threads for sample in samples)),
        f"{max(sample.data_bytes for sample in samples) / MIB:.1f}",
    )
    return " | ".join(f"{value:>11}" for value in values)


def summary(figures: Figures) -> str:
    """What was done, in a sentence."""
    return (
        f"{figures.kills} kills under load ({figures.kills_while_starting} more while starting), "
        f"{figures.clean_restarts} clean restarts, {figures.acknowledged:,} acknowledged changes, "
        f"{figures.connections:,} connections, {figures.cuts:,} of them cut in the middle of a command, "
        f"{figures.events:,} events to watchers ({figures.events_left_out:,} older ones left out for slow readers); "
        f"the longest start took {figures.start_seconds_max:.1f} s"
    )


def growths(figures: Figures, phases: Sequence[str]) -> list[Growth]:
    """What each phase says of growth."""
    return [growth for phase in phases for growth in judge(phase, figures.samples)]
