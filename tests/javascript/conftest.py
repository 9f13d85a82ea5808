"""Node.js and the npm packages, installed once before the first script."""

from __future__ import annotations

import pytest

from tests.support.node import INSTALL_SECONDS_MAX, require_node


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first test here the time that installing the packages may take."""
    for item in items:
        if "tests/javascript" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(INSTALL_SECONDS_MAX + 60))
            return


@pytest.fixture(scope="session", autouse=True)
def _node() -> None:
    require_node()
