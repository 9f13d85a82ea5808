"""The documents and their fenced code blocks.

The word behind a fence's language says what a test does with the block (docs/contributing.md lists them):

- `sh run`: run by bash; a block `text output` right behind it is what it prints.
- `sh run=server`: started in the background, as the server of the document.
- `sh run=follow`: started in the background; `text output` is all it prints until the end of the document.
- `python run`: run by Python; `text output` as above.
- `session`: sent to and received from the server of the document, line by line.

Other words name the tests that run the block (`tests/docs/test_coverage.py`); one without a word is not run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

_FENCE = re.compile(r"(?P<indent> *)```(?P<info>.*)")


class Block(NamedTuple):
    """One fenced code block: its place, what stands behind the fence, its lines without the fence's indent."""

    document: Path
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{name(self.document)}:{self.line}"


def documents() -> list[Path]:
    """Every document of the project."""
    return sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])


def name(document: Path) -> str:
    """Return a document's path within the project."""
    return document.relative_to(REPOSITORY).as_posix() if document.is_relative_to(REPOSITORY) else document.name


def blocks(document: Path) -> list[Block]:
    """Return the fenced code blocks of a document, in order."""
    found: list[Block] = []
    inside: tuple[int, str, int] | None = None
    lines: list[str] = []
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.fullmatch(line)
        if inside is None:
            if fence is not None:
                inside = number, fence["info"].strip(), len(fence["indent"])
                lines = []
        elif fence is not None and not fence["info"]:
            start, info, _ = inside
            found.append(Block(document, start, info, "".join(f"{text}\n" for text in lines)))
            inside = None
        else:
            lines.append(line.removeprefix(" " * inside[2]))
    assert inside is None, f"{name(document)}:{inside[0]}: a code block without an end"
    return found


def commands(document: Path, word: str) -> list[Block]:
    """Return the blocks of a document that the tests named for this word run."""
    return [block for block in blocks(document) if block.info == f"sh {word}"]


def prose(document: Path) -> str:
    """Return a document's text without its code blocks, line by line as it stands."""
    is_inside = False
    kept: list[str] = []
    for line in document.read_text(encoding="utf-8").splitlines():
        if _FENCE.fullmatch(line):
            is_inside = not is_inside
        elif not is_inside:
            kept.append(line)
    return "\n".join(kept)
