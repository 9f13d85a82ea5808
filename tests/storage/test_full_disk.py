"""A server that is started where there is no room, or next to none, for its first files says so in a line."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.server import nun_db

if TYPE_CHECKING:
    from pathlib import Path

ADDRESSES = [part for option in ("-w", "-h", "-t") for part in (option, "127.0.0.1:0")]


@pytest.mark.parametrize("room_kib", [4, 8, 16])
def test_no_room_for_the_first_files(disk_folder: Path, room_kib: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = disk_folder / "full"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={room_kib}k,mode=0700", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.strip()}")
    try:
        ended = nun_db("-u", "u", "-p", "p", "start", *ADDRESSES, environment={"NUN_DBS_DIR": str(disk)})
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert ended.returncode == 1, ended
    assert ended.stderr == (
        f"nun-db: the data folder {disk} can't be used: No space left on device; make room there, or choose another"
        " folder with NUN_DBS_DIR\n"
    )
