"""A server without a cluster has nothing of it, not even in memory."""

from __future__ import annotations

import subprocess
import sys

from tools.clients.server import REPOSITORY, clean_environment

OF_EVERY_SERVER = ["pynun.cluster", "pynun.cluster.note"]
"""A member's folder must be refused."""


def test_it_imports_nothing_of_a_cluster() -> None:
    script = "import sys, pynun.server.app; print(*(name for name in sys.modules if name.startswith('pynun.cluster')))"
    found = subprocess.run(
        [sys.executable, "-c", script],
        env=clean_environment({}),
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        timeout=60,
    )
    names = [name for name in found.stdout.decode().split() if name != "pynun.cluster_settings"]
    assert names == OF_EVERY_SERVER
