"""Fixtures: the daemon, and the image built in it, once for all tests of this folder."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.container.engine import Engine, docker_program, running_engine
from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BASE: Final = "ci-base:py"
IMAGE: Final = "pynun:test"
TUTORIALS_IMAGE: Final = "mateusfreira/nun-db"

_MAKE_SECONDS_MAX: Final = 900.0


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A running docker daemon, which nothing but these tests uses, without any network."""
    docker_program()
    made = subprocess.run(
        [REPOSITORY / "tests" / "system" / "container" / "make_base"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_MAKE_SECONDS_MAX,
        check=False,
    )
    if made.returncode != 0:
        pytest.fail(f"no image to build on: {made.stderr[-2000:]}", pytrace=False)
    with running_engine() as running:
        running.docker("import", made.stdout.strip(), BASE)
        yield running


@pytest.fixture(scope="session")
def context(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to build the image in: the packages, and docker/ of this checkout."""
    folder = tmp_path_factory.mktemp("context")
    shutil.copytree(packages, folder / "wheels")
    shutil.copytree(REPOSITORY / "docker", folder / "docker")
    shutil.copy2(REPOSITORY / ".dockerignore", folder)
    return folder


@pytest.fixture(scope="session")
def image(engine: Engine, context: Path) -> str:
    """The image, built without a network."""
    engine.docker(
        *("build", "--network", "none", "--build-arg", f"BASE={BASE}", "--build-arg", "VERSION=0.0.test"),
        *("--tag", IMAGE, "--tag", TUTORIALS_IMAGE, "--file", str(context / "docker" / "Dockerfile"), str(context)),
    )
    return IMAGE
