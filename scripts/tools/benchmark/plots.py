"""Draws what `scripts/bench --scale` or `--cluster` wrote with --json, as one SVG file for each section.

Needs matplotlib, which is neither a dependency of the server nor of its tests. So that any Python that has it can draw
(`PYTHONPATH=scripts python3 -m tools.benchmark.plots FILE… DIR`), nothing else of the benchmark is imported here.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

FILE_PREFIX = "performance-"
PANELS = {
    "keys": (
        "set_per_second get_safe_per_second", "set_ratio get_safe_ratio", "start_ms", "rss_anon_mib file_mib",
    ),
    "listing": (
        "prefix_p50_ms suffix_p50_ms all_p50_ms",
        "others_p50_ms others_p99_ms others_during_p50_ms others_during_p99_ms",
    ),
    "connections": (
        "arrival_seconds leave_seconds", "kib_per_connection",
        "set_alone_per_second set_beside_idle_per_second set_all_per_second",
    ),
    "watchers": ("last_receipt_p50_ms last_receipt_p99_ms generator_p50_ms", "cpu_us_per_event"),
    "watches": ("bytes_per_watch", "unwatched_set_per_second watched_set_per_second"),
    "presence": ("seconds", "cpu_us_per_session"),
    "values": ("set_p50_ms get_safe_p50_ms", "set_mb_per_second get_safe_mb_per_second"),
    "cluster-fan-out": ("owner_cpu_us_per_event",),
    "databases": ("create_p50_ms create_p99_ms", "use_p50_ms use_all_p50_ms", "rss_anon_mib rss_anon_restarted_mib"),
}  # fmt: skip
"""The figures of each section that share a panel, over the section's size (the first figure of a point)."""
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pynun",  # the same figures give the same file
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_LOG_RANGE = 30
"""Figures of which the largest is so many times the smallest get a logarithmic axis."""


class PlotError(Exception):
    """Nothing can be drawn here; the text says what to do."""


def load_matplotlib() -> Any:  # noqa: ANN401 - matplotlib may be missing, so no type checker here knows it
    """The library's `pyplot`. Raises PlotError when it is missing."""
    try:
        matplotlib = importlib.import_module("matplotlib")
    except ImportError:
        raise PlotError(
            "matplotlib is missing, which draws the plots: install it for this Python"
            f" ({sys.executable} -m pip install matplotlib), or measure with --json FILE alone and draw with any"
            " Python that has it: PYTHONPATH=scripts python3 -m tools.benchmark.plots FILE DIR"
        ) from None
    matplotlib.use("svg")
    matplotlib.rcParams.update(_SETTINGS)
    return importlib.import_module("matplotlib.pyplot")


def draw(sections: list[dict[str, Any]], folder: Path) -> list[Path]:
    """Draw every section that has points; return the files. Raises PlotError when matplotlib is missing."""
    pyplot = load_matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for section in sections:
        if (points := section["points"]) and section["name"] in PANELS:
            paths.append(folder / f"{FILE_PREFIX}{section['name']}.svg")
            figure = _draw_section(pyplot, PANELS[section["name"]], points)
            figure.tight_layout()
            figure.savefig(paths[-1], metadata={"Date": None})
    return paths


def _draw_section(pyplot: Any, panels: tuple[str, ...], points: list[dict[str, Any]]) -> Any:  # noqa: ANN401
    figure, all_axes = pyplot.subplots(1, len(panels), figsize=(4.3 * len(panels), 3.3), squeeze=False)
    size = next(iter(points[0]))
    durabilities = list(dict.fromkeys(point.get("durability") for point in points))
    for axes, panel in zip(all_axes[0], panels, strict=True):
        for name in panel.split():
            for style, durability in zip(("o-", "s--"), durabilities, strict=False):
                known = [point for point in points if point.get("durability") == durability and name in point]
                label = name.replace("_", " ") + (f", {durability}" if len(durabilities) > 1 else "")
                axes.plot([one[size] for one in known], [one[name] for one in known], style, markersize=4, label=label)
        drawn = [point[name] for point in points for name in panel.split() if name in point]
        axes.set_xlabel(size.replace("_", " "))
        if not isinstance(points[0][size], str):
            axes.set_xscale("log")
        if min(drawn) > 0 and max(drawn) / min(drawn) > _LOG_RANGE:
            axes.set_yscale("log")
        else:
            axes.set_ylim(0, 1.05 * axes.get_ylim()[1])  # room above the highest point, which else is cut
        axes.legend(fontsize=7)
    return figure


def main(arguments: list[str]) -> None:
    """Draw files that --json wrote; of a section that was measured twice the later one counts."""
    if len(arguments) < 2:
        sys.exit("usage: PYTHONPATH=scripts python3 -m tools.benchmark.plots FILE… DIR")
    *files, folder = map(Path, arguments)
    try:
        found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        read = [one.get("scale") or one.get("cluster", []) for one in found]
        sections = {section["name"]: section for part in read for section in part}
        print("\n".join(map(str, draw(list(sections.values()), folder))))
    except (PlotError, OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
