"""Builds the documentation as HTML with Sphinx: all pages, a search that runs in the browser, nothing from elsewhere.

The Markdown stays as it is read in the repository: README, CHANGELOG and docs/ are copied beside an index, which is all
that this file adds. A page that the index leaves out, or a link that leads nowhere, is an error.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from sphinx.application import Sphinx

ROOT: Final = Path(__file__).resolve().parents[2]

SECTIONS: Final = (
    ("Start", ("README", "docs/tutorial", "docs/demo")),
    (
        "Install and run",
        (
            "docs/install", "docs/container", "docs/running", "docs/configuration", "docs/tls", "docs/proxies",
            "docs/upgrade", "docs/migration",
        ),
    ),
    (
        "Operate",
        (
            "docs/administration", "docs/backup", "docs/export", "docs/monitoring", "docs/audit", "docs/storage",
            "docs/performance", "docs/reliability", "docs/security", "docs/troubleshooting",
        ),
    ),
    (
        "Look up",
        (
            "docs/cli", "docs/shell-and-watch", "docs/python-client", "docs/commands", "docs/protocol",
            "docs/differences", "CHANGELOG",
        ),
    ),
    (
        "Work on it",
        (
            "docs/architecture", "docs/decisions/README", "docs/dependencies", "docs/contributing",
            "docs/adding-a-command",
        ),
    ),
)  # fmt: skip
"""The pages in their order; those that are not there yet are left out, those that are there and not here an error."""

SETTINGS: Final = {
    "project": "pynun",
    "extensions": ["myst_parser"],
    "myst_heading_anchors": 6,
    "myst_enable_extensions": ["html_image"],
    "html_theme": "furo",
    "html_title": "pynun",
    "html_copy_source": False,
    "html_show_sphinx": False,
    # A lexer's opinion of an example with an ellipsis in it is no fault of the page; links to files that are no pages
    # lead to the repository.
    "suppress_warnings": ["misc.highlighting_failure"],
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/docs", description="Build the documentation as HTML.")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "docs", metavar="FOLDER")
    output: Path = parser.parse_args().output.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        copy_pages(source)
        (source / "index.md").write_text(index(source), encoding="utf-8")
        built = Path(scratch) / "html"
        with contextlib.redirect_stdout(None):
            application = Sphinx(
                srcdir=source, confdir=None, outdir=built, doctreedir=Path(scratch) / "doctrees", buildername="html",
                confoverrides=SETTINGS, status=None, warning=sys.stderr, warningiserror=True,
            )  # fmt: skip
            application.build()
        if application.statuscode:
            print("scripts/docs: the documentation was not built: see above", file=sys.stderr)
            return 1
        shutil.rmtree(built / ".doctrees", ignore_errors=True)
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(built, output)
    print(f"{output / 'index.html'}: {sum(1 for _ in output.rglob('*.html'))} pages")
    return 0


def copy_pages(folder: Path) -> None:
    """The pages, with their pictures, as they lie in the repository."""
    shutil.copytree(ROOT / "docs", folder / "docs")
    for name in ("README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy2(ROOT / name, folder)


def index(folder: Path) -> str:
    """The start page: a table of contents for each section."""
    parts = ["# pynun\n\nThe documentation of this version, readable without a network.\n"]
    for title, pages in SECTIONS:
        present = [page for page in pages if (folder / f"{page}.md").is_file()]
        parts.append(f"```{{toctree}}\n:caption: {title}\n:maxdepth: 1\n\n" + "\n".join(present) + "\n```\n")
    if any((folder / "docs" / "decisions").glob("0*.md")):
        parts.append("```{toctree}\n:hidden:\n:glob:\n\ndocs/decisions/0*\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
