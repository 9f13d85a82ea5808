"""A failed write to the data file is not damage: restoring a backup then would lose stored changes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pynun.errors import DamageError
from pynun.storage import schema
from pynun.storage.integrity.page_walk import after_damage
from pynun.storage.store import LmdbStore
from tests.support.data_pages import PAGE_BYTES, pages_in_use
from tests.support.traces import why_no_trace
from tools.clients.exact_clients import EndOfConnectionError, http_post
from tools.clients.server import REPOSITORY, Server, clean_environment
from tools.clients.sessions import create_database

if TYPE_CHECKING:
    from pathlib import Path

RESTART = "the data file was read through and is not damaged: start the server again"


def test_whichever_write_fails_a_restart_is_advised_and_has_everything(disk_folder: Path) -> None:
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
    runs = [json.loads(line) for line in result.stdout.splitlines()]
    told = [text for run in runs for text in run["told"]]
    assert len([text for text in told if text.startswith("stopped")]) > 5, result.stdout
    assert all(text.endswith(RESTART) for text in told if text.startswith("stopped")), result.stdout
    assert "backup" not in result.stdout
    for run in runs:
        stored = [number for number, text in enumerate(run["told"], start=1) if text == "stored"]
        assert run["found"] == max(stored, default=0), run


def test_a_server_whose_disk_fails_says_that_it_has_to_be_started_again(disk_folder: Path) -> None:
    if reason := why_no_trace(disk_folder):
        pytest.skip(reason)
    data_dir = disk_folder / "dbs"
    with Server(data_dir) as server:
        create_database(server, "d", then="set k 0")
        assert server.stop() == 0
    data_file = data_dir / schema.DATA_FILE
    # Every seventh: of pages, which is refused, and sooner or later of the first two, after which LMDB can't go on.
    fault = ["-P", str(data_file), "-e", "trace=pwrite64", "-e", "inject=pwrite64:error=EIO:when=4+7"]
    with Server(data_dir, wrapper=["strace", "-D", "-f", "-o", "/dev/null", *fault]) as failing:
        stored = 0
        with contextlib.suppress(EndOfConnectionError, OSError):
            for number in range(1, 500):
                answer = http_post(failing.http, f"use-db d pwd; set k {number}")
                assert answer in ("empty;empty", "empty;not stored: Input/output error")
                if answer == "empty;empty":
                    stored = number
        assert failing.wait(30) == 1
        (line,) = failing.errors
        assert line.startswith("nun-db: the server stopped: ")
        assert line.endswith(f"Input/output error; {RESTART}"), line
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
