"""Matching replies with requests, against a peer that sends what it is told to (docs/protocol.md sections 1, 2, 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from pynun.client import (
    AuthenticationError,
    ChangeEvent,
    Client,
    CommandError,
    Conflict,
    ConnectionClosed,
    NoDatabaseSelected,
    PermissionDenied,
    ProtocolError,
    Reply,
    VersionConflict,
)
from tests.client.peer import scripted_server, trio_test

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Results:
    """Runs calls in tasks of their own and keeps what each returned or raised, by name."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._results: dict[str, object] = {}
        self._scopes: dict[str, trio.CancelScope] = {}
        self._changed = trio.Event()

    async def start(self, name: str, call: Callable[[], Awaitable[object]]) -> None:
        """Start a call, and return when all that can happen at once has happened: trio runs new tasks in any order."""
        self._nursery.start_soon(self._run, name, call)
        await trio.testing.wait_all_tasks_blocked()

    async def _run(self, name: str, call: Callable[[], Awaitable[object]]) -> None:
        with trio.CancelScope() as self._scopes[name]:
            try:
                self._results[name] = await call()
            except (CommandError, ConnectionClosed, ProtocolError) as error:
                self._results[name] = error
        self._results.setdefault(name, "cancelled")
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def cancel(self, name: str) -> None:
        """Cancel a call."""
        self._scopes[name].cancel()

    async def wait(self, name: str) -> object:
        """What a call returned or raised."""
        while name not in self._results:
            await self._changed.wait()
        return self._results[name]

    def __contains__(self, name: str) -> bool:
        return name in self._results


@trio_test
async def test_events_between_a_message_and_its_ok_are_no_part_of_the_reply() -> None:
    async with scripted_server() as server, Client(server.url) as client, trio.open_nursery() as nursery:
        peer = await server.accept()
        results = Results(nursery)
        events = client.events()
        await results.start("get", lambda: client.get("k"))
        await peer.answer(
            "get k",
            "changed other 1\n",
            "changed-version other 0 1\n",
            "value v\n",
            "removed other\n",
            "resolve 7 db 3 k old new",
            "ok \n",
        )
        assert await results.wait("get") == "v"
        assert [await anext(events) for _ in range(3)] == [
            ChangeEvent("other", "1", 0, removed=False),
            ChangeEvent("other", None, None, removed=True),
            Conflict("resolve 7 db 3 k old new"),
        ]


@trio_test
async def test_requests_go_out_without_waiting_and_replies_match_in_order() -> None:
    async with scripted_server() as server, Client(server.url) as client, trio.open_nursery() as nursery:
        peer = await server.accept()
        results = Results(nursery)
        for number in range(20):
            await results.start(str(number), lambda number=number: client.get(f"k{number}"))  # type: ignore[misc]
        commands = [await peer.take() for _ in range(20)]
        assert commands == [f"get k{number}" for number in range(20)]
        for number in range(20):
            await peer.say(f"value v{number}\n", "ok \n")
        assert [await results.wait(str(number)) for number in range(20)] == [f"v{number}" for number in range(20)]


@trio_test
async def test_cancelled_caller_does_not_shift_the_replies_of_others() -> None:
    async with scripted_server() as server, Client(server.url) as client, trio.open_nursery() as nursery:
        peer = await server.accept()
        results = Results(nursery)
        for key in "abc":
            await results.start(key, lambda key=key: client.get(key))  # type: ignore[misc]
            await peer.expect(f"get {key}")
        results.cancel("b")
        assert await results.wait("b") == "cancelled"
        await peer.say(
            "value A\n", "ok \n", "permission denied\n", "error permission denied\n \n", "value C\n", "ok \n"
        )
        assert await results.wait("a") == "A"
        assert await results.wait("c") == "C"


@trio_test
async def test_command_cancelled_before_it_was_sent_is_not_sent() -> None:
    async with scripted_server() as server, Client(server.url) as client, trio.open_nursery() as nursery:
        peer = await server.accept()
        results = Results(nursery)
        # The peer's library reads ahead, until two messages wait for the peer to take them.
        for key in "abc":
            await results.start(key, lambda key=key: client.get(key))  # type: ignore[misc]
        long_value = "x" * 20_000_000  # more than the kernel takes while nobody reads
        await results.start("long", lambda: client.set("k", long_value))
        await results.start("never", lambda: client.set("never", "sent"))
        results.cancel("never")
        assert await results.wait("never") == "cancelled"
        for key in "abc":
            await peer.answer(f"get {key}", "value v\n", "ok \n")
        await peer.answer(f"set k {long_value}", "ok \n")
        await results.start("get", lambda: client.get("k"))
        await peer.answer("get k", "value v\n", "ok \n")
        assert await results.wait("get") == "v"


@pytest.mark.parametrize(
    ("frames", "kind", "message"),
    [
        (["permission denied\n", "error permission denied\n \n"], PermissionDenied, "permission denied"),
        (["error no-db-selected\n", "error error no-db-selected\n \n"], NoDatabaseSelected, "error no-db-selected"),
        (["error Not auth \n"], PermissionDenied, "Not auth"),
        (["error Invalid token \n"], AuthenticationError, "Invalid token"),
        (["error Key is not numeric \n"], CommandError, "Key is not numeric"),
        (["error Invalid version! \n"], VersionConflict, "Invalid version!"),
        (["error error \n \n"], CommandError, "error "),
    ],
)
def test_failure_is_one_exception_even_where_it_is_said_twice(
    frames: list[str], kind: type[CommandError], message: str
) -> None:
    @trio_test
    async def test() -> None:
        async with scripted_server() as server, Client(server.url) as client, trio.open_nursery() as nursery:
            peer = await server.accept()
            results = Results(nursery)
            await results.start("refused", lambda: client.get("a"))
            await results.start("next", lambda: client.get("b"))
            await peer.answer("get a", *frames)
            await peer.answer("get b", "value v\n", "ok \n")
            error = await results.wait("refused")
            assert type(error) is kind
            assert isinstance(error, CommandError)
            assert error.message == message
            assert await results.wait("next") == "v"

    test()


@trio_test
async def test_conflict_names_its_record_if_an_arbiter_was_asked() -> None:
    async with scripted_server() as server, Client(server.url) as client, trio.open_nursery() as nursery:
        peer = await server.accept()
        results = Results(nursery)
        await results.start("pending", lambda: client.set_safe("k", 1, "late"))
        await results.start("refused", lambda: client.set_safe("k", 1, "late"))
        await peer.answer("set-safe k 1 late", "error $$conflitct unresolved $conflicts_k_17 \n")
        await peer.answer(
            "set-safe k 1 late", "error An conflitct happend and there is no arbiter client not connected \n"
        )
        pending, refused = await results.wait("pending"), await results.wait("refused")
        assert isinstance(pending, VersionConflict)
        assert pending.record == "$conflicts_k_17"
        assert isinstance(refused, VersionConflict)
        assert refused.record is None


@trio_test
async def test_execute_gives_every_message_and_the_error_as_they_came() -> None:
    async with scripted_server() as server, Client(server.url) as client, trio.open_nursery() as nursery:
        peer = await server.accept()
        results = Results(nursery)
        await results.start("list", lambda: client.execute("debug list-dbs"))
        await results.start("denied", lambda: client.execute("get k"))
        await peer.answer("debug list-dbs", "dbs-list \na : none\nb : newer\n", "ok \n")
        await peer.answer("get k", "permission denied\n", "error permission denied\n \n")
        assert await results.wait("list") == Reply(("dbs-list \na : none\nb : newer",))
        assert await results.wait("denied") == Reply(("permission denied",), "permission denied")


@pytest.mark.parametrize("command", ["get a;get b", "get a;", "get\na"])
def test_execute_takes_exactly_one_command(command: str) -> None:
    @trio_test
    async def test() -> None:
        async with scripted_server() as server, Client(server.url) as client:
            with pytest.raises(ValueError, match="the command holds a semicolon or a newline"):
                await client.execute(command)

    test()


@trio_test
async def test_nothing_is_sent_of_a_call_that_raises_value_error() -> None:
    async with scripted_server() as server, Client(server.url) as client, trio.open_nursery() as nursery:
        peer = await server.accept()
        for call in (
            lambda: client.set("k", "a;b"),
            lambda: client.set("two words", "v"),
            lambda: client.get(""),
            lambda: client.increment("k", 2**63),
            lambda: client.set_safe("k", 2**31, "v"),
            lambda: client.keys("a b"),
            lambda: client.create_db("d", "t;", "none"),
        ):
            with pytest.raises(ValueError, match="the "):
                await call()
        results = Results(nursery)
        await results.start("get", lambda: client.get("k"))
        await peer.answer("get k", "value v\n", "ok \n")
        assert await results.wait("get") == "v"


@trio_test
async def test_message_that_belongs_to_another_command_is_a_protocol_error_for_that_call_alone() -> None:
    async with scripted_server() as server, Client(server.url) as client, trio.open_nursery() as nursery:
        peer = await server.accept()
        results = Results(nursery)
        await results.start("odd", lambda: client.get("a"))
        await results.start("bare", lambda: client.get("b"))
        await results.start("good", lambda: client.get("c"))
        await peer.answer("get a", "keys ,a\n", "ok \n")
        await peer.answer("get b", "ok \n")
        await peer.answer("get c", "value v\n", "ok \n")
        assert isinstance(await results.wait("odd"), ProtocolError)
        assert isinstance(await results.wait("bare"), ProtocolError)
        assert await results.wait("good") == "v"


@trio_test
async def test_gathered_commands_share_a_frame_and_a_long_one_has_its_own() -> None:
    async with scripted_server() as server, Client(server.url) as client, trio.open_nursery() as nursery:
        peer = await server.accept()
        long_value = "x" * 100_000
        values = ["1", long_value, "3", "4"]
        for value in values:
            nursery.start_soon(client.set, "k", value)
        frames: list[str] = []
        while sum(frame.count("set ") for frame in frames) < len(values):
            frames.append(str(await peer.websocket.get_message()))
        assert sorted(";".join(frames).split(";")) == sorted(f"set k {value}" for value in values)
        assert f"set k {long_value}" in frames
        assert len(frames) < len(values)
        await peer.say(*["ok \n"] * len(values))
