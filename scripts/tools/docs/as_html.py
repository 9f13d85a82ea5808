"""Builds the documentation as HTML with Sphinx: all pages, a search that runs in the browser, nothing from elsewhere.

The Markdown stays as it is in the repository: README, CHANGELOG and docs/ are copied beside an index that is made from
docs/README.md. A page that docs/README.md leaves out, or a link that leads nowhere, is an error.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from sphinx.application import Sphinx

ROOT: Final = Path(__file__).resolve().parents[3]

_NAMED_BY_FILE: Final = re.compile(r"\[`?[\w/-]+\.md`?\]\((?P<path>[\w./-]+\.md)(?P<anchor>#[\w-]+)?\)")

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
        (source / "index.md").write_text(index(), encoding="utf-8")
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
    """Copy the pages with their pictures. A link that shows only the name of a page's file gets the page's title."""
    shutil.copytree(ROOT / "docs", folder / "docs")
    for name in ("README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy2(ROOT / name, folder)
    for page in folder.rglob("*.md"):

        def titled(link: re.Match[str], page: Path = page) -> str:
            target = page.parent / link["path"]
            return f"[{title(target)}]({link['path']}{link['anchor'] or ''})" if target.is_file() else link[0]

        page.write_text(_NAMED_BY_FILE.sub(titled, page.read_text(encoding="utf-8")), encoding="utf-8")


def title(page: Path) -> str:
    """The first heading of a page."""
    return page.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def index() -> str:
    """The start page: README's beginning, and a table of contents for each section of docs/README.md."""
    beginning = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## ")[0]
    parts = [beginning, "[Install and start it](README.md)\n", "```{toctree}\n:hidden:\n\nREADME\ndocs/README\n```\n"]
    for section in (ROOT / "docs" / "README.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        caption, _, text = section.partition("\n")
        pages = "\n".join(f"docs/{page}" for page in re.findall(r"\]\(([^)#]+)\.md\)", text))
        parts.append(f"```{{toctree}}\n:caption: {caption}\n:maxdepth: 1\n\n{pages}\n```\n".replace("docs/../", ""))
    parts.append("```{toctree}\n:hidden:\n:glob:\n\ndocs/decisions/0*\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
