"""Backups on a schedule while the clock is wrong, or is set: none is lost for it, and none comes too often."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest
import trio

from pynun.backup import folder as backup_folder
from pynun.backup.file_format import Contents, digest_line, trailer_text, verify_backup
from pynun.server import backup_schedule
from pynun.settings import load
from tests.backup.data import make_folder, silent
from tests.support.watched import Scrape
from tools.clients.exact_clients import http_post
from tools.clients.sessions import create_database

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tools.clients.server import Server

WAIT_SECONDS = 90.0
YEAR_SECONDS = 365 * 86_400.0


def future_names(count: int) -> list[str]:
    """Names of backups of the days after tomorrow."""
    return [backup_folder.new_name(time.time() + (2 + day) * 86_400) for day in range(count)]


def make_file(file: Path) -> Path:
    """Make a file with the trailer that the schedule gives to a backup."""
    number = backup_folder.next_number(file.parent)
    contents = Contents(format=2, data_bytes=0, made="", version="1", revision=1, databases=1, keys=0, number=number)
    text = trailer_text(contents)
    file.write_bytes(text + digest_line(hashlib.sha256(text).hexdigest()))
    return file


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_new_one_stays_when_all_others_look_newer(new_server: Callable[..., Server], disk_folder: Path) -> None:
    folder = disk_folder / "backups"
    folder.mkdir()
    ahead = future_names(7)
    for one in ahead:
        (folder / one).touch()
    with new_server(NUN_BACKUP_DIR=str(folder)) as server:
        began = time.time()
        made = server.wait_output("backup made: ", timeout_seconds=WAIT_SECONDS)
        (name,) = names_in(folder) - set(ahead)
        assert verify_backup(folder / name, silent).contents.number == 1
        removed = server.wait_output("old backup removed: ", timeout_seconds=WAIT_SECONDS)
        assert removed.endswith(ahead[0])
        assert name in made
        assert Scrape(server.http).value("nun_db_last_backup_timestamp_seconds") == pytest.approx(began, abs=30)
        mark = len(server.output)
        server.restart()
        server.wait_output("have names in the future", after=mark)
        create_database(server, "goes-on", then="set k v")
        assert http_post(server.http, "use-db goes-on pwd; get k") == "empty;value v\n"
        assert server.stop() == 0
    text = "\n".join(server.output)
    assert text.count("backup made: ") == 1
    assert text.count("have names in the future") == 2  # once for each start
    assert all(one in text for one in ahead)
    assert names_in(folder) == {*ahead[1:], name}


def test_the_backups_made_last_are_kept(disk_folder: Path) -> None:
    """Whatever their names say: made by a clock that was right, ran ahead, started in the past, and is right again."""
    folder = disk_folder / "backups"
    folder.mkdir()
    (
        folder / backup_folder.new_name(time.time() + 2 * YEAR_SECONDS)
    ).touch()  # without a number: made before all others
    now = time.time()
    clocks = (now, now + YEAR_SECONDS, now + YEAR_SECONDS + 60, 0.0, 60.0, now + 60)
    made = [make_file(folder / backup_folder.new_name(at)) for at in clocks]
    assert backup_folder.backups(folder)[1:] == made
    for keep in (4, 1):
        removal = backup_folder.remove_oldest(folder, keep)
        assert removal.failure is None
        assert names_in(folder) == {path.name for path in made[-keep:]}
    shutil.copy(made[-1], folder / backup_folder.new_name(now + YEAR_SECONDS))  # as old as what it is a copy of
    (folder / backup_folder.new_name(0)).write_bytes(made[-1].read_bytes()[:-100])
    newest = make_file(folder / backup_folder.new_name(1.0))
    backup_folder.remove_oldest(folder, 1)
    assert names_in(folder) == {newest.name}


def test_the_one_just_made_stays(disk_folder: Path) -> None:
    """Also when nothing can be read from it, on a disk of the network that shows it late."""
    for name in (*future_names(3), "nun-db-20200101T000000Z.backup"):
        (disk_folder / name).touch()
    newest = disk_folder / "nun-db-20200101T000000Z.backup"
    backup_folder.remove_oldest(disk_folder, 1, newest)
    assert names_in(disk_folder) == {newest.name}


def test_what_is_no_backup_neither_counts_nor_blocks(disk_folder: Path) -> None:
    files = [disk_folder / f"nun-db-2026112{day}T000000Z.backup" for day in range(1, 6)]
    for file in files:
        file.touch()
    folders = [disk_folder / name for name in ("nun-db-20251124T000000Z.backup", future_names(1)[0])]
    for one in folders:
        one.mkdir()
    link = disk_folder / "nun-db-20261126T000000Z.backup"
    link.symlink_to(disk_folder / "nowhere")
    os.mkfifo(disk_folder / "nun-db-20251124T000001Z.backup")
    removal = backup_folder.remove_oldest(disk_folder, 3)
    assert removal.failure is not None
    assert names_in(disk_folder) == {path.name for path in (*files[2:], *folders, link)}
    assert backup_folder.from_the_future(disk_folder, time.time()) == []


def test_names_do_not_collide(disk_folder: Path) -> None:
    """A clock that was set back comes by the same second again."""
    first = backup_folder.new_file(disk_folder, 1000.0)
    first.touch()
    second = backup_folder.new_file(disk_folder, 1000.5)
    assert (first.name, second.name) == ("nun-db-19700101T001640Z.backup", "nun-db-19700101T001641Z.backup")


def test_a_leftover_that_is_none_does_not_end_backups(disk_folder: Path) -> None:
    (disk_folder / ".nun-db-20261124T204500Z.backup.partial").mkdir()
    left = disk_folder / ".nun-db-20261124T204501Z.backup.partial"
    left.touch()
    backup_folder.remove_leftovers(disk_folder)
    assert not left.exists()


@pytest.mark.parametrize("step_seconds", [1000.0, -1000.0])
def test_setting_the_clock_makes_none_come_sooner(
    monkeypatch: pytest.MonkeyPatch, disk_folder: Path, step_seconds: float
) -> None:
    """The clock jumps whenever somebody looks at it."""
    data, folder = make_folder(disk_folder / "data"), disk_folder / "backups"
    folder.mkdir()
    given = {"NUN_USER": "u", "NUN_PWD": "p", "NUN_DBS_DIR": str(data), "NUN_BACKUP_DIR": str(folder)}
    settings = load({**given, "NUN_BACKUP_INTERVAL": "1", "NUN_BACKUP_KEEP": "100"}, {})
    figures = backup_schedule.BackupFigures()
    right, jumps = time.time, 0

    def jumping() -> float:
        nonlocal jumps
        jumps += 1
        return right() + jumps * step_seconds

    monkeypatch.setattr(time, "time", jumping)

    async def make_two() -> list[float]:
        begun: list[float] = []
        with trio.fail_after(WAIT_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(backup_schedule.make_backups, settings, figures)
                while len(begun) < 2:
                    await trio.sleep(0.01)
                    if figures.newest_steady is not None and figures.newest_steady not in begun:
                        begun.append(figures.newest_steady)
                nursery.cancel_scope.cancel()
        return begun

    first, second = trio.run(make_two)
    assert second - first >= settings.backup_interval_seconds
    assert (figures.failures, len(list(folder.iterdir()))) == (0, 2)


def test_the_time_of_the_newest_follows_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = backup_schedule.BackupFigures(newest_steady=time.clock_gettime(time.CLOCK_BOOTTIME) - 3600)
    assert figures.newest_at == pytest.approx(time.time() - 3600, abs=2)
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() - YEAR_SECONDS)
    assert figures.newest_at == pytest.approx(right() - YEAR_SECONDS - 3600, abs=2)
