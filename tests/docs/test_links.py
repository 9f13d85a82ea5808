"""Links within the documents lead somewhere, and nothing in them leads out of the project by accident."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.docs.blocks import documents, name, prose
from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

_LINK = re.compile(r"\[[^\]\n]*(?:\n[^\]\n]*)?\]\((?P<target>[^)\s]+)\)")
_CODE = re.compile(r"`[^`\n]*`")
_FILE = re.compile(
    r"`(?P<path>(?:pynun|tests|docs|scripts|\.ci)/[\w./-]*\w/?|[\w-]+\.(?:md|toml)|requirements[\w-]*\.lock|LICENSE)(?:::?\w+)?`"
)
"""A path of the project in code style."""


def anchors(document: Path) -> set[str]:
    """Return the names of a document's headings, as links name them."""
    headings = re.findall(r"^#{1,6} +(.+?) *$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document: Path) -> list[str]:
    """Return the targets within the project that are not there."""
    broken = []
    for match in _LINK.finditer(_CODE.sub("`code`", prose(document))):
        path, _, anchor = match["target"].partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(match["target"])
    return broken


def test_links_lead_somewhere() -> None:
    assert {name(document): broken for document in documents() if (broken := broken_links(document))} == {}


def test_files_that_are_named_exist() -> None:
    missing = [
        f"{name(document)}: {match['path']}"
        for document in documents()
        for match in _FILE.finditer(prose(document))
        if not any((base / match["path"]).exists() for base in (REPOSITORY, document.parent))
    ]
    assert missing == []


def test_every_document_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [REPOSITORY / "README.md"]
    while waiting:
        document = waiting.pop()
        if document in reached:
            continue
        reached.add(document)
        for match in _LINK.finditer(prose(document)):
            target = (document.parent / match["target"].partition("#")[0]).resolve()
            if target.suffix == ".md" and target.is_file():
                waiting.append(target)
    assert [name(document) for document in documents() if document not in reached] == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "# A `b` c!\n\n[1](#a-b-c) [2](#no) [3](page.md) [4](no.md) [5](page.md#no) [6](x://y) `[7](z)`\n"
    )
    assert broken_links(document) == ["#no", "no.md", "page.md#no"]
