"""The examples in the docstrings of the client run as they stand. (Those of the documents are run by tests/docs.)"""

from __future__ import annotations

import ast
import asyncio
import inspect
import textwrap
from typing import TYPE_CHECKING, NamedTuple

import pytest
import trio

import pynun
from pynun.client import AsyncioClient, Client, SyncClient, open_client
from tests.client.conftest import make_database
from tools.clients.server import Server, new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

URL = "ws://127.0.0.1:3012"
TIMEOUT_S = 60.0


class Example(NamedTuple):
    """A fenced block of a docstring."""

    name: str
    source: str


def examples_of(name: str, documented: object) -> list[Example]:
    """The fenced Python blocks of a docstring."""
    text = inspect.getdoc(documented) or ""
    blocks = text.split("```python\n")[1:]
    return [Example(name, textwrap.dedent(block.partition("```")[0])) for block in blocks]


def all_examples() -> list[Example]:
    found = examples_of("open_client", open_client)
    for kind in (Client, SyncClient, AsyncioClient):
        found += examples_of(kind.__name__, kind)
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if kind is Client or method is not getattr(Client, name, None):
                found += examples_of(f"{kind.__name__}.{name}", method)
    return found


@pytest.fixture(scope="module")
def documented_server() -> Iterator[Server]:
    """A server with the database and the user that the examples name."""
    with new_folder() as folder, Server(folder / "dbs") as server:
        make_database(server, name="features-of-db", token="features-of-db-pwd").admin("create-user client client-pwd")
        yield server


@pytest.mark.parametrize("example", all_examples(), ids=lambda example: example.name)
def test_example_runs(example: Example, documented_server: Server) -> None:
    url = f"ws://{documented_server.websocket}"
    source = example.source.replace(URL, url)
    code = compile(source, example.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names: dict[str, object] = {"pynun": pynun, "asyncio": asyncio, "trio": trio, "url": url, "__name__": "example"}
    result = eval(code, names)

    async def main() -> None:
        with trio.fail_after(TIMEOUT_S):
            await result

    if not inspect.iscoroutine(result):
        return
    if example.name.startswith("AsyncioClient"):
        asyncio.run(asyncio.wait_for(result, TIMEOUT_S))
    else:
        trio.run(main)


def test_every_method_of_the_client_has_an_example() -> None:
    shown = {example.name for example in all_examples()}
    methods = {
        f"Client.{name}" for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")
    }
    assert methods <= shown
