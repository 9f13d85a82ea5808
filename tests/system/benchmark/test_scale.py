"""The measurements at scale, on small sizes: all figures are there, and what is wrong becomes an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.benchmark.test_bench import run_bench
from tools.benchmark import plots, slow_reader, wire
from tools.benchmark.crowd import Lister
from tools.benchmark.measure import run_alone
from tools.benchmark.processes import MeasureError
from tools.benchmark.scale import PARTS, Section
from tools.benchmark.servers import load_keys, run_pynun, run_raw
from tools.benchmark.wire import LOGIN, Control, WireError
from tools.clients.server import REPOSITORY

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
    for point in section["points"]:
        assert next(iter(point)) == size
        drawn = {name for panel in plots.PANELS[part] for name in panel.split()}
        assert drawn <= point.keys()
        assert all(value == "relaxed" or value >= 0 for name, value in point.items() if name != "kib_per_connection")


def test_a_slow_reader_costs_nobody_and_ends_with_the_newest(disk_folder: Path) -> None:
    arguments = ("--slow-reader", "--seconds", "1", "--durability", "relaxed")
    [section] = written(disk_folder, *arguments)["scale"]
    assert section["error"] is None
    assert [point["phase"] for point in section["points"]] == ["all read", "one stopped", "all read again"]
    assert all(point["sets"] > 0 and point["p99_ms"] > 0 for point in section["points"])
    stopped = section["points"][1]
    assert 0 < stopped["events_when_read_again"] <= stopped["sets"]


def test_more_memory_than_an_outbox_is_wrong() -> None:
    slow_reader.judge_memory(30, 38)
    with pytest.raises(MeasureError, match=r"memory grew by 8\.1 MiB"):
        slow_reader.judge_memory(30, 38.1)


def test_a_version_after_a_newer_one_is_wrong(disk_folder: Path) -> None:
    """The server that does nothing gives every event version 0."""
    with (
        run_raw(disk_folder) as server,
        Control(server.addresses["websocket"]) as stopped,
        Control(server.addresses["websocket"]) as writer,
    ):
        stopped.ask("watch k")
        writer.ask_all([f"set k {'v' * 200}"] * 2)
        with pytest.raises(MeasureError, match="k: version 0 came after 0"):
            slow_reader.read_again(stopped, {"k": f"1 {'v' * 200}"})


def test_a_last_value_that_never_comes_is_wrong(disk_folder: Path) -> None:
    with (
        run_pynun(disk_folder, "relaxed") as server,
        Control(server.addresses["websocket"], reply_seconds_max=0.3) as stopped,
        Control(server.addresses["websocket"]) as writer,
    ):
        for control in (stopped, writer):
            control.ask(LOGIN)
        stopped.ask("watch k")
        writer.ask("set k second")
        with pytest.raises(MeasureError, match="newest of 1 keys; k: 0 second instead of 2 third"):
            slow_reader.read_again(stopped, {"k": "2 third"})


def test_a_list_with_a_key_too_few_is_an_error(disk_folder: Path) -> None:
    with run_pynun(disk_folder, "relaxed") as server:
        load_keys(server, 0, 1000)
        lister = Lister(address=server.addresses["websocket"], pattern="key-*", count=1001)
        with pytest.raises(MeasureError, match="1000 keys were listed instead of 1001"):
            run_alone(lister, 0)


def test_a_login_that_a_server_refuses_is_an_error(disk_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LOGIN", f"{LOGIN}-wrong")
    with run_pynun(disk_folder, "relaxed") as server, pytest.raises(WireError, match="the server answered"):
        load_keys(server, 0, 1)


def test_a_part_that_fails_keeps_its_points() -> None:
    section = Section(name="s", title="S", points=[{"size": 1000, "time_ms": 0.25}, {"size": 10_000}])
    section.error = "the disk is full"
    assert section.table().splitlines() == [
        "S",
        "  size  time ms",
        "───────────────",
        " 1,000     0.25",
        "10,000",
        "failed: the disk is full",
    ]


def test_without_matplotlib_the_command_says_what_to_do(disk_folder: Path) -> None:
    (disk_folder / "matplotlib.py").write_text("raise ImportError\n", encoding="utf-8")  # as if it were missing
    path = os.pathsep.join((str(disk_folder), str(REPOSITORY / "scripts"), str(REPOSITORY)))
    command = [sys.executable, "-P", "-m", "tools.benchmark", "--scale", "--plot", str(disk_folder)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert "matplotlib is missing" in done.stderr
    assert "python3 -m tools.benchmark.plots FILE DIR" in done.stderr


def test_plots_are_drawn_where_matplotlib_is_installed(disk_folder: Path) -> None:
    pytest.importorskip("matplotlib", reason="draws the plots of docs/performance.md; no test needs it")
    sections = [
        {
            "name": name,
            "points": [
                {"size": size} | {figure: size for panel in panels for figure in panel.split()} for size in (1, 100)
            ],
        }
        for name, panels in plots.PANELS.items()
    ]
    paths = plots.draw(sections, disk_folder)
    assert [path.name for path in paths] == [f"performance-{name}.svg" for name in plots.PANELS]
    assert all(path.read_text(encoding="utf-8").startswith("<?xml") for path in paths)
