"""Files that commands make, and the folders that name them, are on disk at the end, as the system calls show.

A kill leaves what was written in the page cache, so only the calls show a sync that was forgotten. One command belongs
to every run, the rest to the long tests.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pynun.storage import schema
from tests.support.traces import read_calls, traced, unsynced, why_no_trace
from tools.clients.server import REPOSITORY, Server, clean_environment, new_folder
from tools.clients.sessions import create_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOT_DATA = (schema.LOCK_FILE, schema.READERS_FILE)
WITHOUT_SYNC = (
    "import os, runpy, sys; os.fsync = os.fdatasync = lambda _: None; "
    "sys.argv[0] = 'nun-db'; runpy.run_module('pynun', run_name='__main__', alter_sys=True)"
)

FILL_TRAIL = (
    "import pathlib, sys; from pynun.audit_file import AuditTrail; from pynun.folders import make_folder; "
    "path = pathlib.Path(sys.argv[1]); make_folder(path.parent); trail = AuditTrail(path, bytes_max=4096); "
    "[trail.record('start', outcome='ok') for _ in range(50)]"
)


@pytest.fixture(scope="module", name="folder")
def _folder() -> Iterator[Path]:
    """A folder with data of a database `one`, and a backup of it."""
    with new_folder() as folder:
        if reason := why_no_trace(folder):
            pytest.skip(reason)
        with Server(folder / "dbs") as server:
            create_database(server, "one", then="set k v")
        _run(folder, "backup", str(folder / "backup"))
        _run(folder, "export", "one", str(folder / "exported"))
        yield folder


def _run(folder: Path, *command: str, python: tuple[str, ...] = ("-m", "pynun")) -> list[str]:
    """What a command leaves unsynced below the folder."""
    there = list(folder.rglob("*"))
    trace = folder / "trace"
    result = subprocess.run(
        [*traced(trace), sys.executable, *python, *command],
        env=clean_environment({"NUN_DBS_DIR": str(folder / "dbs")}),
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    calls = read_calls(trace.read_text(encoding="utf-8", errors="replace"))
    assert any(call.name == "openat" for call in calls)
    return unsynced(calls, folder, there, NOT_DATA)


@pytest.mark.system
@pytest.mark.parametrize(
    "command",
    [
        "backup {}/new-backup",
        "backup {}/backup --replace",
        "export one {}/new-export",
        "export one {}/exported --replace",
        "restore {}/backup --data-dir {}/new/dbs",
        "restore {}/backup --replace",
        "import e {}/exported -t t --data-dir {}/other/dbs",
    ],
)
def test_what_a_command_makes_is_on_disk(folder: Path, command: str) -> None:
    assert _run(folder, *command.replace("{}", str(folder)).split()) == []


@pytest.mark.system
def test_a_sync_that_is_left_out_is_found(folder: Path) -> None:
    found = _run(folder, "backup", str(folder / "unsynced"), python=("-c", WITHOUT_SYNC))
    assert f"{folder / 'unsynced'} got its name before it was on disk" in found
    assert f"the names in {folder} are not on disk" in found


def test_each_kind_of_omission_is_found(disk_folder: Path) -> None:
    """The same by traces: of which each call that syncs is needed."""
    path = disk_folder
    whole = [
        f'mkdir("{path}/new", 0700) = 0',
        f"fsync(3<{path}>) = 0",
        f'openat(AT_FDCWD</>, "{path}/new/.f", O_RDWR|O_CREAT|O_EXCL, 0600) = 4<{path}/new/.f>',
        f'write(4<{path}/new/.f>, ""..., 10) = 10',
        f"fsync(4<{path}/new/.f>) = 0",
        f'rename("{path}/new/.f", "{path}/new/f") = 0',
        f"fsync(5<{path}/new>) = 0",
    ]

    def found(lines: list[str]) -> list[str]:
        return unsynced(read_calls("\n".join(f"1 {line}" for line in lines)), path, (), ())

    assert found(whole) == []
    for at, line in enumerate(whole):
        if line.startswith("fsync"):
            assert found(whole[:at] + whole[at + 1 :]), line


@pytest.mark.system
def test_the_audit_trail_is_on_disk_with_its_name(folder: Path) -> None:
    """When it is made, and when it is full and renamed."""
    assert _run(folder, str(folder / "trail" / "audit.jsonl"), python=("-c", FILL_TRAIL)) == []
    assert (folder / "trail" / "audit.jsonl.1").exists()
