"""The measurements at scale, on small sizes: all figures are there, and what is wrong becomes an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.benchmark.test_bench import TIMING, run_bench
from tools.benchmark import plots, slow_reader
from tools.benchmark.measure import Figures, Generator, MeasureError
from tools.benchmark.processes import REPOSITORY
from tools.benchmark.runs import MIB
from tools.benchmark.scale import PARTS, ScalePlan, plan_of
from tools.benchmark.scale_data import crowd_order, load_keys, run_alone
from tools.benchmark.sections import Column, Section
from tools.benchmark.servers import DATABASE, TOKEN, run_pynun, run_raw
from tools.benchmark.slow_reader import Newest, Phase, Sample, SlowReader
from tools.benchmark.wire import Control

if TYPE_CHECKING:
    from pathlib import Path

SMALL = ("--quick", "--seconds", "0.1", "--keys-max", "2000", "--connections-max", "20", "--durability", "relaxed")
SIZES = {
    "keys": ("keys", [1000, 2000]),
    "listing": ("keys", [1000, 2000]),
    "connections": ("connections", [20]),
    "watchers": ("watchers", [10, 20]),
    "watches": ("watches", [100, 1000, 2000]),
    "presence": ("sessions", [40]),
    "values": ("value_bytes", [1024, 4096, 16384, 65536, 262144, 1048576]),
    "databases": ("databases", [1, 10, 20]),
}


def small_plan(folder: Path) -> ScalePlan:
    return plan_of(
        timing=TIMING, repeat=1, durabilities=("relaxed",), folder=folder, keys_max=2000, connections_max=20,
        is_quick=True,
    )  # fmt: skip


def written(folder: Path, *arguments: str) -> dict[str, Any]:
    """The JSON of a run that must succeed."""
    path = folder / "figures.json"
    done = run_bench(*arguments, "--data-dir", str(folder), "--json", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(one.name for one in folder.iterdir()) == ["figures.json"], "data were left behind"
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return figures


@pytest.mark.parametrize("part", PARTS)
def test_a_part_gives_every_figure_at_every_size(part: str, disk_folder: Path) -> None:
    [section] = written(disk_folder, "--scale", part, *SMALL)["scale"]
    size, expected = SIZES[part]
    assert section["error"] is None
    assert [point[size] for point in section["points"]] == expected
    names = {column["name"] for column in section["columns"]}
    for number, point in enumerate(section["points"]):
        # Only where something was loaded is there a figure for it, and here that is at every size.
        assert point.keys() == names, number
        assert all(value == "relaxed" or value >= 0 for name, value in point.items() if name != "kib_per_connection")


def test_a_slow_reader_costs_nobody_and_ends_with_the_newest(disk_folder: Path) -> None:
    arguments = ("--slow-reader", "--seconds", "3", "--durability", "relaxed")
    [reader] = written(disk_folder, *arguments)["slow_reader"]
    assert reader["complaints"] == []
    assert [phase["name"] for phase in reader["phases"]] == ["all read", "one does not", "all read again"]
    assert all(phase["sets"] > 0 and phase["figures"]["p99_ms"] > 0 for phase in reader["phases"])
    assert reader["growth_bytes"] <= 8 * MIB
    assert 0 < reader["events_received"] <= reader["phases"][1]["sets"]


def test_more_memory_than_an_outbox_is_wrong() -> None:
    def phase(rss_anon_mib: int) -> Phase:
        figures = Figures(operations_per_second=1, p50_ms=1, p99_ms=1)
        return Phase(name="", watchers=1, figures=figures, sets=1, memory=[Sample(0, rss_anon_mib * MIB)])

    for grown_to, is_wrong in ((38, False), (39, True)):
        found = SlowReader(durability="always", phases=[phase(30), phase(grown_to)])
        slow_reader.judge_memory(found)
        assert bool(found.complaints) is is_wrong
        assert ("WRONG" in found.table()) is is_wrong


def test_a_version_after_a_newer_one_is_wrong(disk_folder: Path) -> None:
    """The server that does nothing gives every event version 0."""
    with (
        run_raw(disk_folder) as server,
        Control(server.addresses["websocket"]) as stopped,
        Control(server.addresses["websocket"]) as writer,
    ):
        stopped.ask("watch k")
        writer.ask_all([f"set k {'v' * 200}"] * 2)
        found = SlowReader(durability="no disk")
        slow_reader.read_again(stopped, {"k": Newest(1, "v" * 200)}, found)
    assert found.complaints == ["k: version 0 came after 0"]


def test_a_last_value_that_never_comes_is_wrong(disk_folder: Path) -> None:
    with (
        run_pynun(disk_folder, "relaxed") as server,
        Control(server.addresses["websocket"], reply_seconds_max=0.3) as stopped,
    ):
        stopped.ask(f"use-db {DATABASE} {TOKEN}")
        stopped.ask("watch k")
        stopped.ask("set k first")
        with Control(server.addresses["websocket"]) as writer:
            writer.ask(f"use-db {DATABASE} {TOKEN}")
            writer.ask("set k second")
        found = SlowReader(durability="relaxed")
        slow_reader.read_again(stopped, {"k": Newest(2, "third")}, found)
    assert found.events_received == 1, "the event of its own change came with the answer"
    assert found.complaints[-1].startswith("the stopped reader did not end with the newest of 1 keys")


def test_a_list_with_a_key_too_few_is_an_error(disk_folder: Path) -> None:
    with run_pynun(disk_folder, "relaxed") as server:
        load_keys(server, 0, 1000)
        order = replace(crowd_order(server, "lister"), pattern="key-*", key_count=1001)
        with Generator(order) as lister:
            lister.next_line()
            with pytest.raises(MeasureError, match="1000 keys were listed instead of 1001"):
                run_alone(lister, 0)


def test_keys_that_a_server_refuses_are_an_error(disk_folder: Path) -> None:
    with run_pynun(disk_folder, "relaxed") as server:
        order = replace(crowd_order(server, "loader", protocol="tcp"), token="wrong")
        with Generator(order) as loader, pytest.raises(MeasureError, match="the server answered"):
            loader.next_line()


def test_a_point_with_a_figure_that_no_column_shows_is_refused() -> None:
    section = Section(name="s", title="S", columns=(Column("size", "size"), Column("ms", "ms", ".1f")))
    section.add({"size": 1000, "ms": 0.25})
    section.error = "the disk is full"
    assert section.table().splitlines() == ["S", " size   ms", "──────────", "1,000  0.2", "failed: the disk is full"]
    with pytest.raises(AssertionError, match="seconds"):
        section.add({"seconds": 1})


def test_every_section_can_be_drawn(disk_folder: Path) -> None:
    """What the plots show are columns of the sections: a section says its columns before it measures anything."""
    assert plots.PLOTS.keys() == PARTS.keys()
    for name, part in PARTS.items():
        columns = {column.name for column in next(part(small_plan(disk_folder))).columns}
        drawn = {column for panel in plots.PLOTS[name].panels for column, _ in panel.lines}
        assert drawn | {plots.PLOTS[name].size} <= columns, name


def test_plots_of_several_runs() -> None:
    first = {"scale": [{"name": "keys", "points": [1]}, {"name": "values", "points": [2]}]}
    later = {"scale": [{"name": "keys", "points": [3]}], "slow_reader": [{"durability": "always"}]}
    merged = plots.merge([first, later])
    assert [section["points"] for section in merged["scale"]] == [[3], [2]]
    assert merged["slow_reader"] == [{"durability": "always"}]


def test_without_matplotlib_the_command_says_what_to_do(disk_folder: Path) -> None:
    (disk_folder / "matplotlib.py").write_text("raise ImportError\n", encoding="utf-8")  # as if it were missing
    path = os.pathsep.join((str(disk_folder), str(REPOSITORY / "scripts"), str(REPOSITORY)))
    command = [sys.executable, "-P", "-m", "tools.benchmark", "--scale", "--plot", str(disk_folder)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "matplotlib is missing" in done.stderr
    assert "python3 -m tools.benchmark.plots FILE DIR" in done.stderr


def test_plots_are_drawn_where_matplotlib_is_installed(disk_folder: Path) -> None:
    pytest.importorskip("matplotlib", reason="draws the plots of docs/performance.md; no test needs it")
    columns = {column for plot in plots.PLOTS.values() for panel in plot.panels for column, _ in panel.lines}
    points = [{plot.size: size for plot in plots.PLOTS.values()} | dict.fromkeys(columns, size) for size in (1, 10)]
    phases = [
        {"name": name, "memory": [[start, MIB], [start + 1, MIB]], "figures": {"p50_ms": 1, "p99_ms": 2}}
        for start, name in enumerate(("before", "stopped", "after"))
    ]
    reader = {"durability": "always", "outbox_bytes_max": 8 * MIB, "phases": phases}
    figures = {"scale": [{"name": name, "points": points} for name in plots.PLOTS], "slow_reader": [reader]}
    paths = plots.draw(figures, disk_folder)
    assert [path.name for path in paths] == [f"performance-{name}.svg" for name in (*plots.PLOTS, "slow-reader")]
    assert all(path.read_text(encoding="utf-8").startswith("<?xml") for path in paths)
