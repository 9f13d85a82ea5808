"""Commands that read a file and are given something else: told at once, and nothing is touched."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cli.command import command_line
from tools.clients.server import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

SECONDS_MAX = 90.0
"""Reading from them would last for ever."""


@pytest.fixture(name="special", params=["pipe", "socket", "/dev/zero", "/dev/stdin"])
def _special(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / str(request.param)
    match request.param:
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(str(path))
    return path


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        (["verify"], ""),
        (["restore"], ""),
        (["import", "db"], "; what comes through a pipe is read from standard input (-)"),
    ],
    ids=["verify", "restore", "import"],
)
def test_what_is_no_file_is_refused(special: Path, tmp_path: Path, command: list[str], advice: str) -> None:
    folder = tmp_path / "dbs"
    reading, writing = os.pipe()  # which stays open: standard input has no end
    try:
        done = subprocess.run(
            command_line(*command, str(special)),
            env=clean_environment({"NUN_DBS_DIR": str(folder), "NUN_AUDIT_FILE": "off"}),
            stdin=reading,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
    finally:
        os.close(reading)
        os.close(writing)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"nun-db: {special} can't be read: not an ordinary file{advice}\n"
    assert not folder.exists()


@pytest.mark.parametrize("command", [["verify"], ["restore"], ["import", "db"]])
def test_a_folder_is_no_file_either(tmp_path: Path, command: list[str]) -> None:
    done = subprocess.run(
        command_line(*command, str(tmp_path)),
        env=clean_environment({"NUN_DBS_DIR": str(tmp_path / "dbs"), "NUN_AUDIT_FILE": "off"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, f"nun-db: {tmp_path} can't be read: Is a directory\n")
