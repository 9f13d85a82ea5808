"""Human-readable numbers: sizes, times, counts."""

from __future__ import annotations

import math

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size(size_bytes: float) -> str:
    """`1.2 MiB`."""
    if math.isnan(size_bytes):
        return "?"
    for unit in _UNITS:
        if size_bytes < 1024 or unit == _UNITS[-1]:
            break
        size_bytes /= 1024
    return f"{size_bytes:.0f} {unit}" if unit == "B" or size_bytes >= 100 else f"{size_bytes:.1f} {unit}"


def count(number: float) -> str:
    """`1,234,567`."""
    return f"{number:,.0f}"


def counted(number: int, thing: str) -> str:
    """`1 key`, `2,000 keys`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def rate(number: float) -> str:
    """A rate per second: `1,234`, or `0.2` if small."""
    return f"{number:,.1f}" if 0 < number < 10 else f"{number:,.0f}"


def duration(seconds: float) -> str:
    """`3 d 4 h`, `12 min`, `1.2 s`, `1.2 ms`: two units at most."""
    if math.isnan(seconds):
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    hours, days = minutes // 60, minutes // 1440
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"
