"""Fixtures for all tests: temporary folders on a real disk, and servers on them."""

from __future__ import annotations

import itertools
import signal
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.properties.effort import register_profiles
from tests.support.certificates import Authority
from tests.support.chromium import running_chromium
from tests.support.failures import shorten
from tests.support.forked_server import ForkedServer
from tests.support.node import TESTS
from tests.support.packages import make_packages
from tests.support.shared import made_once
from tools.clients.server import Server, new_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from xdist.remote import Producer  # type: ignore[import-untyped]

# What a property does not say itself it has from here: Hypothesis's own default ends an example after 200 ms, which a
# machine that does something else as well now and then needs for nothing.
register_profiles()

# Python and all imports take most of the time of a start.
Server.fork = ForkedServer

# What is ignored here, everything that is started from here would ignore too: Ctrl-C in the background of a script, and
# hanging up under nohup. With a handler it is not handed on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)


@pytest.fixture
def disk_folder() -> Iterator[Path]:
    """A new, empty folder on a real disk, removed at the end."""
    with new_folder() as folder:
        yield folder


@pytest.fixture
def new_server(disk_folder: Path) -> Iterator[Callable[..., Server]]:
    """A factory of servers that are not started yet, each on a folder of its own; all are ended after the test."""
    numbers = itertools.count()
    servers: list[Server] = []

    def make(**environment: str) -> Server:
        server = Server(disk_folder / f"dbs-{next(numbers)}", environment=environment)
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.end()


@pytest.fixture
def server(disk_folder: Path) -> Iterator[Server]:
    """A running server of the test's own."""
    with Server(disk_folder / "dbs") as running:
        yield running


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """A running server that many tests share; each test uses database names of its own."""
    with new_folder() as folder, Server(folder / "dbs") as running:
        yield running


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    """A certificate authority that the tests of a module share."""
    with new_folder() as folder:
        yield Authority(folder)


@pytest.fixture(scope="session")
def chromium() -> Iterator[str]:
    """The address that a running Chromium is driven from; skips the test where there is none."""
    with running_chromium() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages for this machine's architecture and every supported Python, and pynun's own."""
    return made_once(tmp_path_factory, "packages", make_packages)


# Folders whose files share what takes long to make (a docker daemon, a browser): one worker runs each.
_TOGETHER = ("system/container", "system/browser", "system/javascript", "system/ohif", "websocket_suite")

# What takes minutes begins first, and what takes a moment comes last: so all workers end at about the same time.
_LONGEST = (
    "system/ohif",
    *("system/installer/test_install.py", "system/container", "system/demo/test_page.py", "system/browser"),
    "system/console",
    *("system/installer", "system/javascript", "websocket_suite", "system/benchmark/test_scale.py", "system"),
    *("crash/", "server/", "cli/", "conformance/", "docs/test_examples.py", "properties"),
)
_SHORTEST = ("commit", "engine", "fuzz", "meta", "protocol", "simulation", "storage", "test_", "transfer", "transports")


def _unit(file: str) -> str:
    """The folder or file below tests/ whose tests one worker runs."""
    return next((folder for folder in _TOGETHER if file.startswith(f"{folder}/")), file)


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Gives a worker all tests of a file, or of a folder whose files share much.

    Not xdist's own groups by marks: with pytest 9.2, they silently have no effect.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _unit(nodeid.partition("::")[0].removeprefix("tests/"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show at most a screenful of a failure, unless all is asked for by -vv."""
    report = yield
    if report.failed and item.config.get_verbosity() < 2:
        shorten(report)
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Decide how the tests are shared among workers."""
    return Scheduling(config, log)


@pytest.hookimpl(tryfirst=True)  # before -m chooses by the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of tests/system, and begin with what takes longest."""
    for item in items:
        if item.path.is_relative_to(TESTS / "system"):
            item.add_marker(pytest.mark.system)
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    unit = _unit(item.path.relative_to(TESTS).as_posix())
    ordinary = len(_LONGEST) + unit.startswith(_SHORTEST)
    return next((place for place, start in enumerate(_LONGEST) if unit.startswith(start)), ordinary)
