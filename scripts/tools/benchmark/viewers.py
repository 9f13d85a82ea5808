"""From camera to camera: two released OHIF viewers in a real Chromium, by the session of tests/system/ohif."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final

from tools.benchmark.processes import MeasureError
from tools.clients.server import REPOSITORY

FIGURES: Final = REPOSITORY / "build" / "artifacts" / "ohif-latency.json"
_TEST: Final = "tests/system/ohif/test_two_viewers.py::test_the_time_from_camera_to_camera"


def measure_viewers() -> dict[str, Any]:
    """The session's figures. Raises MeasureError, with the reason, if there is no viewer or no Chromium."""
    FIGURES.unlink(missing_ok=True)
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-m", "", _TEST]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if run.returncode != 0 or not FIGURES.exists():
        raise MeasureError(f"the viewers could not be measured:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    figures: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    return figures


def summary(figures: dict[str, Any]) -> str:
    """The figures in a line."""
    p50, p95, cameras = (figures[name] for name in ("p50", "p95", "cameras"))
    return f"2 OHIF viewers, camera to camera: p50 {p50} ms, p95 {p95} ms ({cameras} cameras; {figures['about']})"
