"""One worker runs all tests of a file, and all of the folders that share much."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tools.clients.server import REPOSITORY, clean_environment

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system

_TESTS = """\
import os, pathlib, pytest

@pytest.mark.parametrize("number", range(8))
def test_it(number):
    with open("ran", "a") as ran:
        print(pathlib.Path(__file__).stem, os.environ["PYTEST_XDIST_WORKER"], file=ran)
"""


def test_what_belongs_together_runs_in_one_worker(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_xdist_make_scheduler\n")
    for file in ("tests/system/browser/one.py", "tests/system/browser/two.py", "tests/three.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(_TESTS)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-n", "2", "--dist", "loadscope", "-o", "python_files=*.py", "tests"],
        cwd=tmp_path,
        env=clean_environment({"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'scripts'}"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    ran = (tmp_path / "ran").read_text().splitlines()
    assert len(ran) == 24
    workers = {name: {line.split()[1] for line in ran if line.startswith(name)} for name in ("one", "two", "three")}
    assert len(workers["one"] | workers["two"]) == len(workers["three"]) == 1
