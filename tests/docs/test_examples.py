"""The examples in the documents do what the documents show."""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import Block, blocks, documents, name
from tests.docs.session import parse, shown
from tests.docs.story import OUTPUT, Story, normalised

if TYPE_CHECKING:
    from pathlib import Path


def is_run(block: Block) -> bool:
    """Is this a block that a test runs?"""
    return block.info == "session" or block.info.partition(" ")[2].startswith("run")


def stories() -> list[Path]:
    return [document for document in documents() if any(map(is_run, blocks(document)))]


QUICK = ("README.md", "docs/first-steps.md", "docs/protocol.md")
"""The other pages start so many programs that they are left to scripts/test --all."""


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(document, id=name(document), marks=[] if name(document) in QUICK else pytest.mark.system)
        for document in stories()
    ],
)
def test_the_examples_of_a_document_do_what_it_shows(document: Path, disk_folder: Path) -> None:
    for program in ("curl", "jq", "openssl"):
        assert shutil.which(program), f"{program} is missing; install it with: apt-get install {program}"
    story = Story(disk_folder)
    try:
        every = blocks(document)
        for block, following in itertools.pairwise([*every, None]):
            if block is not None and is_run(block):
                story.run(block, following if following and following.info == OUTPUT else None)
        story.end()
    finally:
        story.abandon()


def test_every_output_that_is_shown_belongs_to_something_that_runs() -> None:
    for document in documents():
        every = blocks(document)
        for before, block in itertools.pairwise([None, *every]):
            if block is not None and block.info == OUTPUT:
                assert before is not None, f"{block}: output of nothing"
                assert is_run(before), f"{block}: the block before it is not run"


def test_the_main_documents_have_examples() -> None:
    assert {*QUICK} <= {name(document) for document in stories()}


def test_an_example_that_is_wrong_is_found(disk_folder: Path) -> None:
    document = disk_folder / "wrong.md"
    wrong = (
        "```sh run=server\nnun-db -u user-name -p user-pwd start\n```\n```text output\nready\n```\n",
        "```sh run\necho a\n```\n```text output\nb\n```\n",
        "```sh run\nfalse\n```\n",
        "```python run\nprint(1 / 0)\n```\n",
        "```session\nt1 < ok\nt1 > get a\nt1 < value b\n```\n",
        "```session\nt1 > keys\n```\n",
        "```session\nnonsense\n```\n",
        "```session\nhttp > keys\nhttp < value\n```\n",
    )
    story = Story(disk_folder)
    try:
        for text in wrong:
            document.write_text(text)
            block, *output = blocks(document)
            with pytest.raises(AssertionError):
                story.run(block, output[0] if output else None)
    finally:
        story.abandon()


def test_how_messages_are_shown() -> None:
    assert shown("ok \n") == "ok"
    assert shown("error permission denied\n \n") == "error permission denied\\n"
    assert shown("dbs-list \na : none\n") == "dbs-list \\na : none"
    block = Block(documents()[0], 1, "session", "w1 > set k  two spaces\nw1 < ok\nhttp >\n")
    assert [(step.who, step.is_sent, step.text) for step in parse(block)] == [
        ("w1", True, "set k  two spaces"),
        ("w1", False, "ok"),
        ("http", True, ""),
    ]


def test_what_differs_from_run_to_run_is_not_compared() -> None:
    assert normalised("[2023-09-24T21:32:22.005972013Z nun_db] data: /a/b (x)\n127.0.0.1:12 kill 7  \n") == (
        "[TIME nun_db] data: FOLDER (x)\nADDRESS kill ID"
    )
