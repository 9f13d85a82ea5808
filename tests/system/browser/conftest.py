"""What the tests in a browser share: Node.js that drives it, and the folder that keeps what they saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.node import require_node
from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session", autouse=True)
def _node() -> None:
    require_node()


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """The folder for screenshots and measured times; it stays when the tests have ended."""
    folder = REPOSITORY / "build" / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
