"""A failed write to the data file is not damage: restoring a backup then would lose stored changes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pynun.errors import DamageError
from pynun.storage import schema
from pynun.storage.integrity.page_walk import after_damage
from pynun.storage.store import LmdbStore
from tests.support.data_pages import PAGE_BYTES, pages_in_use
from tests.support.traces import why_no_trace
from tools.clients.exact_clients import http_post
from tools.clients.server import REPOSITORY, Server, clean_environment
from tools.clients.sessions import create_database

if TYPE_CHECKING:
    from pathlib import Path


def test_whichever_write_fails_the_store_goes_on_and_has_everything(disk_folder: Path) -> None:
    if reason := why_no_trace(disk_folder):
        pytest.skip(reason)
    result = subprocess.run(
        [sys.executable, "-m", "tests.storage.failed_write", str(disk_folder)],
        cwd=REPOSITORY,
        env=clean_environment({}),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert "opened again after a write failed (Input/output error): it is not damaged" in result.stderr
    assert "DamageError" not in result.stdout
    for run in map(json.loads, result.stdout.splitlines()):
        told = run["told"]
        stored = 0
        for number, (change, read, _) in enumerate(zip(told[::3], told[1::3], told[2::3], strict=True), start=1):
            stored = number if change == "stored" else stored
            assert read == f"read {stored}", run
        assert run["found"] == stored, run
        if not run["fault"].endswith("+"):
            assert told[-3:] == ["stored", "read 5", "moved"], run


def test_a_server_whose_disk_fails_opens_the_data_again(disk_folder: Path) -> None:
    if reason := why_no_trace(disk_folder):
        pytest.skip(reason)
    data_dir = disk_folder / "dbs"
    with Server(data_dir) as server:
        create_database(server, "d", then="set k 0")
        assert server.stop() == 0
    data_file = data_dir / schema.DATA_FILE
    # Every fifth: of pages, and sooner or later of the first two, after which LMDB can't go on.
    fault = ["-P", str(data_file), "-e", "trace=pwrite64", "-e", "inject=pwrite64:error=EIO:when=3+5"]
    with Server(data_dir, wrapper=["strace", "-D", "-f", "-o", "/dev/null", *fault]) as failing:
        stored = 0
        deadline = time.monotonic() + 60
        while "was opened again" not in failing.log_text():
            assert time.monotonic() < deadline
            number = stored + 1
            if http_post(failing.http, f"use-db d pwd; set k {number}") == "empty;empty":
                stored = number
            time.sleep(1.2)  # after a second without changes, what was stored is moved
        assert http_post(failing.http, "use-db d pwd; get k") == f"empty;value {stored}\n"
        failing.kill()
    with Server(data_dir) as server:
        assert http_post(server.http, "use-db d pwd; get k") == f"empty;value {stored}\n"


def test_a_backup_is_advised_for_damage_that_was_found(disk_folder: Path) -> None:
    store = LmdbStore(disk_folder / "dbs")
    data_file = store.folder / schema.DATA_FILE
    with data_file.open("r+b") as file:
        for number in pages_in_use(data_file):
            file.seek(number * PAGE_BYTES)
            file.write(bytes(PAGE_BYTES))
    with pytest.raises(DamageError) as caught:
        store.get(b"\0\0\0\1key")
    assert after_damage(store.folder, str(caught.value)).endswith("it was left untouched; restore a backup")
    store.close()
