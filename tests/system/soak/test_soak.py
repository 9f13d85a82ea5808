"""`scripts/soak`, run for seconds: it works as a whole, and finds a loss; and growth is found where there is some."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tools.benchmark.processes import environment
from tools.soak import report
from tools.soak.run import Figures
from tools.soak.samples import Sample, judge, take_sample

if TYPE_CHECKING:
    from pathlib import Path

    from tools.soak.samples import Moment

MIB = 1 << 20
SAMPLES = 12


def _soak(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    path = folder / "figures.json"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tools.soak", "--data-dir", str(folder), "--json", str(path), *arguments],
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    return done, json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.timeout(300)
def test_a_short_run(disk_folder: Path) -> None:
    done, figures = _soak(disk_folder, "--minutes", "0.2", "--kills", "3")
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert figures["is_good"] is True
    assert figures["options"]["kills"] == figures["figures"]["kills"] == 3
    assert figures["figures"]["acknowledged"] > 200
    assert figures["figures"]["cuts"] > 5
    assert figures["figures"]["events"] > 100
    assert {sample["phase"] for sample in figures["figures"]["samples"]} == {"one long life", "kills"}
    assert "nothing was lost" in done.stdout
    assert "3 kills under load" in done.stdout
    assert [one.name for one in disk_folder.iterdir()] == ["figures.json"], "data were left behind"


@pytest.mark.timeout(300)
def test_a_loss_is_found(disk_folder: Path) -> None:
    """In relaxed durability a killed server may lose the last moment: that must end the run."""
    done, figures = _soak(disk_folder, "--minutes", "0.1", "--kills", "20", "--durability", "relaxed")
    assert done.returncode == 1, done.stdout + done.stderr
    assert figures["is_good"] is False
    assert "in the life with seed" in figures["trouble"]
    assert "FAILED" in done.stdout
    assert "the data folder was kept" in done.stderr


_GROWING = """
import sys, time
kept, files, written = [], [], open(sys.argv[1], "wb")
for line in sys.stdin:
    if "memory" in line:
        kept.append(b"x" * (1 << 20))
    if "descriptors" in line:
        files.append(open("/dev/null"))
    if "data" in line:
        written.write(b"x" * (4 << 20))
        written.flush()
    print("done", flush=True)
"""


@pytest.mark.parametrize(
    ("what", "grown"),
    [
        ("nothing", set()),
        ("memory", {"private memory, MiB", "memory with mapped file, MiB"}),
        ("descriptors", {"descriptors"}),
        ("data", {"data file, MiB"}),
    ],
)
def test_growth_of_a_process_is_found(what: str, grown: set[str], tmp_path: Path) -> None:
    data_file = tmp_path / "data"
    samples = []
    with subprocess.Popen(
        [sys.executable, "-c", _GROWING, str(data_file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        began = time.monotonic()
        for _ in range(SAMPLES):
            print(what, file=process.stdin, flush=True)
            assert process.stdout.readline() == "done\n"
            samples.append(take_sample(process.pid, data_file, phase="p", moment="rest", began=began))
    assert {growth.name for growth in judge("p", samples) if not growth.holds} == grown


def _sample(seconds: float, *, private: int = 30 * MIB, moment: Moment = "rest") -> Sample:
    return Sample("p", moment, seconds, private, 50 * MIB, 14, 2, 4 * MIB)


def test_what_is_seen_under_load_and_at_first_does_not_count() -> None:
    samples = [_sample(0, private=10 * MIB)]
    for number in range(1, SAMPLES):
        samples += [_sample(number), _sample(number, private=(30 + 20 * number) * MIB, moment="load")]
    assert all(growth.holds for growth in judge("p", samples))


def test_too_few_samples_say_nothing() -> None:
    assert judge("p", [_sample(number) for number in range(6)]) == []


def test_the_table_shows_beginning_end_and_the_most_under_load() -> None:
    samples = [_sample(float(number), private=(30 + number) * MIB) for number in range(100)]
    samples.append(_sample(100.0, private=777 * MIB, moment="load"))
    lines = report.table("p", samples).splitlines()
    assert lines[0] == "p, at rest (100 samples)"
    assert len(lines) == 2 + report.ROWS_MAX + 2
    assert lines[2].split() == ["0", "|", "30.0", "|", "50.0", "|", "14", "|", "2", "|", "4.0"]
    assert lines[13].split()[:3] == ["99", "|", "129.0"]
    assert "777.0" in lines[-1]
    assert report.growths(Figures(samples=samples), ["p"])[0].holds is False
