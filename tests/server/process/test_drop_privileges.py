"""Handing over the folder of the backups never holds up the start (the rest is tested in the container)."""

from __future__ import annotations

import logging
import os
import time
import urllib.request
from pathlib import Path

import pytest

from pynun.server.process import drop_privileges
from pynun.setting_values import Identity
from tools.clients.server import Server

SOMEBODY = Identity(65532, 65532)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change users")
def test_what_it_has_open_can_be_read_by_its_user(disk_folder: Path) -> None:
    """A data file that was removed can be saved by nobody else."""
    disk_folder.chmod(0o755)
    with Server(disk_folder / "dbs", environment={"NUN_RUN_AS": str(SOMEBODY)}) as server:
        assert Path(f"/proc/{server.pid}/fd").stat().st_uid == SOMEBODY.user


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change users")
def test_nothing_of_root_is_left_to_go_back_to(disk_folder: Path) -> None:
    """Real, effective, saved and file system's user (proc(5)); with a saved one it could be root again."""
    disk_folder.chmod(0o755)
    with Server(disk_folder / "dbs", environment={"NUN_RUN_AS": str(SOMEBODY)}) as server:
        status = Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert fields["Uid"].split() == fields["Gid"].split() == [str(SOMEBODY.user)] * 4
    assert fields["Groups"].split() == []
    assert int(fields["CapPrm"], 16) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change users")
def test_its_pages_are_there_wherever_the_program_is_installed(disk_folder: Path) -> None:
    """Below /root, for example, where its user can read nothing."""
    disk_folder.chmod(0o755)
    with Server(disk_folder / "dbs", environment={"NUN_RUN_AS": str(SOMEBODY)}) as server:
        for path in ("/console", "/ohif/sync.js", "/"):
            request = urllib.request.Request(f"http://{server.http}{path}", headers={"Accept": "text/html"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert answer.status == 200


def test_a_disk_that_does_not_answer_costs_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(drop_privileges, "BACKUPS_SECONDS_MAX", 0.3)
    monkeypatch.setattr(drop_privileges, "prepare_backups", lambda _identity, _folder: time.sleep(60))
    caplog.set_level(logging.WARNING, "nun_db")
    began = time.monotonic()
    drop_privileges.hand_over_backups(SOMEBODY, tmp_path)
    assert time.monotonic() - began < 10
    (line,) = told(caplog)
    assert f"{tmp_path} can't be given to the user 65532:65532: its disk does not answer; change" in line


def test_a_fault_in_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(drop_privileges, "prepare_backups", lambda _identity, _folder: 1 / 0)
    caplog.set_level(logging.WARNING, "nun_db")
    drop_privileges.hand_over_backups(SOMEBODY, tmp_path)
    (line,) = told(caplog)
    assert ": it is not known why; change its owner yourself" in line


def test_nothing_is_told_of_a_folder_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    drop_privileges.hand_over_backups(SOMEBODY, tmp_path / "later")
    assert told(caplog) == []
    assert not (tmp_path / "later").exists()
