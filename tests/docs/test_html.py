"""The HTML documentation is complete, its links lead somewhere, and it takes nothing from the internet."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.system

ROOT: Final = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", name="site")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("html") / "docs"
    done = subprocess.run(
        [sys.executable, "-P", "scripts/tools/docs/as_html.py", "--output", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


class _Page(HTMLParser):
    """What a page refers to and what can be referred to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag in ("link", "script", "img", "iframe"):
            self.loaded += [given[name] for name in ("href", "src") if name in given]


@pytest.mark.timeout(300)
def test_every_page_of_the_documentation_is_there(site: Path) -> None:
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]:
        assert (site / page.relative_to(ROOT).with_suffix(".html")).is_file(), page


@pytest.mark.timeout(300)
def test_nothing_is_loaded_from_elsewhere_and_every_link_leads_somewhere(site: Path) -> None:
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for address in page.loaded:
            assert not urlsplit(address).netloc, f"{path.name} loads {address}"
        for address in page.links + page.loaded:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.exists(), f"{path.name} refers to {address}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{path.name} refers to {address}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("delet databas", "docs/administration"),
        ("reset password", "docs/administration"),
        ("autocomplet", "docs/shell-and-watch"),
        ("disk full", "docs/storage"),
        ("revers proxi", "docs/proxies"),
    ],
)
def test_the_search_finds(site: Path, words: str, page: str) -> None:
    """By the index that the page's search reads: it holds words by their stems."""
    found = json.loads((site / "searchindex.js").read_text().removeprefix("Search.setIndex(").removesuffix(")"))
    for word in words.split():
        places = [found[part].get(word, []) for part in ("terms", "titleterms")]
        pages = [
            found["docnames"][number] for each in places for number in (each if isinstance(each, list) else [each])
        ]
        assert page in pages, f"{word} is not on {page}"
