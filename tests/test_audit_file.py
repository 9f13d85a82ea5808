"""The audit trail's file: whole lines whatever happens, from several processes, bounded, and never in the way."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pynun import audit_file
from pynun.audit_file import AuditTrail, audit_line
from pynun.errors import SettingsError, StartError
from pynun.settings import load_audit_trail
from tools.clients.server import REPOSITORY, clean_environment


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Every line of a file of the trail; each must be one object."""
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def run_writer(path: Path, code: str) -> subprocess.Popen[str]:
    """Start a process that has `trail`, on a file, and runs some code."""
    source = f"""
        import sys
        from pathlib import Path
        from pynun import audit_file
        from pynun.audit_file import AuditTrail
        audit_file._LOCK_SECONDS = 100
        trail = AuditTrail(Path({str(path)!r}), bytes_max=20_000, keep=50)
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source) + textwrap.dedent(code)],
        env=clean_environment({}),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )


# --- a line ----------------------------------------------------------------------------------------------------


def test_a_line_has_every_field_and_the_time_to_the_millisecond(tmp_path: Path) -> None:
    with AuditTrail(tmp_path / "a.jsonl") as trail:
        trail.record("backup", outcome="ok", user="root", command="backup x.nun", bytes=12, is_new=True)
    (line,) = lines_of(tmp_path / "a.jsonl")
    assert list(line)[:7] == ["time", "event", "outcome", "address", "database", "user", "command"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "event": "backup",
        "outcome": "ok",
        "address": None,
        "database": None,
        "user": "root",
        "command": "backup x.nun",
        "bytes": 12,
        "is_new": True,
    }


@pytest.mark.parametrize(
    "text",
    [
        'x"}\n{"event": "forged"}',
        "\r\n\x00\x1b[2J\x7f\x85",
        "\u2028\u202e\ufeff",
        "\ud800",
        'a\\"b',
        "Jürgen",
        "\U0001f600",
    ],
)
def test_a_text_can_neither_end_a_line_nor_forge_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.jsonl"
    with AuditTrail(path) as trail:
        trail.record("login", outcome="failed", user=text, database=text, command=text, reason=text)
    data = path.read_bytes()
    assert data.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in data[:-1])
    (line,) = lines_of(path)
    assert line["user"] == line["database"] == line["command"] == line["reason"] == text


def test_texts_are_cut_so_that_a_line_has_a_largest_size() -> None:
    huge = "\U0001f600" * 100_000
    line = audit_line(dict.fromkeys(("event", "address", "database", "user", "command", "reason"), huge))
    assert len(line) < 40_000
    assert json.loads(line)["user"] == huge[:256] + "…"


def test_it_is_on_the_log_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "nun_db.audit"):
        for path in (tmp_path / "a.jsonl", None):
            AuditTrail(path).record("start", outcome="ok")
    assert [json.loads(record.getMessage())["event"] for record in caplog.records] == ["start", "start"]


# --- the file --------------------------------------------------------------------------------------------------


def test_a_terminal_gets_only_lines_that_the_file_cannot_take(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "nun_db.audit"):
        for path, kept in ((tmp_path / "a.jsonl", 0), (tmp_path, 1), (None, 1)):
            caplog.clear()
            with AuditTrail(path, is_logged=False) as trail:
                trail.record("start", outcome="ok")
            assert [record.name for record in caplog.records].count("nun_db.audit") == kept, path
    assert len(lines_of(tmp_path / "a.jsonl")) == 1


def test_it_is_for_its_owner_only_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    old = os.umask(0)
    try:
        for number in range(3):
            with AuditTrail(path) as trail:
                trail.record("start", outcome="ok", number=number)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [line["number"] for line in lines_of(path)] == [0, 1, 2]


def test_without_a_file_there_is_none(tmp_path: Path) -> None:
    with AuditTrail(None) as trail:
        trail.prepare()
        trail.record("start", outcome="ok")
    assert list(tmp_path.iterdir()) == []


def test_a_full_file_is_renamed_and_so_many_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with AuditTrail(path, bytes_max=4096, keep=3) as trail:
        for number in range(200):
            trail.record("login", outcome="ok", number=number)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["a.jsonl", "a.jsonl.1", "a.jsonl.2", "a.jsonl.3"]
    assert all(file.stat().st_size <= 4096 for file in tmp_path.iterdir())
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in tmp_path.iterdir())
    numbers = [line["number"] for name in [*reversed(names[1:]), names[0]] for line in lines_of(tmp_path / name)]
    assert numbers == list(range(200))[-len(numbers) :]
    assert len(numbers) > 60


def test_without_kept_files_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with AuditTrail(path, bytes_max=4096, keep=0) as trail:
        for number in range(100):
            trail.record("login", outcome="ok", number=number)
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]
    assert lines_of(path)[-1]["number"] == 99


def test_a_file_that_a_collector_moves_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with AuditTrail(path) as trail:
        trail.record("start", outcome="ok")
        path.rename(tmp_path / "taken")
        trail.record("stop", outcome="ok")
    assert [line["event"] for line in lines_of(tmp_path / "taken")] == ["start"]
    assert [line["event"] for line in lines_of(path)] == ["stop"]


def test_half_a_line_of_a_crash_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"time": "2026-', encoding="ascii")
    with AuditTrail(path) as trail:
        trail.record("start", outcome="ok")
    first, second = path.read_text(encoding="ascii").splitlines()
    assert first == '{"time": "2026-'
    assert json.loads(second)["event"] == "start"


# --- several who write -----------------------------------------------------------------------------------------


def test_processes_and_threads_write_one_file_through_its_rotations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_file, "_LOCK_SECONDS", 100)  # however slow the disk is
    path = tmp_path / "a.jsonl"
    code = """
        for number in range(150):
            trail.record("login", outcome="ok", writer=sys.argv[1] if sys.argv[1:] else "p", number=number)
    """
    writers = [run_writer(path, code) for _ in range(2)]
    with AuditTrail(path, bytes_max=20_000, keep=50) as trail:

        def write(name: str) -> None:
            for number in range(150):
                trail.record("login", outcome="ok", writer=name, number=number)

        threads = [threading.Thread(target=write, args=(name,)) for name in ("a", "b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    for writer in writers:
        assert writer.wait(60) == 0
        assert writer.stdout is not None
        writer.stdout.close()
    files = list(tmp_path.iterdir())
    assert len(files) > 3
    assert all(file.stat().st_size <= 20_000 for file in files)
    found = [(line["writer"], line["number"]) for file in files for line in lines_of(file)]
    assert sorted(found) == sorted([(name, number) for name in ("a", "b", "p", "p") for number in range(150)])


def test_a_writer_that_is_killed_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    writer = run_writer(path, 'print("on", flush=True)\nwhile True: trail.record("login", outcome="ok")')
    assert writer.stdout is not None
    assert writer.stdout.readline() == "on\n"
    while not path.exists() or path.stat().st_size < 2000:
        assert writer.poll() is None
        time.sleep(0.001)
    writer.kill()
    writer.wait(20)
    writer.stdout.close()
    with AuditTrail(path, bytes_max=20_000, keep=50) as trail:
        trail.record("start", outcome="ok")
    assert lines_of(path)[-1]["event"] == "start"


def test_a_process_that_keeps_the_lock_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit_file, "_LOCK_SECONDS", 0.05)
    path = tmp_path / "a.jsonl"
    with path.open("wb") as held, AuditTrail(path) as trail:
        fcntl.flock(held, fcntl.LOCK_EX)
        trail.record("login", outcome="ok")
        assert "another process keeps it locked" in caplog.text
        fcntl.flock(held, fcntl.LOCK_UN)
        trail.record("stop", outcome="ok")
    assert [line["event"] for line in lines_of(path)] == ["audit-gap", "stop"]


# --- what can't be written -------------------------------------------------------------------------------------


def test_a_full_disk_costs_lines_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A limit on the size of files fails in the middle of a line, as a disk that becomes full does."""
    path = tmp_path / "a.jsonl"
    trail = AuditTrail(path)
    old_limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        trail.record("start", outcome="ok")
        size = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, old_limits[1]))
        for _ in range(3):
            trail.record("login", outcome="ok")
        assert path.stat().st_size == size, "no half line"
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limits)
        trail.record("stop", outcome="ok")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limits)
        signal.signal(signal.SIGXFSZ, old_handler)
        trail.close()
    lines = lines_of(path)
    assert [(line["event"], line.get("count")) for line in lines] == [("start", None), ("audit-gap", 3), ("stop", None)]
    told = [record.getMessage() for record in caplog.records if record.name == "nun_db"]
    assert len(told) == 2, told
    assert "can't be written" in told[0]
    assert "3 lines of it are missing" in told[1]


def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing" / "a.jsonl", tmp_path, tmp_path / "file" / "a.jsonl", tmp_path / "pipe"):
        with pytest.raises(StartError) as caught, AuditTrail(path) as trail:
            trail.prepare()
        assert str(path) in str(caught.value)
        assert "NUN_AUDIT_FILE" in str(caught.value)


# --- its settings ----------------------------------------------------------------------------------------------


def test_a_command_on_the_data_folder_finds_the_trail_of_its_server(tmp_path: Path) -> None:
    assert load_audit_trail({}, tmp_path).path == tmp_path / "audit.jsonl"
    assert load_audit_trail({"NUN_AUDIT_FILE": "x.jsonl"}, tmp_path).path == tmp_path / "x.jsonl"
    assert load_audit_trail({"NUN_AUDIT_FILE": "/var/log/x.jsonl"}, tmp_path).path == Path("/var/log/x.jsonl")
    assert load_audit_trail({"NUN_AUDIT_FILE": "off"}, tmp_path).path is None
    with pytest.raises(SettingsError, match="NUN_AUDIT_KEEP"):
        load_audit_trail({"NUN_AUDIT_KEEP": "many"}, tmp_path)
