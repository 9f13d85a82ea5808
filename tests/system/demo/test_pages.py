"""The commands that the pages show for the demo start it, and Ctrl-C ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import Block, commands, documents
from tests.system.demo.running import STOP_SECONDS_MAX
from tools.clients.server import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

WORD = "demo"
SHOWN = [block for document in documents() for block in commands(document, WORD)]


@pytest.mark.parametrize("block", SHOWN, ids=str)
def test_the_command_starts_it(block: Block, tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    for stand_in in (tmp_path / "nun-db", tmp_path / "scripts" / "run"):
        stand_in.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m pynun "$@"\n')
        stand_in.chmod(0o755)
    with subprocess.Popen(
        ["bash", "-euc", f"exec {block.text}"],
        env=clean_environment({"PATH": f"{tmp_path}:{os.environ['PATH']}"}),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            printed = []
            for line in process.stdout:
                printed.append(line)
                if line == "Stop it with Ctrl-C.\n":
                    break
            process.send_signal(signal.SIGINT)
            assert process.wait(STOP_SECONDS_MAX) == 0
        finally:
            process.kill()
    assert any(line.strip().startswith("http://") for line in printed), printed


def test_there_are_such_commands() -> None:
    assert len(SHOWN) >= 3
