"""What a measurement at scale gives: sections of points, as tables for people and as JSON for programs and plots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Value = float | int | str
Point = dict[str, Value]


class Column(NamedTuple):
    """One figure of every point."""

    name: str
    """In the JSON: whole words, the unit last."""
    heading: str
    style: str = ",.0f"
    """How a number is printed."""


@dataclass(slots=True, kw_only=True)
class Section:
    """One thing that grows: a point for each size."""

    name: str
    title: str
    columns: Sequence[Column]
    points: list[Point] = field(default_factory=list)
    others_cpu_share: float = 0.0
    """What neither servers nor load generators used while all of it was measured, as a part of one core."""
    error: str | None = None
    """Why there are no more points."""

    def add(self, point: Mapping[str, Value]) -> Point:
        """Add a point, of which every figure has a column; return it, to be completed."""
        unknown = point.keys() - {column.name for column in self.columns}
        assert not unknown, unknown
        self.points.append(dict(point))
        return self.points[-1]

    def table(self) -> str:
        """Its title, and a line for each point."""
        lines = [tuple(column.heading for column in self.columns)]
        lines += [
            tuple(shown_value(point.get(column.name, ""), column.style) for column in self.columns)
            for point in self.points
        ]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        texts = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        texts.insert(1, "─" * len(texts[0]))
        if self.error is not None:
            texts.append(f"failed: {self.error}")
        return "\n".join([self.title, *texts])


def shown_value(value: Value, style: str) -> str:
    """A figure as people read it."""
    return value if isinstance(value, str) else format(value, style)
