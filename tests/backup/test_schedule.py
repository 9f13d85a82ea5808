"""Backups that the server makes by itself: when, which are kept, and what happens when one can't be made."""

from __future__ import annotations

import calendar
import json
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
import trio

from pynun import limits
from pynun.backup import folder as backup_folder
from pynun.backup.file_format import verify_backup
from pynun.errors import SettingsError
from pynun.server import backup_schedule
from pynun.settings import load
from pynun.storage.files.atomic_file import AtomicFile, partial_name
from tests.backup.data import fill, silent
from tools.clients.exact_clients import http_post
from tools.clients.sessions import create_database

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tools.clients.server import Server

NOW = calendar.timegm((2026, 11, 24, 20, 45, 0))
WAIT_SECONDS = 90.0


def touch(folder: Path, *names: str) -> None:
    """Make empty files."""
    for name in names:
        (folder / name).touch()


# --- the folder ------------------------------------------------------------------------------------------------


def test_a_name_holds_the_time_of_the_backup() -> None:
    assert backup_folder.new_name(NOW) == "nun-db-20261124T204500Z.backup"


@pytest.mark.parametrize(
    ("names", "due_seconds"),
    [
        ([], 0),
        (["nun-db-20261124T204000Z.backup"], 300),
        (["nun-db-20261124T204000Z.backup", "nun-db-20251124T204000Z.backup"], 300),
        (["nun-db-20261124T194500Z.backup"], 0),
        (["nun-db-20200101T000000Z.backup"], 0),
        (["nun-db-20361124T194500Z.backup"], 0),  # made when the clock was wrong
        (["nun-db-20261199T204000Z.backup", "mine.backup", "nun-db-20261124T204000Z.backup.gz"], 0),
        ([partial_name("nun-db-20261124T204000Z.backup")], 0),
    ],
)
def test_when_the_next_is_due(disk_folder: Path, names: list[str], due_seconds: int) -> None:
    touch(disk_folder, *names)
    assert backup_folder.seconds_until_due(disk_folder, 600, NOW) == due_seconds


def test_the_oldest_go_and_nothing_else(disk_folder: Path) -> None:
    ours = [f"nun-db-2026112{day}T000000Z.backup" for day in range(6)]
    others = ["nun-db-20201124T000000Z.backup.gz", "a.backup", "nun-db-.backup", partial_name(ours[0])]
    touch(disk_folder, *ours, *others)
    removed = backup_folder.remove_oldest(disk_folder, 4)
    assert ([path.name for path in removed.removed], removed.failure) == (ours[:2], None)
    assert {path.name for path in disk_folder.iterdir()} == {*ours[2:], *others}
    assert backup_folder.remove_oldest(disk_folder, 4) == ([], None)


def test_leftovers_go_unless_somebody_writes_them(disk_folder: Path) -> None:
    left = partial_name("nun-db-20261124T204500Z.backup")
    touch(disk_folder, left, ".mine.partial")
    with AtomicFile(disk_folder / "nun-db-20261124T204501Z.backup") as partial:
        backup_folder.remove_leftovers(disk_folder)
        assert {path.name for path in disk_folder.iterdir()} == {".mine.partial", partial.path.name}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("6h", 21_600), ("1d", 86_400), ("2 W", 1_209_600), ("1D", 86_400)],
)
def test_intervals(text: str, seconds: int) -> None:
    given = {"NUN_USER": "u", "NUN_PWD": "p", "NUN_BACKUP_INTERVAL": text}
    assert load(given, {}).backup_interval_seconds == seconds


@pytest.mark.parametrize("text", ["0", "-1", "1y", "daily", "1.5h", "h", "99999999d"])
def test_what_is_no_interval(text: str) -> None:
    given = {"NUN_USER": "u", "NUN_PWD": "p", "NUN_BACKUP_INTERVAL": text}
    with pytest.raises(SettingsError, match=r"NUN_BACKUP_INTERVAL: .* accepted: a number of seconds, or one with"):
        load(given, {})


# --- in a server -----------------------------------------------------------------------------------------------


def test_backups_are_made_kept_and_removed(new_server: Callable[..., Server], disk_folder: Path) -> None:
    """One that fails is told, tried again, and harms nobody."""
    folder = disk_folder / "backups"
    with new_server(NUN_BACKUP_DIR=str(folder), NUN_BACKUP_INTERVAL="1s", NUN_BACKUP_KEEP="2") as server:
        create_database(server, "scheduled", then="set k v")
        line = server.wait_output("no backup was made", timeout_seconds=WAIT_SECONDS)
        assert f"WARN nun_db] no backup was made (the folder {folder} can't be used: No such file" in line
        assert line.endswith("older backups stay, and the next try is in 1 s")
        prepared = disk_folder / "prepared"
        prepared.mkdir()
        touch(prepared, "mine.txt", "nun-db-20200101T000000Z.backup")
        prepared.rename(folder)
        server.wait_output("backup made: ", timeout_seconds=WAIT_SECONDS)
        line = server.wait_output("old backup removed: ", timeout_seconds=WAIT_SECONDS)
        assert line.endswith(f"old backup removed: {folder}/nun-db-20200101T000000Z.backup")
        server.wait_output("old backup removed: ", after=len(server.output), timeout_seconds=WAIT_SECONDS)
        assert http_post(server.http, "use-db scheduled pwd; get k") == "empty;value v\n"
        assert server.stop() == 0
    lines = [json.loads(line) for line in (server.data_dir / "audit.jsonl").read_text(encoding="ascii").splitlines()]
    outcomes = [line["outcome"] for line in lines if line["event"] == "backup"]
    assert outcomes.count("ok") == sum("backup made: " in line for line in server.output)
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) in (3, 4)  # stopped before the third was removed
    assert names[0] == "mine.txt"
    verified = verify_backup(folder / names[-1], silent)
    assert verified.counts.databases.keys() == {"$admin", "scheduled"}
    assert (folder / names[-1]).stat().st_mode & 0o777 == 0o600


def test_an_old_backup_that_can_t_be_removed_is_no_failed_backup(
    new_server: Callable[..., Server], disk_folder: Path
) -> None:
    folder = disk_folder / "backups"
    (folder / "nun-db-20200101T000000Z.backup").mkdir(parents=True)
    with new_server(NUN_BACKUP_DIR=str(folder), NUN_BACKUP_INTERVAL="1s", NUN_BACKUP_KEEP="1") as server:
        line = server.wait_output("old backups in ", timeout_seconds=WAIT_SECONDS)
        assert f"old backups in {folder} can't be removed (" in line
        server.wait_output("backup made: ", after=len(server.output), timeout_seconds=WAIT_SECONDS)
        assert not any("no backup was made" in told for told in server.output)
        assert server.stop() == 0


def test_a_stop_does_not_wait_for_a_process_that_can_t_be_killed(
    monkeypatch: pytest.MonkeyPatch, disk_folder: Path
) -> None:
    """As one that hangs in a write to a disk that is gone."""
    started: list[trio.Process] = []
    kill = trio.Process.kill
    monkeypatch.setattr(trio.Process, "kill", lambda process: started.append(process))
    begun = disk_folder / "begun"
    monkeypatch.setattr(backup_schedule, "command", lambda *_: ["sh", "-c", f"touch {begun}; exec sleep 90"])

    async def make_and_give_up() -> float:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(backup_schedule.make_in_child, disk_folder, disk_folder / "x.backup")
            while not begun.exists():  # noqa: ASYNC110 - what is waited for is in another process
                await trio.sleep(0.01)
            began = trio.current_time()
            nursery.cancel_scope.cancel()
        seconds = trio.current_time() - began
        (process,) = started
        kill(process)
        await process.wait()
        return seconds

    seconds = trio.run(make_and_give_up)
    assert limits.BACKUP_END_SECONDS <= seconds < 60


def test_a_restart_does_not_make_one_too_soon(new_server: Callable[..., Server], disk_folder: Path) -> None:
    folder = disk_folder / "backups"
    folder.mkdir()
    with new_server(NUN_BACKUP_DIR=str(folder), NUN_BACKUP_INTERVAL="1h") as server:
        server.wait_output("backup made: ", timeout_seconds=WAIT_SECONDS)
        mark = len(server.output)
        server.restart()
        server.wait_output("backups: every 3600 s", after=mark)
        assert http_post(server.http, "keys") != ""
        server.stop()
    assert len(list(folder.iterdir())) == 1


def test_a_full_or_read_only_disk_costs_no_older_backup_and_nobody_else(
    new_server: Callable[..., Server], small_disk: Path
) -> None:
    def kept() -> list[str]:
        return [name for name in os.listdir(small_disk) if not name.startswith(".")]

    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with new_server(NUN_BACKUP_DIR=str(small_disk), NUN_BACKUP_INTERVAL="1s", NUN_BACKUP_KEEP="1") as server:
        line = server.wait_output("no backup was made", timeout_seconds=WAIT_SECONDS)
        # As in a unit of systemd that keeps it read-only.
        read_only = "can't be used: Read-only file system; as a service of systemd, the unit needs ReadWritePaths= for"
        assert read_only in line
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        server.wait_output("backup made: ", timeout_seconds=WAIT_SECONDS)
        mark = len(server.output)
        fill(server)
        line = server.wait_output("no backup was made (", after=mark, timeout_seconds=WAIT_SECONDS)
        assert "can't be written (No space left on device)" in line
        assert "free up space or get write access there" in line
        before = kept()
        assert len(before) == 1
        server.wait_output("no backup was made (", after=len(server.output), timeout_seconds=WAIT_SECONDS)
        assert kept() == before
        assert http_post(server.http, "use-db big pwd; set k v; get k") == "empty;empty;value v\n"
        assert server.stop() == 0


def test_a_stop_does_not_wait_for_a_backup_and_leaves_no_half_one(
    new_server: Callable[..., Server], disk_folder: Path
) -> None:
    folder = disk_folder / "backups"
    folder.mkdir()
    server = new_server()
    with server:
        fill(server)
        server.stop()
        server.environment |= {"NUN_BACKUP_DIR": str(folder), "NUN_BACKUP_INTERVAL": "1h"}
        server.start()
        deadline = time.monotonic() + WAIT_SECONDS
        while not os.listdir(folder):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert server.stop() == 0
    assert [name for name in os.listdir(folder) if name.startswith(".")] == []
