"""docs/migration.md and docs/export.md: their commands about data do what they show."""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING

import pytest

from pynun.transfer import nundb_files, nundb_import
from tests.docs.blocks import blocks
from tests.docs.messages_in_code import FRAGMENT_CHARACTERS_MIN
from tests.docs.story import Story
from tests.support.nundb_files import REFERENCE_FOLDER
from tools.clients.exact_clients import http_post
from tools.clients.server import REPOSITORY, Server

if TYPE_CHECKING:
    from pathlib import Path

DOCS = REPOSITORY / "docs"


def play(page: Path, word: str, folder: Path) -> int:
    """Run the blocks `sh WORD` (and `sh WORD=server`) of a page in a folder; returns how many there were."""
    story = Story(folder)
    count = 0
    try:
        for block, following in itertools.pairwise([*blocks(page), None]):
            if block is not None and block.info in (f"sh {word}", f"sh {word}=server"):
                output = following if following is not None and following.info == f"text {word}" else None
                story.run(block._replace(info=block.info.replace(word, "run")), output)
                count += 1
        story.end()
    finally:
        story.abandon()
    return count


def test_the_steps_of_a_migration(disk_folder: Path) -> None:
    shutil.copytree(REFERENCE_FOLDER, disk_folder / "nun-db-data")
    assert play(DOCS / "migration.md", "migration", disk_folder) == 4


def test_the_import_of_what_can_be_read(disk_folder: Path) -> None:
    shutil.copytree(REFERENCE_FOLDER, disk_folder / "nun-db-data")
    values = disk_folder / "nun-db-data" / "hospital-nun.data.values"
    values.write_bytes(values.read_bytes()[:-20])
    assert play(DOCS / "migration.md", "damaged", disk_folder) == 1


def test_a_database_goes_out_and_in(disk_folder: Path) -> None:
    with Server(disk_folder / "dbs") as server:
        answer = http_post(
            server.http,
            f"auth {server.credentials}; create-db features-of-db features-of-db-pwd;"
            " use-db features-of-db features-of-db-pwd; create-user client client-pwd;"
            " set-permissions client r *|rwx client-*; set featureToggle {}; set client-room-1-camera 1",
        )
        assert "error" not in answer
        assert play(DOCS / "export.md", "export", disk_folder) == 2


@pytest.mark.parametrize("module", [nundb_files, nundb_import])
def test_every_problem_is_explained(module: object) -> None:
    """Each literal part of what a problem can say is on the page."""
    import ast
    import inspect

    page = " ".join((DOCS / "migration.md").read_text(encoding="utf-8").split())
    tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]
    said = [
        constant.value.strip(" ,;:()")
        for node in ast.walk(tree)
        for part in (
            [node.value]
            if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == "what" for to in node.targets)
            else node.args[3:]
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem"
            else []
        )
        for constant in ast.walk(part)
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
    ]
    assert len(said) > 5
    assert [text for text in said if len(text) >= FRAGMENT_CHARACTERS_MIN and text not in page] == []
