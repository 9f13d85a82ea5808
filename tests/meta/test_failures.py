"""A failure prints a screenful: its beginning and its end."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.failures import shortened
from tools.clients.server import REPOSITORY, clean_environment

if TYPE_CHECKING:
    from pathlib import Path

_TEST = """\
def test_it():
    print("printed\\n" * 1000)
    text = "\\n".join(map(str, range(1000)))
    assert text == "x" * 100_000, f"{text} and {'y' * 100_000}"
"""


def test_lines_and_their_ends_are_left_out() -> None:
    assert shortened("a\nb\nc", 1, 1) == "a\nb\nc"
    assert shortened("a\nb\nc\nd", 1, 1) == "a\n… (2 lines; pytest -vv shows all)\nd"
    assert shortened("x" * 1000, 1, 1) == f"{'x' * 400}… (1000 characters)"


@pytest.mark.parametrize(("option", "is_short"), [("-q", True), pytest.param("-vv", False, marks=pytest.mark.system)])
def test_a_failure_prints_a_screenful(tmp_path: Path, option: str, is_short: bool) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_runtest_makereport\n")
    (tmp_path / "test_long.py").write_text(_TEST)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", option, "test_long.py"],
        cwd=tmp_path,
        # Where CI is set, pytest itself leaves nothing out.
        env=clean_environment({"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'scripts'}", "CI": "1"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr[-2000:]
    assert "test_long.py:4: AssertionError" in done.stdout
    assert (len(done.stdout.splitlines()) < 90) == is_short
    assert (len(done.stdout) < 10_000) == is_short
