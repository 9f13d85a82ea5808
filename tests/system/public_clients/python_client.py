"""Drives the public Python client, unmodified: its own test suite, one test after the other, and what that leaves out.

Run by test_python.py in a process of its own, with the client's packages on its path; the client is made with asyncio,
so this is. Prints a JSON object: what came of each of the client's tests, and what its other methods gave.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import types
from typing import Any

TEST_SECONDS_MAX = 60.0


def client_tests() -> dict[str, Any]:
    """Return the test functions that lie in the client's package. They are plain coroutines under their marks."""
    stand_in = types.ModuleType("pytest_asyncio")
    stand_in.fixture = lambda **_: lambda function: function  # type: ignore[attr-defined]
    sys.modules["pytest_asyncio"] = stand_in  # its version for this client excludes the pytest of this project
    module = importlib.import_module("test_nundb")
    return {name: function for name, function in vars(module).items() if name.startswith("test_")}


async def connect(url: str, user: str, password: str) -> Any:  # noqa: ANN401 - the client has no types
    """Connect as the fixture of the client's tests does, which creates its database each time."""
    client = importlib.import_module("nundb").NunDB(url, user, password)
    await client.connect(url, user, password)
    await client.create_db("aware", "aware")
    await client.use_db("aware", "aware")
    return client


async def run(url: str, user: str, password: str) -> dict[str, object]:
    """Run the client's tests, then the rest of it."""
    results: dict[str, str] = {}
    for name, test in client_tests().items():
        client = await connect(url, user, password)
        try:
            await asyncio.wait_for(test(client), TEST_SECONDS_MAX)
            results[name] = "passed"
        except Exception as error:
            results[name] = repr(error)
        finally:
            await client.close()

    client = await connect(url, user, password)
    try:
        events: list[object] = []
        await client.add_watch("removed", events.append)
        await client.set("removed", "first")
        await client.remove("removed")
        after_removal = await client.get("removed")
        await client.set("removed", "second")
        await client.get("removed")  # answered after the events
        await client.remove_all_watchers()
        await client.set("removed", "third")
        await client.create_user("ana", "ana-pwd")
        # Its split drops every word with a colon and all words of a value but the first.
        await client.set("words", "several words")
        return {
            "tests": results,
            "after_removal": after_removal,
            "last": await client.get("removed"),
            "events": events,
            "users": await client.keys_starting_with("$$user_"),
            "words": await client.get("words"),
        }
    finally:
        await client.close()


if __name__ == "__main__":
    result = asyncio.run(run(*sys.argv[1:]))
    print(json.dumps(result))
