"""PyPI's `nun-db-py`, unmodified, against a real server: its own test suite, and what that leaves out."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.node import INSTALL_SECONDS_MAX, leave_out
from tools.clients.server import REPOSITORY, clean_environment

if TYPE_CHECKING:
    from tools.clients.server import Server

FOLDER = Path(__file__).parent
LOCK = FOLDER / "python.lock"
RUN_SECONDS_MAX = 150.0


def install(folder: Path) -> None:
    """Install the client into a folder of its own, once for each version of the lock file and of Python."""
    wanted = f"{hashlib.sha256(LOCK.read_bytes()).hexdigest()} {sys.version}"
    stamp = folder / "stamp"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        # It says that it needs Python 3.12 but uses nothing of it; its requirements are in the lock file.
        command += ["--no-deps", "--ignore-requires-python", "--only-binary", ":all:", "--require-hashes"]
        installation = subprocess.run(
            [*command, "--target", str(folder), "--requirement", str(LOCK)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS_MAX,
            check=False,
        )
        if installation.returncode != 0:
            leave_out(f"the public Python client could not be installed: {installation.stderr.strip()[-2000:]}")
        stamp.write_text(wanted)


@pytest.mark.timeout(INSTALL_SECONDS_MAX + RUN_SECONDS_MAX + 30)
def test_the_client_and_its_own_test_suite(server: Server) -> None:
    packages = REPOSITORY / "build" / "nun-db-py"
    install(packages)
    environment = clean_environment({})
    environment["PYTHONPATH"] = os.fspath(packages)
    ended = subprocess.run(
        [sys.executable, FOLDER / "python_client.py", f"ws://{server.websocket}", server.user, server.password],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS_MAX,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    result = json.loads(ended.stdout.splitlines()[-1])
    assert {name: outcome for name, outcome in result["tests"].items() if outcome != "passed"} == {}
    assert len(result["tests"]) == 7
    assert result["after_removal"] == "<Empty>"
    assert result["last"] == "third"
    assert result["events"] == ["first", "second"]
    assert result["users"] == ["$$user_ana"]
    # The client keeps the first word of a value only.
    assert result["words"] == "several"
