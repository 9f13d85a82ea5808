"""The client for asyncio: the same as the other, and a good citizen of the loop."""

from __future__ import annotations

import asyncio
import functools
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from pynun.client import (
    AsyncioClient,
    AuthenticationError,
    ChangeEvent,
    ConnectionClosed,
    ConnectionFailed,
    PermissionDenied,
    VersionConflict,
    Versioned,
)
from tools.clients.server import ADMIN_PASSWORD, ADMIN_USER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.client.conftest import Database

TIMEOUT_S = 60.0


def asyncio_test(test: Callable[[Database], Awaitable[None]]) -> Callable[[Database], None]:
    """A test that runs in a loop of its own and leaves no thread."""

    @functools.wraps(test)
    def run(database: Database) -> None:
        async def main() -> None:
            async with asyncio.timeout(TIMEOUT_S):
                await test(database)

        asyncio.run(main())
        assert client_threads() == []

    return run


def client_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pynun-client"]


def open_database(database: Database) -> AsyncioClient:
    return AsyncioClient(database.url, database=database.name, token=database.token)


@asyncio_test
async def test_methods_do_what_those_of_the_client_do(database: Database) -> None:
    async with open_database(database) as client:
        assert client.is_connected
        assert client.database == database.name
        await client.set("k", "two words")
        assert await client.get_safe("k") == Versioned("two words", 0)
        await client.set_safe("k", 0, {"b": [1]})
        assert await client.get_json("k") == {"b": [1]}
        with pytest.raises(VersionConflict):
            await client.set_safe("k", 0, "late")
        with pytest.raises(PermissionDenied):
            await client.list_dbs()
        with pytest.raises(TypeError, match="a value of type set"):
            await client.set("k", {1})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="semicolon"):
            await client.set("k", "a;b")
        await client.authenticate(ADMIN_USER, ADMIN_PASSWORD)
        assert database.user in [one.user for one in await client.list_users(database.name)]
        assert (await client.execute("nonsense")).error == "unknown command: nonsense"
        with pytest.raises(RuntimeError, match="threads can only be started once"):
            await client.open()
    assert repr(client).startswith("<pynun.AsyncioClient ws://")


@asyncio_test
async def test_client_that_cannot_open_raises(database: Database) -> None:
    with pytest.raises(AuthenticationError):
        async with AsyncioClient(database.url, database=database.name, token="wrong"):
            pytest.fail("the client must not open")
    with pytest.raises(ConnectionFailed):
        await AsyncioClient("ws://127.0.0.1:1").open()
    with pytest.raises(RuntimeError, match="open the client first"):
        await AsyncioClient(database.url).get("k")
    with pytest.raises(RuntimeError, match="open the client first"):
        AsyncioClient(database.url).events()
    await AsyncioClient(database.url).close()


def test_opening_that_is_cancelled_ends_at_once() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await AsyncioClient(f"ws://127.0.0.1:{silent.getsockname()[1]}", connect_timeout_s=3600.0).open()

    asyncio.run(main())
    assert client_threads() == []


@asyncio_test
async def test_commands_keep_the_order_in_which_tasks_give_them(database: Database) -> None:
    async with open_database(database) as client, client.watch("k") as changes:
        for turn in range(20):
            await asyncio.gather(*(client.set("k", f"{turn}-{number}") for number in range(10)))
            seen = [(await anext(changes)).value for _ in range(10)]
            assert seen == [f"{turn}-{number}" for number in range(10)]


@asyncio_test
async def test_watch_gives_changes_until_it_is_left(database: Database) -> None:
    async with open_database(database) as client, open_database(database) as other:
        await client.set("k", 0)
        async with client.watch("k", current=True) as changes:
            await other.set("k", 1)
            await other.remove("k")
            assert await anext(changes) == ChangeEvent("k", "0", 0, removed=False)
            assert await anext(changes) == ChangeEvent("k", "1", 1, removed=False)
            assert await anext(changes) == ChangeEvent("k", None, None, removed=True)
            await other.set("k", 2)
            await client.get("k")
        assert [change.value async for change in changes] == ["2"]
        database.admin("set-permissions all w *")
        with pytest.raises(PermissionDenied):
            async with client.watch("k"):
                pytest.fail("the watch must not begin")


@asyncio_test
async def test_cancelled_wait_loses_no_change(database: Database) -> None:
    async with open_database(database) as client, client.watch("k") as changes:
        seen = []

        async def take() -> None:
            seen.append((await anext(changes)).value)

        for number in range(100):
            taking = asyncio.create_task(take())
            setting = asyncio.create_task(client.set("k", str(number)))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            if number % 3:
                await setting
            taking.cancel()
            await asyncio.gather(taking, setting, return_exceptions=True)
        while len(seen) < 100:
            await take()
        assert seen == [str(number) for number in range(100)]


@asyncio_test
async def test_several_tasks_share_an_iteration(database: Database) -> None:
    async with open_database(database) as client, client.watch("k") as changes:
        seen: list[str | None] = []

        async def take() -> None:
            seen.extend([change.value async for change in changes])

        takers = [asyncio.create_task(take()) for _ in range(3)]
        for number in range(60):
            await client.set("k", str(number))
        changes.close()
        await asyncio.gather(*takers)
        assert sorted(seen, key=lambda value: int(value or -1)) == [str(number) for number in range(60)]


@asyncio_test
async def test_cancelled_calls_leave_the_others_right(database: Database) -> None:
    async with open_database(database) as client:
        for number in range(100):
            cancelled = asyncio.create_task(client.get(f"cancelled-{number}"))
            for _ in range(number % 5):
                await asyncio.sleep(0)
            cancelled.cancel()
            await client.set("k", str(number))
            assert await client.get("k") == str(number)


@asyncio_test
async def test_loop_goes_on_while_a_call_waits(database: Database) -> None:
    async with open_database(database) as client:
        database.server.send_signal(signal.SIGSTOP)
        try:
            waiting = asyncio.create_task(client.get("k"))
            for _ in range(10):
                await asyncio.sleep(0.01)
            assert not waiting.done()
        finally:
            database.server.send_signal(signal.SIGCONT)
        assert await waiting is None


@asyncio_test
async def test_events_begin_where_they_were_asked_for(database: Database) -> None:
    async with open_database(database) as client:
        events = client.events()
        await client.execute("watch k")
        await client.set("k", 1)
        await client.set("k", 2)
        assert await anext(events) == ChangeEvent("k", "1", 0, removed=False)
        assert await events.take_waiting() == [ChangeEvent("k", "2", 1, removed=False)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(events)
        await client.set("k", 3)
        assert await events.take_waiting() == [ChangeEvent("k", "3", 2, removed=False)]
        events.close()
        assert [event async for event in events] == []


@asyncio_test
async def test_close_ends_what_waits_in_other_tasks(database: Database) -> None:
    client = open_database(database)
    await client.open()
    changes = client.watch("k")
    await changes.__aenter__()
    iterating = asyncio.create_task(anext(changes, "the end"))
    await asyncio.sleep(0)
    await client.close()
    assert await iterating == "the end"
    with pytest.raises(ConnectionClosed, match="the client is closed"):
        await client.get("k")
    await client.close()


def test_one_client_serves_several_loops(database: Database) -> None:
    client = open_database(database)
    asyncio.run(client.open())
    asyncio.run(client.set("k", "v"))
    assert asyncio.run(client.get("k")) == "v"
    asyncio.run(client.close())
    assert client_threads() == []


CTRL_C = """
import asyncio, pynun

async def main():
    async with pynun.AsyncioClient(URL, database=NAME, token=TOKEN) as client:
        async with client.watch("k") as changes:
            print("waiting", flush=True)
            try:
                await anext(changes)
            finally:
                print(await client.get("k"), flush=True)

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""

FORGOTTEN = """
import asyncio, pynun

async def main():
    client = pynun.AsyncioClient(URL, database=NAME, token=TOKEN)
    await client.open()
    changes = client.watch("k")
    asyncio.create_task(anext(changes))
    asyncio.create_task(client.get("k"))
    await asyncio.sleep(0)
    return client

client = asyncio.run(main())
asyncio.run(client.set("k", "v"))
print(client.is_connected)
"""


def start_program(source: str, database: Database) -> subprocess.Popen[str]:
    names = f"URL, NAME, TOKEN = {database.url!r}, {database.name!r}, {database.token!r}\n"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", names + source],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_ctrl_c_ends_a_program_in_order(database: Database) -> None:
    with start_program(CTRL_C, database) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=TIMEOUT_S)[0] == "None\ninterrupted\n"
        assert process.returncode == 0


def test_client_that_is_never_closed_harms_neither_the_loop_nor_the_end(database: Database) -> None:
    with start_program(FORGOTTEN, database) as process:
        assert process.communicate(timeout=TIMEOUT_S)[0] == "True\n"
        assert process.returncode == 0
