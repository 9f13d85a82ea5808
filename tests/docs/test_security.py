"""docs/security.md names tests that exist, and has one for every promise."""

from __future__ import annotations

import ast
import re

import pytest

from tools.clients.server import REPOSITORY

PAGE = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")
PROMISES = [line for line in PAGE.splitlines() if re.match(r"\| (?!promise|---)", line)]
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_there_are_promises() -> None:
    assert len(PROMISES) > 20


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise[2:50])
def test_a_promise_names_a_test_that_shows_it(promise: str) -> None:
    assert promise.count(" | ") == 1
    assert _NAMED.search(promise.split(" | ")[1])


@pytest.mark.parametrize("named", sorted(set(_NAMED.findall(PAGE))), ids="::".join)
def test_a_named_test_exists(named: tuple[str, str]) -> None:
    path, name = named
    module = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
    functions = {node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in functions
    assert name.startswith("test_")


def test_every_test_that_looks_like_a_name_is_checked() -> None:
    assert PAGE.count("::test_") == len(_NAMED.findall(PAGE))
