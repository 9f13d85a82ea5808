"""Commands that read a file and are given something else: told at once, and nothing is touched."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.cli.command import run

if TYPE_CHECKING:
    from pathlib import Path


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
        (["import", "db"], "; to read from a pipe, use standard input (-)"),
    ],
    ids=["verify", "restore", "import"],
)
def test_what_is_no_file_is_refused(special: Path, tmp_path: Path, command: list[str], advice: str) -> None:
    folder = tmp_path / "dbs"
    reading, writing = os.pipe()  # which stays open: standard input has no end
    try:
        environment = {"NUN_DBS_DIR": str(folder), "NUN_AUDIT_FILE": "off"}
        done = run(*command, str(special), environment=environment, standard_input=reading)
    finally:
        os.close(reading)
        os.close(writing)
    assert done == (1, "", f"nun-db: {special} can't be read: not an ordinary file{advice}\n")
    assert not folder.exists()


@pytest.mark.parametrize("command", [["verify"], ["restore"], ["import", "db"]])
def test_a_folder_is_no_file_either(tmp_path: Path, command: list[str]) -> None:
    environment = {"NUN_DBS_DIR": str(tmp_path / "dbs"), "NUN_AUDIT_FILE": "off"}
    done = run(*command, str(tmp_path), environment=environment)
    assert (done.code, done.errors) == (1, f"nun-db: {tmp_path} can't be read: Is a directory\n")
