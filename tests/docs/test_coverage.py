"""Every command that the documents show is run by some test, or is named here with the reason why it is not."""

from __future__ import annotations

import re
from typing import Final

from tests.docs.blocks import Block, blocks, documents, name
from tests.docs.test_examples import is_run
from tools.clients.server import REPOSITORY

RUN_BY: Final = {
    "container": "tests/system/container/test_page.py",
    "compose": "tests/system/container/test_page.py",
    "cluster-demo": "tests/system/container/test_cluster_demo.py",
    **dict.fromkeys(
        (
            "cluster-certificates",
            "cluster-install",
            "cluster-grow",
            "cluster-start",
            "cluster-hand-over",
            "cluster-restore",
            "cluster-copy-again",
            "cluster-renew",
            "cluster-ask",
        ),
        "tests/system/installer/test_cluster.py",
    ),
    "original": "tests/system/container/test_page.py",
    "tutorial": "tests/system/container/test_page.py",
    "machine": "tests/system/installer/test_pages.py",
    "upgrade": "tests/system/installer/test_pages.py",
    "service": "tests/system/installer/test_service_pages.py",
    "migration": "tests/docs/test_migration.py",
    "damaged": "tests/docs/test_migration.py",
    "export": "tests/docs/test_migration.py",
    "demo": "tests/system/demo/test_pages.py",
}
"""The word behind a block's `sh`, and the test that runs the blocks with that word."""

NOT_RUN: Final = {
    ("README.md", "scripts/test "): "these are the tests themselves, and measurements of minutes to hours; for seconds,"
    " tests/system/benchmark/test_bench.py and tests/system/soak/test_soak.py do the same,"
    " and tests/docs/test_generated.py",
    ("docs/cli.md", "nun-db -u admin exec - <<<"): "it asks for a password on the terminal; it is typed there by"
    " tests/cli/commands/test_exec.py, with commands on standard input",
    ("docs/export.md", "nun-db import features-copy"): "the page's commands run on folders of stopped servers;"
    " tests/transfer/test_online.py does the same with a running one",
    ("docs/export.md", "nun-db copy-db"): "as the one before",
    (
        "docs/ohif.md",
        "nun-db -u user-name -p user-pwd exec - <<",
    ): "tests/system/ohif/rooms.py gives these permissions to the viewers of its tests",
    ("docs/tutorial.md", "scripts/run watch"): "it prints what two viewers of OHIF change, which"
    " tests/system/ohif opens; the same command on other keys is run with docs/shell-and-watch.md",
}
"""Document and beginning of a block that no test runs, and why."""

_SHELL: Final = re.compile(r"(sh|bash|shell|console)\b")


def shell_blocks() -> list[Block]:
    return [block for document in documents() for block in blocks(document) if _SHELL.match(block.info)]


def word(block: Block) -> str:
    """What stands behind the language: `container`, `migration` (also for `migration=server`)."""
    return block.info.partition(" ")[2].partition("=")[0]


def reason_not_to_run(block: Block) -> str | None:
    for (document, beginning), reason in NOT_RUN.items():
        if name(block.document) == document and block.text.startswith(beginning):
            return reason
    return None


def test_every_command_is_run_or_it_is_said_why_not() -> None:
    unknown = [
        str(block)
        for block in shell_blocks()
        if not is_run(block) and word(block) not in RUN_BY and reason_not_to_run(block) is None
    ]
    assert unknown == []


def test_nothing_is_on_the_list_that_is_run_or_gone() -> None:
    excused = [block for block in shell_blocks() if reason_not_to_run(block) is not None]
    assert len(excused) == len(NOT_RUN)
    assert all(not word(block) for block in excused), "it is run now: take it off the list"


def test_what_a_reason_names_is_there() -> None:
    for reason in NOT_RUN.values():
        for file in re.findall(r"\b(?:tests|docs)/[\w/-]+\.\w+", reason):
            assert (REPOSITORY / file).exists(), file


def test_scripts_that_are_named_are_there() -> None:
    named = {script for block in shell_blocks() for script in re.findall(r"(?<![\w/])scripts/\w+(?:\.py)?", block.text)}
    assert "scripts/test" in named
    for script in named:
        assert (REPOSITORY / script).is_file(), script


def test_who_runs_a_word_is_there_and_knows_it() -> None:
    used = {word(block) for block in shell_blocks()}
    for one, file in RUN_BY.items():
        assert one in used, f"no block has the word {one} any more"
        assert f'"{one}"' in (REPOSITORY / file).read_text(encoding="utf-8"), f"{file} does not run {one}"
