"""docs/security.md names tests that exist, and has one for every promise."""

from __future__ import annotations

import ast
import re

from tools.clients.server import REPOSITORY

PAGE = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")
PROMISES = [line for line in PAGE.splitlines() if re.match(r"\| (?!promise|---)", line)]
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_promise_names_a_test_that_shows_it() -> None:
    assert len(PROMISES) > 20
    assert [line for line in PROMISES if line.count(" | ") != 1 or not _NAMED.search(line.split(" | ")[1])] == []


def test_the_named_tests_exist() -> None:
    named = set(_NAMED.findall(PAGE))
    functions = {
        (path, node.name)
        for path in {path for path, _ in named}
        for node in ast.parse((REPOSITORY / path).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }
    assert sorted(named - functions) == []


def test_every_test_that_looks_like_a_name_is_checked() -> None:
    assert PAGE.count("::test_") == len(_NAMED.findall(PAGE))
