"""docs/container.md: its commands are run, in order, where the daemon of the tests is."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.container.conftest import BASE
from tests.container.test_tutorial import EXEC, RUN
from tests.docs.blocks import blocks
from tests.support.server import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.container.engine import Engine

pytestmark = pytest.mark.timeout(1200)

PAGE = REPOSITORY / "docs" / "container.md"


@pytest.fixture
def unpacked(engine: Engine, image: str, packages: Path) -> Path:
    """What the page's commands need of an unpacked bundle, where the daemon sees it; its path there is /srv/bundle."""
    folder = engine.root / "srv" / "bundle"
    shutil.copytree(REPOSITORY / "docker", folder / "docker")
    shutil.copytree(packages, folder / "wheels")
    shutil.copy2(REPOSITORY / ".dockerignore", folder)
    (folder / "VERSION").write_text("0.0.page\n")
    engine.docker("tag", image, "pynun:0.0.page")
    engine.docker("tag", BASE, "python:3.13-slim-trixie")
    tar = engine.folder / "page.tar"
    engine.docker("save", "--output", str(tar), "pynun:0.0.page")
    shutil.move(tar, folder / "docker" / "pynun-0.0.page-image.tar")
    return folder


def test_the_commands_of_the_page_work(engine: Engine, unpacked: Path) -> None:
    written = [block for block in blocks(PAGE) if block.info == "sh container"]
    assert len(written) >= 8
    try:
        for block in written:
            done = subprocess.run(
                [
                    *("nsenter", f"--target={engine.pid}", "--net", "--mount", "--pid", "--"),
                    *("bash", "-euc", f'cd /srv/bundle; docker() {{ {engine.docker_program} "$@"; }}\n{block.text}'),
                ],
                env=engine.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=240,
                check=False,
            )
            assert done.returncode == 0, f"{block}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            if "--name nun-db " in block.text or "docker start" in block.text:
                engine.wait_log("nun-db", "ready")
        state = engine.docker("exec", "nun-db", "nun-db", "exec", "use-db features-of-db client client-pwd; keys")
        assert "valid auth\\n;empty;keys ," in state
    finally:
        engine.try_docker("rm", "--force", "--volumes", "nun-db", "nun-db-before")


def test_the_page_shows_the_tutorials_commands_as_they_are_tested() -> None:
    shown = [block.text.strip() for block in blocks(PAGE) if block.info == "sh"]
    assert RUN in shown
    assert EXEC in shown
