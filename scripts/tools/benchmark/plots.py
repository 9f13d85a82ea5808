"""Draws what `scripts/bench --scale` and `--slow-reader` wrote with --json, as one SVG file for each section.

Needs matplotlib, which is neither a dependency of the server nor of its tests. So that any Python that has it can draw
(`PYTHONPATH=scripts python3 -m tools.benchmark.plots FILE… DIR`), nothing else of the benchmark is imported here.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

Pyplot: TypeAlias = Any
Figure: TypeAlias = Any
Axes: TypeAlias = Any
"""matplotlib's. It may be missing, so no type checker here knows it."""

FILE_PREFIX = "performance-"
MIB = 1024 * 1024
_PANEL_INCHES = (4.3, 3.3)
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pynun",  # the same figures give the same file
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": "cycler(color=['#0b62a4', '#d1690e', '#3a8f3a', '#8a4fb0'])",
}


class PlotError(Exception):
    """Nothing can be drawn here; the text says what to do."""


class Panel(NamedTuple):
    """One pair of axes: lines over the section's size."""

    title: str
    y_label: str
    lines: tuple[tuple[str, str], ...]
    """Column and label of each."""
    has_log_y: bool = False


class Plot(NamedTuple):
    """How a section is drawn."""

    size: str
    """The column that grows."""
    size_label: str
    panels: tuple[Panel, ...]


PLOTS: dict[str, Plot] = {
    "keys": Plot(
        "keys", "keys in the database",
        (
            Panel(
                "speed, 20 connections", "per second",
                (("set_per_second", "set"), ("get_safe_per_second", "get-safe")),
            ),
            Panel(
                "speed, to that with 1,000 keys then", "ratio",
                (("set_ratio", "set"), ("get_safe_ratio", "get-safe")),
            ),
            Panel("start", "ms", (("start_ms", "until ready"),)),
            Panel("memory and file", "MiB", (("rss_anon_mib", "private memory"), ("file_mib", "file")), has_log_y=True),
        ),
    ),
    "listing": Plot(
        "keys", "keys in the database",
        (
            Panel(
                "time of one list", "ms, p50",
                (("prefix_p50_ms", "100 by prefix"), ("suffix_p50_ms", "1 by its end"), ("all_p50_ms", "all")),
                has_log_y=True,
            ),
            Panel(
                "20 other connections", "ms",
                (
                    ("others_p50_ms", "p50 before"), ("others_p99_ms", "p99 before"),
                    ("others_during_p50_ms", "p50 while all are listed"),
                    ("others_during_p99_ms", "p99 while all are listed"),
                ),
                has_log_y=True,
            ),
        ),
    ),
    "connections": Plot(
        "connections", "connections",
        (
            Panel(
                "all connect at once", "seconds",
                (("arrival_seconds", "until all are logged in"), ("leave_seconds", "until all are gone")),
            ),
            Panel("private memory", "KiB a connection", (("kib_per_connection", "idle"),)),
            Panel(
                "set", "per second",
                (
                    ("set_alone_per_second", "20 alone"), ("set_beside_idle_per_second", "20 beside the idle"),
                    ("set_all_per_second", "all of them"),
                ),
            ),
        ),
    ),
    "watchers": Plot(
        "watchers", "watchers of one key",
        (
            Panel(
                "from set to the last receipt", "ms",
                (
                    ("last_receipt_p50_ms", "p50"), ("last_receipt_p99_ms", "p99"),
                    ("generator_p50_ms", "p50 of a server that does nothing"),
                ),
                has_log_y=True,
            ),
            Panel("processor time of the server", "µs an event", (("cpu_us_per_event", "all of it"),)),
        ),
    ),
    "watches": Plot(
        "watches", "watched keys",
        (
            Panel("private memory", "bytes a watch", (("bytes_per_watch", "100 sessions"),)),
            Panel(
                "set, 20 connections", "per second",
                (("unwatched_set_per_second", "nobody watches"), ("watched_set_per_second", "each key is watched")),
            ),
        ),
    ),
    "presence": Plot(
        "sessions", "sessions that watch $connections",
        (
            Panel("all connect at once", "seconds", (("seconds", "until each knows that all are there"),)),
            Panel("processor time of the server", "µs a session", (("cpu_us_per_session", "all of it"),)),
        ),
    ),
    "values": Plot(
        "value_bytes", "bytes of the value",
        (
            Panel("one at a time", "ms, p50", (("set_p50_ms", "set"), ("get_safe_p50_ms", "get-safe")), has_log_y=True),
            Panel("8 in flight", "MB a second", (("set_mb_per_second", "set"), ("get_safe_mb_per_second", "get-safe"))),
        ),
    ),
    "databases": Plot(
        "databases", "databases",
        (
            Panel("create-db", "ms", (("create_p50_ms", "p50"), ("create_p99_ms", "p99"))),
            Panel("use-db", "ms, p50", (("use_p50_ms", "the same token again"), ("use_all_p50_ms", "each in turn"))),
            Panel(
                "private memory", "MiB", (("rss_anon_mib", "all made"), ("rss_anon_restarted_mib", "after a restart")),
            ),
        ),
    ),
}  # fmt: skip


def load_matplotlib() -> Pyplot:
    """The library's `pyplot`. Raises PlotError when it is missing."""
    try:
        matplotlib: Pyplot = importlib.import_module("matplotlib")
    except ImportError:
        raise PlotError(
            "matplotlib is missing, which draws the plots: install it for this Python"
            f" ({sys.executable} -m pip install matplotlib), or measure with --json FILE alone and draw with any"
            " Python that has it: PYTHONPATH=scripts python3 -m tools.benchmark.plots FILE DIR"
        ) from None
    matplotlib.use("svg")
    matplotlib.rcParams.update(_SETTINGS)
    return importlib.import_module("matplotlib.pyplot")


def draw(figures: dict[str, Any], folder: Path) -> list[Path]:
    """Draw every section that has points; return the files. Raises PlotError when matplotlib is missing."""
    pyplot = load_matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for section in figures.get("scale", []):
        if section["points"]:
            paths.append(folder / f"{FILE_PREFIX}{section['name']}.svg")
            _save(_draw_section(pyplot, section), paths[-1])
    if readers := figures.get("slow_reader", []):
        paths.append(folder / f"{FILE_PREFIX}slow-reader.svg")
        _save(_draw_slow_reader(pyplot, readers), paths[-1])
    return paths


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def _new_figure(pyplot: Pyplot, panels: int) -> tuple[Figure, list[Axes]]:
    width, height = _PANEL_INCHES
    figure, axes = pyplot.subplots(1, panels, figsize=(width * panels, height), squeeze=False)
    return figure, list(axes[0])


def _draw_section(pyplot: Pyplot, section: dict[str, Any]) -> Figure:
    plot = PLOTS[section["name"]]
    figure, all_axes = _new_figure(pyplot, len(plot.panels))
    points = section["points"]
    durabilities = list(dict.fromkeys(point.get("durability") for point in points))
    for axes, panel in zip(all_axes, plot.panels, strict=True):
        for number, durability in enumerate(durabilities):
            chosen = [point for point in points if point.get("durability") == durability]
            axes.set_prop_cycle(None)  # the same colours again, with another kind of line
            for column, label in panel.lines:
                known = [point for point in chosen if column in point]
                axes.plot(
                    [point[plot.size] for point in known],
                    [point[column] for point in known],
                    ("o-", "s--")[number],
                    markersize=4,
                    label=f"{label}, {durability}" if len(durabilities) > 1 else label,
                )
        axes.set(title=panel.title, xlabel=plot.size_label, ylabel=panel.y_label, xscale="log")
        if panel.has_log_y:
            axes.set_yscale("log")
        else:
            axes.set_ylim(0, 1.05 * axes.get_ylim()[1])  # room above the highest point, which else is cut
        axes.legend(fontsize=7)
    return figure


def _draw_slow_reader(pyplot: Pyplot, readers: list[dict[str, Any]]) -> Figure:
    figure, (memory, latency) = _new_figure(pyplot, 2)
    for number, reader in enumerate(readers):
        samples = [sample for phase in reader["phases"] for sample in phase["memory"]]
        seconds, held = zip(*samples, strict=True)
        memory.plot(seconds, [one / MIB for one in held], label=reader["durability"])
        before = max(one for _, one in reader["phases"][0]["memory"])
        memory.axhline(
            (before + reader["outbox_bytes_max"]) / MIB, color=f"C{number}", linestyle=":", linewidth=1,
            label=f"allowed, {reader['durability']}",
        )  # fmt: skip
        names = [phase["name"] for phase in reader["phases"]]
        for part, style in (("p50_ms", "o-"), ("p99_ms", "s--")):
            values = [phase["figures"][part] for phase in reader["phases"]]
            latency.plot(names, values, style, color=f"C{number}", label=f"{part[:3]}, {reader['durability']}")
    stopped = readers[0]["phases"][1]["memory"]
    memory.axvspan(stopped[0][0], stopped[-1][0], alpha=0.08, label="one does not read")
    memory.set(title="private memory of the server", xlabel="seconds", ylabel="MiB")
    memory.set_ylim(bottom=0)
    latency.set(title="from set to receipt, the others", ylabel="ms")
    latency.set_ylim(bottom=0)
    for axes in (memory, latency):
        axes.legend(fontsize=7)
    return figure


def merge(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The figures of several runs as of one; of a section that was measured twice the later one counts."""
    sections: dict[str, Any] = {}
    readers: dict[str, Any] = {}
    for part in parts:
        sections |= {section["name"]: section for section in part.get("scale", [])}
        readers |= {reader["durability"]: reader for reader in part.get("slow_reader", [])}
    return {"scale": list(sections.values()), "slow_reader": list(readers.values())}


def main(arguments: list[str]) -> None:
    """Draw files that --json wrote."""
    if len(arguments) < 2:
        sys.exit("usage: PYTHONPATH=scripts python3 -m tools.benchmark.plots FILE… DIR")
    *files, folder = map(Path, arguments)
    try:
        paths = draw(merge(json.loads(file.read_text(encoding="utf-8")) for file in files), folder)
    except (PlotError, OSError, ValueError) as error:
        sys.exit(str(error))
    print("\n".join(map(str, paths)))


if __name__ == "__main__":
    main(sys.argv[1:])
