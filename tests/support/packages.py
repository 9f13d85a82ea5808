"""The packages of the image and the bundle, downloaded as their users download them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

from tools.clients.server import REPOSITORY, clean_environment

if TYPE_CHECKING:
    from pathlib import Path

PYTHONS: Final = ("3.11", "3.12", "3.13")
_DOWNLOAD_SECONDS_MAX: Final = 600.0


def make_packages(folder: Path, *options: str, pythons: tuple[str, ...] = PYTHONS) -> Path:
    """Run scripts/wheels; returns the folder."""
    made = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "tools.bundle.wheels", "--output", folder),
            *(part for python in pythons for part in ("--python", python)),
            *options,
        ],
        env={**clean_environment({}), "PYTHONPATH": f"{REPOSITORY / 'scripts'}:{REPOSITORY}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_DOWNLOAD_SECONDS_MAX,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return folder
