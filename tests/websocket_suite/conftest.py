"""The echo server that all tests of this folder but those of slow clients talk to."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tools.clients.server import REPOSITORY, STOP_SECONDS_MAX, Address, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def echo_address() -> Iterator[Address]:
    """Where a running echo server listens; at its end it must have had no trouble."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.websocket_suite.echo"],
        env=clean_environment({}),
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield Address("127.0.0.1", int(process.stdout.readline()))
        _, errors = process.communicate(timeout=STOP_SECONDS_MAX)  # closes its standard input: it ends
        assert (process.returncode, errors) == (0, "")
    finally:
        process.kill()  # does nothing if it has ended
        process.communicate()
