"""The check that service managers and containers run: its exit code says whether the server is ready."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tools.clients.server import clean_environment, free_ports

if TYPE_CHECKING:
    from tools.clients.server import Server


def check(address: str, *page: str) -> tuple[int, str]:
    """Ask the server at an address; the exit code and what was printed."""
    result = subprocess.run(
        [sys.executable, "-P", "-m", "pynun.cli.health", *page],
        env=clean_environment({"NUN_HTTP_ADDR": address}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stderr == ""
    return result.returncode, result.stdout


@pytest.mark.parametrize(("page", "state"), [((), "ready"), (("/readyz",), "ready"), (("/livez",), "alive")])
def test_a_server_that_serves_passes(shared_server: Server, page: tuple[str, ...], state: str) -> None:
    assert check(str(shared_server.http), *page) == (0, f"{state}\n")


def test_without_a_server_it_fails() -> None:
    (port,) = free_ports(1)
    code, told = check(f"127.0.0.1:{port}")
    assert code == 1
    assert told.startswith(f"not ready: no answer from 127.0.0.1, port {port}: ")
