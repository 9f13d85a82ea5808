"""What the log asks of the system for a batch: one write and one sync, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.traces import why_no_trace
from tools.clients.server import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

BATCHES = 30

_STORE = f"""
import os, sys
from pynun.storage.wal.disk import Disk
from pynun.storage.wal.write_ahead_log import WriteAheadLog
log = WriteAheadLog(Disk(os.open(sys.argv[1], os.O_RDONLY)), b"the id of a log.", 0, is_in_use=False)
log.start()
os.write(1, b"begin")
for revision in range(1, {BATCHES} + 1):
    assert log.has_room(5000)
    log.append(revision, revision, 0, bytes(revision * 100))
    log.sync()
os.write(1, b"end")
"""


@pytest.fixture(name="folder")
def _folder(disk_folder: Path) -> Path:
    if reason := why_no_trace(disk_folder):
        pytest.skip(reason)
    folder = disk_folder / "dbs"
    folder.mkdir()
    return folder


def test_a_batch_takes_one_write_and_one_sync(folder: Path) -> None:
    trace = folder.with_name("trace")
    subprocess.run(
        ["strace", "-o", trace, "-s", "5", "-e", "trace=file,desc", sys.executable, "-c", _STORE, folder],
        check=True,
        stdout=subprocess.DEVNULL,
        env=clean_environment({}),
        timeout=120,
    )
    calls = trace.read_text(encoding="utf-8").partition('"begin"')[2].partition('"end"')[0].splitlines()[1:-1]
    assert [re.match(r"\w+", call).group() for call in calls] == ["pwrite64", "fdatasync"] * BATCHES  # type: ignore[union-attr]
