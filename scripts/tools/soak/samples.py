"""What a server holds at one moment (memory, descriptors, threads, data file), and whether it grows over the time.

A server under load holds now more and now less. So growth is judged *at rest* only: no client is connected, and the
same data are stored as each time before. There it must be flat.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB: Final = 1 << 20
SAMPLES_MIN: Final = 6
"""Fewer say nothing about growth."""

Moment = Literal["rest", "load"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the server's process and its data file."""

    phase: str
    moment: Moment
    seconds: float
    """Since the run began."""
    rss_anon_bytes: int
    """Private memory: without mapped files, so without the pages of the data file."""
    rss_bytes: int
    descriptors: int
    threads: int
    data_bytes: int


def take_sample(pid: int, data_file: Path, *, phase: str, moment: Moment, began: float) -> Sample:
    """Look at a process that runs. Raises OSError if it has ended."""
    fields = {
        name: rest.split()[0]
        for name, _, rest in (
            line.partition(":") for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        )
        if name in ("RssAnon", "VmRSS", "Threads")
    }
    return Sample(
        phase=phase,
        moment=moment,
        seconds=time.monotonic() - began,
        rss_anon_bytes=int(fields["RssAnon"]) * 1024,
        rss_bytes=int(fields["VmRSS"]) * 1024,
        descriptors=descriptor_count(pid),
        threads=int(fields["Threads"]),
        data_bytes=data_file.stat().st_size if data_file.exists() else 0,
    )


def descriptor_count(pid: int) -> int:
    """How many descriptors a process has open, without the store's log: it keeps four to eight files open."""
    return sum(not _target(link).endswith(".wal") for link in Path(f"/proc/{pid}/fd").iterdir())


def _target(link: Path) -> str:
    with contextlib.suppress(FileNotFoundError):  # closed meanwhile
        return str(link.readlink())
    return ""


@dataclass(frozen=True, slots=True)
class Bound:
    """How much a quantity may differ between the early and the late samples: the larger of the two."""

    name: str
    field: str
    unit: int
    share: float
    most: float


BOUNDS: Final = (
    Bound("private memory, MiB", "rss_anon_bytes", MIB, 0.05, 3 * MIB),
    Bound("memory with mapped file, MiB", "rss_bytes", MIB, 0.10, 8 * MIB),
    Bound("descriptors", "descriptors", 1, 0.0, 0),
    Bound("threads", "threads", 1, 0.0, 4),  # trio keeps worker threads for ten seconds
    # How many free pages the file keeps depends on how much the largest checkpoint moved at once.
    Bound("data file, MiB", "data_bytes", MIB, 0.10, 8 * MIB),
)


@dataclass(frozen=True, slots=True)
class Growth:
    """What a quantity was early and late in a phase (medians of a third of the samples each), and what it might be."""

    phase: str
    name: str
    early: float
    late: float
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether it is as good as flat."""
        return self.late <= self.allowed

    def __str__(self) -> str:
        verdict = "flat" if self.holds else "GROWS"
        return f"{self.phase}: {self.name}: {self.early:.1f} early, {self.late:.1f} late: {verdict}"


def judge(phase: str, samples: Sequence[Sample]) -> list[Growth]:
    """Compare early with late samples at rest. The first is left out: caches are filled then. Empty if too few."""
    at_rest = [sample for sample in samples if sample.moment == "rest" and sample.phase == phase][1:]
    if len(at_rest) < SAMPLES_MIN:
        return []
    third = len(at_rest) // 3
    found = []
    for bound in BOUNDS:
        early, late = (
            statistics.median([asdict(sample)[bound.field] for sample in part])
            for part in (at_rest[:third], at_rest[-third:])
        )
        allowed = early + max(early * bound.share, bound.most)
        found.append(Growth(phase, bound.name, early / bound.unit, late / bound.unit, allowed / bound.unit))
    return found
