"""The service of docs/running.md: systemd takes the unit, the server takes the settings."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from pynun import settings
from tests.docs.blocks import blocks
from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

PAGE = REPOSITORY / "docs" / "running.md"
PROGRAM = "/opt/pynun/bin/nun-db"


def block(info: str) -> str:
    """Return the one block of the page with these words behind its fence."""
    (found,) = [block.text for block in blocks(PAGE) if block.info == info]
    return found


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    analyse = shutil.which("systemd-analyze")
    if analyse is None:
        pytest.skip("systemd-analyze is missing; install it with: apt-get install systemd")
    program = tmp_path / "nun-db"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = block("ini unit")
    assert f"ExecStart={PROGRAM} start\n" in text
    unit = tmp_path / "nun-db.service"
    unit.write_text(text.replace(PROGRAM, str(program)))
    verified = subprocess.run([analyse, "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    told = [line for line in (verified.stdout + verified.stderr).splitlines() if "nun-db" in line]
    assert (verified.returncode, told) == (0, [])
    unit.write_text(text.replace(PROGRAM, str(program)).replace("LimitNOFILE=65536", "LimitNOFILE=many"))
    wrong = subprocess.run([analyse, "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    assert "nun-db.service:" in wrong.stdout + wrong.stderr


def test_the_server_takes_the_settings_and_the_unit_gives_it_the_folder() -> None:
    given = dict(line.split("=", 1) for line in block("text environment").splitlines())
    loaded = settings.load(given, {})
    assert str(loaded.data_dir) == "/var/lib/nun-db/dbs"
    assert loaded.websocket_address.port == 3012
    assert loaded.http_address == ("127.0.0.1", 3013)
    assert not loaded.unused
    assert "StateDirectory=nun-db\n" in block("ini unit")


def test_systemd_ends_no_server_whose_disk_is_only_slow() -> None:
    installed = (REPOSITORY / "scripts" / "installer" / "pynun.service").read_text(encoding="utf-8")
    for unit in (block("ini unit"), installed):
        assert "WatchdogSec=180\n" in unit
