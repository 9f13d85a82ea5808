"""How connections begin and end, against a peer that cuts, refuses, forgets and talks nonsense."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from pynun.client import (
    AuthenticationError,
    ChangeEvent,
    Client,
    CommandError,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionLost,
    ConnectionRestored,
    PermissionDenied,
)
from tests.client.peer import (
    Peer,
    ScriptedServer,
    collect,
    raw_server,
    scripted_server,
    shake_hands_then_sleep,
    trio_test,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def no_jitter() -> float:
    return 0.0


# --- beginnings


@trio_test
async def test_login_and_database_come_first_and_in_this_order() -> None:
    async with scripted_server() as server, trio.open_nursery() as nursery:

        async def play() -> None:
            peer = await server.accept()
            await peer.answer("auth root secret words", "valid auth\n", "ok \n")
            await peer.answer("use-db d ana t", "ok \n")
            assert await peer.wait_closed() == 1000

        nursery.start_soon(play)
        async with Client(server.url, database="d", user="ana", token="t", admin=("root", "secret words")) as client:
            assert client.database == "d"
            assert client.is_connected
        assert not client.is_connected


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (["invalid auth\n", "ok \n"], AuthenticationError),
        (["error Invalid token \n"], AuthenticationError),
        (["error Not a valid database name \n"], CommandError),
    ],
)
def test_refused_login_is_raised_as_it_is_and_the_connection_closed(
    answer: list[str], kind: type[CommandError]
) -> None:
    @trio_test
    async def test() -> None:
        async with scripted_server() as server, trio.open_nursery() as nursery:

            async def play() -> None:
                peer = await server.accept()
                await peer.take()
                await peer.say(*answer)
                await peer.wait_closed()

            nursery.start_soon(play)
            with pytest.raises(kind) as refusal:
                async with Client(server.url, admin=("root", "hunter2")):
                    pytest.fail("the client must not open")
            assert type(refusal.value) is kind

    test()


@trio_test
async def test_connection_lost_during_the_login_is_a_failure_to_connect() -> None:
    async with scripted_server() as server, trio.open_nursery() as nursery:

        async def play() -> None:
            peer = await server.accept()
            await peer.expect("use-db d t")
            await peer.cut()

        nursery.start_soon(play)
        with pytest.raises(ConnectionFailed, match="the connection was cut"):
            async with Client(server.url, database="d", token="t"):
                pytest.fail("the client must not open")


async def hang_up(stream: trio.SocketStream) -> None:
    """A container's proxy whose server is down."""


async def hang_up_after_the_request(stream: trio.SocketStream) -> None:
    await stream.receive_some()


async def greet_like_the_tcp_port(stream: trio.SocketStream) -> None:
    await stream.send_all(b"ok \n")
    await stream.receive_some()
    await stream.send_all(b"error unknown command: GET \n")
    await stream.receive_some()


async def talk_nonsense(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await stream.send_all(b"\x00\xff" * 100)
    await stream.receive_some()


async def answer_like_a_web_server(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await stream.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc")
    await stream.receive_some()


async def say_nothing(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (hang_up, "did not answer as a WebSocket server"),
        (hang_up_after_the_request, "did not answer as a WebSocket server"),
        (greet_like_the_tcp_port, "did not answer as a WebSocket server"),
        (talk_nonsense, "did not answer as a WebSocket server"),
        (answer_like_a_web_server, r"refused the WebSocket handshake \(HTTP 404(: abc)?\)"),
        (say_nothing, "did not answer the WebSocket handshake in time"),
    ],
)
def test_what_is_no_websocket_server_is_told_at_once_and_in_one_line(
    answer: Callable[[trio.SocketStream], Awaitable[None]], complaint: str
) -> None:
    @trio_test
    async def test() -> None:
        async with raw_server(answer) as url:
            patience_s = 0.5 if answer is say_nothing else 60.0
            with trio.fail_after(30), pytest.raises(ConnectionFailed, match=complaint) as failure:
                async with Client(url, connect_timeout_s=patience_s):
                    pytest.fail("the client must not open")
            assert "\n" not in str(failure.value)

    test()


@trio_test
async def test_nobody_listening_is_told_at_once() -> None:
    async with raw_server(hang_up) as url:
        pass  # now the port is free again
    with pytest.raises(ConnectionFailed, match=f"cannot connect to {url}: Connection refused"):
        async with Client(url):
            pytest.fail("the client must not open")
    port = url.rpartition(":")[2]
    with pytest.raises(ConnectionFailed, match="Connection refused"):  # a name with several addresses
        async with Client(f"ws://localhost:{port}"):
            pytest.fail("the client must not open")


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://127.0.0.1:3013", "ws://"),
        ("127.0.0.1:3012", "ws://"),
        ("ws://", "ws://"),
        ("ws://root:hunter2@127.0.0.1:3012", "as arguments"),
        ("ws://127.0.0.1:99999", "(?i)port"),
    ],
)
def test_url_that_makes_no_sense_is_refused_before_connecting(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refusal:
        Client(url)
    assert "hunter2" not in str(refusal.value)


def test_token_without_a_database_and_a_database_without_a_token_make_no_sense() -> None:
    with pytest.raises(ValueError, match="needs a token"):
        Client("ws://127.0.0.1:1", database="d")
    with pytest.raises(ValueError, match="needs a database"):
        Client("ws://127.0.0.1:1", token="t")


def test_description_of_a_client_shows_no_secret() -> None:
    client = Client("ws://127.0.0.1:1", database="d", token="hunter2", admin=("root", "hunter2"))
    assert repr(client) == "<pynun.Client ws://127.0.0.1:1 database=None>"


@trio_test
async def test_client_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="open the client first"):
        await Client("ws://127.0.0.1:1").get("k")


# --- ends


@trio_test
async def test_body_that_raises_leaves_with_its_own_exception() -> None:
    async with scripted_server() as server:
        with pytest.raises(ZeroDivisionError):
            async with Client(server.url):
                raise ZeroDivisionError


@trio_test
async def test_cancelled_body_leaves_at_once_though_the_peer_never_answers_the_goodbye() -> None:
    """One that waited for it would take two seconds each time; a busy machine does not each time."""
    took: list[float] = []
    while not took or (min(took) > 1.8 and len(took) < 5):
        async with scripted_server() as server:
            began = trio.current_time()
            with trio.move_on_after(0.05) as scope:
                async with Client(server.url) as client:
                    await client.get("k")
            took.append(trio.current_time() - began)
            assert scope.cancelled_caught
    assert min(took) < 1.8


@trio_test
async def test_peer_that_never_answers_the_goodbye_delays_the_end_by_two_seconds_at_most() -> None:
    async with raw_server(shake_hands_then_sleep) as url:
        with trio.fail_after(15):
            async with Client(url):
                pass


@trio_test
async def test_after_the_end_every_method_raises_and_every_iteration_stops() -> None:
    async with scripted_server() as server, trio.open_nursery() as nursery:
        ended: list[str] = []

        async def wait_reply(client: Client) -> None:
            with pytest.raises(ConnectionClosed, match="the client was closed") as closed:
                await client.get("k")
            assert closed.value.is_outcome_unknown
            ended.append("reply")

        async def wait_change(client: Client) -> None:
            assert [change async for change in client.watch("k", catch_up=False)] == []
            ended.append("change")

        async def wait_event(client: Client) -> None:
            assert [event async for event in client.events()] == []
            ended.append("event")

        async with Client(server.url) as client:
            peer = await server.accept()
            nursery.start_soon(wait_change, client)
            await peer.answer("watch k", "ok \n")
            nursery.start_soon(wait_event, client)
            nursery.start_soon(wait_reply, client)
            await peer.expect("get k")
            await trio.testing.wait_all_tasks_blocked()
            assert ended == []
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(ended) == ["change", "event", "reply"]
        with pytest.raises(ConnectionClosed, match="the client is closed"):
            await client.get("k")
        with pytest.raises(ConnectionClosed, match="the client is closed"):
            await anext(client.watch("k"))
        with pytest.raises(StopAsyncIteration):
            await anext(client.events())
        with pytest.raises(RuntimeError, match="once"):
            await client.__aenter__()


@trio_test
async def test_without_reconnect_the_end_of_the_connection_is_the_end_of_the_client() -> None:
    async with scripted_server() as server, Client(server.url, reconnect=False) as client:
        peer = await server.accept()
        events = client.events()
        await peer.close(1001, "bye")
        with pytest.raises(ConnectionClosed, match=r"the server closed the connection \(1001 bye\)"):
            await anext(events)
        with pytest.raises(ConnectionClosed, match=r"the server closed the connection \(1001 bye\)"):
            await client.get("k")
        assert not client.is_connected


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("ok \n", "the end of a reply that nobody asked for"),
        ("error x \n", "the end of a reply that nobody asked for"),
        ("changed-version k\n", "a change without a key, a version and a value"),
        (b"ok \n", "a binary frame"),
    ],
)
def test_server_that_breaks_the_protocol_is_left(frame: str | bytes, reason: str) -> None:
    @trio_test
    async def test() -> None:
        async with scripted_server() as server, Client(server.url, reconnect=False) as client:
            peer = await server.accept()
            events = client.events()
            await peer.websocket.send_message(frame)
            with pytest.raises(ConnectionClosed, match=reason):
                await anext(events)
            await peer.wait_closed()

    test()


@pytest.mark.parametrize(
    "data", [b"\x81\x02\xff\xff", b"\xf1\x00", b"\x83\x00", b"\x81\x81abcd", b"\x88\x01x", b"\x00\x00"]
)
def test_server_that_breaks_the_websocket_protocol_is_left_even_while_the_client_sends(data: bytes) -> None:
    @trio_test
    async def test() -> None:
        async with (
            scripted_server() as server,
            Client(server.url, reconnect=False) as client,
            trio.open_nursery() as nursery,
        ):
            peer = await server.accept()
            failures: list[ConnectionClosed] = []

            async def send() -> None:
                try:
                    await client.set("k", "v")
                except ConnectionClosed as failure:
                    failures.append(failure)

            for _ in range(10):
                nursery.start_soon(send)
            await peer.expect("set k v")
            await peer.stream.send_all(data)
            with trio.fail_after(30):
                while len(failures) < 10:
                    await trio.testing.wait_all_tasks_blocked(0.01)
            with pytest.raises(ConnectionClosed):
                await client.get("k")

    test()


@trio_test
async def test_message_that_nobody_asked_for_is_from_a_newer_server_and_ignored() -> None:
    async with scripted_server() as server, Client(server.url, reconnect=False) as client:
        peer = await server.accept()
        events = client.events()
        await peer.say("something new\n", "changed-version k 1 v\n")
        assert await anext(events) == ChangeEvent("k", "v", 1, removed=False)


@trio_test
async def test_message_that_is_too_long_closes_the_connection_with_1009() -> None:
    async with scripted_server() as server, Client(server.url, reconnect=False, message_bytes_max=1000) as client:
        peer = await server.accept()
        events = client.events()
        await peer.say("x" * 1001)
        with pytest.raises(ConnectionClosed, match="maximum message size"):
            await anext(events)
        assert await peer.wait_closed() == 1009


@trio_test
async def test_peer_that_is_gone_without_a_word_is_noticed_by_a_ping() -> None:
    async with raw_server(shake_hands_then_sleep) as url, Client(url, reconnect=False, keepalive_s=0.1) as client:
        with trio.fail_after(30), pytest.raises(ConnectionClosed, match=r"did not answer a ping within 0\.1 s"):
            await client.get("k")


@trio_test
async def test_peer_that_answers_pings_is_not_left() -> None:
    async with scripted_server() as server, Client(server.url, reconnect=False, keepalive_s=0.6) as client:
        await server.accept()
        await trio.sleep(2)  # three pings, each of which has to be answered before the next is due
        assert client.is_connected


# --- reconnecting


@trio_test
async def test_command_in_flight_is_not_sent_again_and_its_outcome_is_unknown() -> None:
    async with scripted_server() as server, Client(server.url, jitter=no_jitter) as client:
        async with trio.open_nursery() as nursery:

            async def play() -> None:
                peer = await server.accept()
                await peer.expect("set k v")
                await peer.cut()

            nursery.start_soon(play)
            with pytest.raises(
                ConnectionClosed, match="the connection was cut; the outcome of the command is unknown"
            ) as closed:
                await client.set("k", "v")
            assert closed.value.is_outcome_unknown
        async with trio.open_nursery() as nursery:

            async def play_again() -> None:
                peer = await server.accept()
                await peer.answer("get next", "value v\n", "ok \n")

            nursery.start_soon(play_again)
            assert await client.get("next") == "v"


@trio_test
async def test_command_given_while_there_is_no_connection_waits_for_the_next() -> None:
    async with scripted_server() as server, Client(server.url, jitter=no_jitter) as client:
        events = client.events()
        peer = await server.accept()
        await peer.cut()
        assert await anext(events) == ConnectionLost("the connection was cut")
        async with trio.open_nursery() as nursery:

            async def play() -> None:
                peer = await server.accept()
                await peer.answer("get k", "value v\n", "ok \n")

            nursery.start_soon(play)
            assert await client.get("k") == "v"
        assert await anext(events) == ConnectionRestored()


@trio_test
async def test_commands_given_while_there_is_no_connection_keep_their_order() -> None:
    keys = [f"k{number}" for number in range(20)]
    async with scripted_server() as server, trio.open_nursery() as nursery:

        async def play_first() -> None:
            peer = await server.accept()
            await peer.answer("use-db d t", "ok \n")
            await peer.expect("get k")
            await peer.cut()

        nursery.start_soon(play_first)
        async with Client(server.url, database="d", token="t", jitter=no_jitter) as client:
            with pytest.raises(ConnectionClosed):
                await client.execute("get k")
            peer = await server.accept()
            await peer.expect("use-db d t")
            async with trio.open_nursery() as removing:
                for key in keys:
                    removing.start_soon(client.remove, key)
                    await trio.testing.wait_all_tasks_blocked()
                await peer.say("ok \n")
                for key in keys:
                    await peer.answer(f"remove {key}", "ok \n")


@pytest.mark.parametrize("is_accepted", [True, False])
def test_command_given_while_the_client_opens_waits_for_that(is_accepted: bool) -> None:
    @trio_test
    async def test() -> None:
        async with scripted_server() as server, trio.open_nursery() as nursery:
            client = Client(server.url, database="d", token="t")
            answered = trio.Event()

            async def ask() -> None:
                if is_accepted:
                    assert await client.get("k") == "v"
                else:
                    with pytest.raises(ConnectionClosed):
                        await client.get("k")
                answered.set()

            async def play() -> None:
                peer = await server.accept()
                await peer.expect("use-db d t")
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                if is_accepted:
                    await peer.say("ok \n")
                    await peer.answer("get k", "value v\n", "ok \n")
                else:
                    await peer.say("error Invalid token \n")

            nursery.start_soon(play)
            with contextlib.nullcontext() if is_accepted else pytest.raises(AuthenticationError):
                async with client:
                    await answered.wait()
            await answered.wait()

    test()


@trio_test
async def test_login_database_and_watches_are_restored_before_new_commands() -> None:
    async with scripted_server() as server, trio.open_nursery() as nursery:

        async def play_first() -> None:
            peer = await server.accept()
            await peer.answer("auth root pwd", "valid auth\n", "ok \n")
            await peer.answer("use-db d t", "ok \n")
            await peer.answer("use-db e ana u", "ok \n")
            await peer.answer("arbiter", "ok \n")
            await peer.answer("watch raw", "ok \n")
            await peer.answer("watch gone", "ok \n")
            await peer.answer("unwatch gone", "ok \n")
            await peer.answer("watch k", "ok \n")
            await peer.cut()

        nursery.start_soon(play_first)
        async with Client(server.url, admin=("root", "pwd"), database="d", token="t", jitter=no_jitter) as client:
            events = client.events()
            await client.use_database("e", "u", user="ana")
            for command in ("arbiter", "watch raw", "watch gone", "unwatch gone"):
                await client.execute(command)
            async with client.watch("k", catch_up=False) as changes:
                assert isinstance(await anext(events), ConnectionLost)
                nursery.start_soon(client.get, "new")
                peer = await server.accept()
                await peer.answer("auth root pwd", "valid auth\n", "ok \n")
                await peer.answer("use-db e ana u", "ok \n")
                await peer.answer("arbiter", "ok \n")
                watches = {await peer.take(), await peer.take()}
                assert watches == {"watch raw", "watch k"}
                await peer.say("changed-version k 5 v\n", "ok \n", "ok \n")
                await peer.answer("get new", "value v\n", "ok \n")
                assert await anext(changes) == ChangeEvent("k", "v", 5, removed=False)


@trio_test
async def test_newest_value_is_delivered_after_a_reconnect_if_it_differs() -> None:
    async with scripted_server() as server, trio.open_nursery() as nursery:

        async def play(reading: str, *events: str) -> Peer:
            peer = await server.accept()
            await peer.answer("watch k", "ok \n")
            await peer.answer("get-safe k", f"value-version {reading}\n", "ok \n")
            await peer.say(*events)
            return peer

        got: list[ChangeEvent] = []

        async def follow(client: Client) -> None:
            async with client.watch("k", current=True) as changes:
                await collect(changes, got)

        async with Client(server.url, jitter=no_jitter) as client:
            nursery.start_soon(follow, client)
            peer = await play("3 a", "changed-version k 4 b\n")
            await peer.cut()
            peer = await play("4 b")  # nothing happened
            await peer.cut()
            peer = await play("6 c")  # something was missed
            await peer.cut()
            peer = await play("1 <Empty>")  # the key was removed
            await peer.cut()
            peer = await play("1 <Empty>")  # and still is
            await peer.cut()
            events = client.events()
            peer = await play("0 c", "changed-version k 1 d\n")
            await peer.say("changed-version other 0 x\n")
            while await anext(events) != ChangeEvent("other", "x", 0, removed=False):
                pass
            await trio.testing.wait_all_tasks_blocked()
        assert got == [
            ChangeEvent("k", "a", 3, removed=False),
            ChangeEvent("k", "b", 4, removed=False),
            ChangeEvent("k", "c", 6, removed=False),
            ChangeEvent("k", None, None, removed=True),
            ChangeEvent("k", "c", 0, removed=False),
            ChangeEvent("k", "d", 1, removed=False),
        ]


@trio_test
async def test_reading_is_delivered_at_its_place_among_the_events() -> None:
    async with scripted_server() as server, Client(server.url) as client, trio.open_nursery() as nursery:
        peer = await server.accept()
        events = client.events()
        got: list[ChangeEvent] = []
        nursery.start_soon(collect, client.watch("k", current=True), got)
        await peer.expect("watch k", "get-safe k")
        # The event was sent before the reading, which therefore brings no news.
        await peer.say("ok \n", "changed-version k 1 b\n", "value-version 1 b\n", "changed-version k 2 c\n", "ok \n")
        await peer.say("changed-version k 3 d\n", "removed other\n")
        while await anext(events) != ChangeEvent("other", None, None, removed=True):
            pass
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [change.value for change in got] == ["b", "c", "d"]


@trio_test
async def test_watch_without_current_learns_where_it_stands_and_catches_up_later() -> None:
    async with scripted_server() as server, trio.open_nursery() as nursery:
        got: list[ChangeEvent] = []
        started = trio.Event()

        async def follow(client: Client) -> None:
            async with client.watch("k") as changes:
                started.set()
                await collect(changes, got)

        async with Client(server.url, jitter=no_jitter) as client:
            nursery.start_soon(follow, client)
            peer = await server.accept()
            await peer.answer("watch k", "ok \n")
            await peer.answer("get-safe k", "value-version 3 a\n", "ok \n")
            await started.wait()
            await peer.cut()
            peer = await server.accept()
            await peer.answer("watch k", "ok \n")
            await peer.answer("get-safe k", "value-version 4 b\n", "ok \n")
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert [change.value for change in got] == ["b"]


@trio_test
async def test_watch_that_is_refused_after_a_reconnect_ends_with_that_error_and_the_others_go_on() -> None:
    async def play_first(server: ScriptedServer) -> None:
        peer = await server.accept()
        for _ in range(3):
            await peer.take()
            await peer.say("ok \n")
        await peer.cut()

    async with (
        scripted_server() as server,
        Client(server.url, jitter=no_jitter) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(play_first, server)
        async with (
            client.watch("denied", "also", catch_up=False) as refused,
            client.watch("kept", catch_up=False) as kept,
        ):
            peer = await server.accept()
            for _ in range(3):
                if await peer.take() == "watch denied":
                    await peer.say("permission denied\n", "error permission denied\n \n")
                else:
                    await peer.say("ok \n")
            with pytest.raises(PermissionDenied):
                await anext(refused)
            await peer.answer("unwatch also", "ok \n")
            await peer.say("changed-version kept 1 v\n")
            assert (await anext(kept)).value == "v"


@trio_test
async def test_login_that_is_refused_after_a_reconnect_ends_the_client() -> None:
    async with scripted_server() as server, trio.open_nursery() as nursery:

        async def play() -> None:
            peer = await server.accept()
            await peer.answer("use-db d t", "ok \n")
            await peer.answer("watch k", "ok \n")
            await peer.cut()
            peer = await server.accept()
            await peer.answer("use-db d t", "error Invalid token \n")
            await peer.wait_closed()

        nursery.start_soon(play)
        async with (
            Client(server.url, database="d", token="t", jitter=no_jitter) as client,
            client.watch("k", catch_up=False) as changes,
        ):
            with pytest.raises(AuthenticationError):
                await anext(changes)
            with pytest.raises(AuthenticationError):
                await client.get("k")
            with pytest.raises(AuthenticationError):
                await anext(client.watch("k"))
            assert not client.is_connected


@trio_test
async def test_delays_between_attempts_come_from_the_given_jitter() -> None:
    asked: list[float] = []

    def jitter() -> float:
        asked.append(trio.current_time())
        return 0.0

    async with scripted_server() as server, Client(server.url, jitter=jitter) as client:
        events = client.events()
        for _ in range(3):
            peer = await server.accept()
            await peer.cut()
            assert isinstance(await anext(events), ConnectionLost)
            assert isinstance(await anext(events), ConnectionRestored)
        # A server that accepts and drops does not get the shortest delay each time: 0.1, 0.2 and 0.4 s.
        assert len(asked) == 3
        assert asked[1] - asked[0] >= 0.1
        assert asked[2] - asked[1] >= 0.2


# --- watching


@trio_test
async def test_two_watches_of_a_key_are_ended_as_one() -> None:
    async with scripted_server() as server, Client(server.url) as client, trio.open_nursery() as nursery:
        peer = await server.accept()

        async def play() -> None:
            await peer.answer("watch k", "ok \n")
            await peer.answer("watch k", "ok \n")  # the server may have ended the first, and does not say so
            await peer.say("changed-version k 1 v\n")
            await peer.answer("unwatch k", "ok \n")
            await peer.answer("watch k", "ok \n")
            await peer.answer("unwatch k", "ok \n")

        nursery.start_soon(play)
        async with client.watch("k", catch_up=False) as first:
            async with client.watch("k", catch_up=False) as second:
                assert (await anext(second)).value == "v"
            assert (await anext(first)).value == "v"
        async with client.watch("k", "k", catch_up=False):
            pass


@trio_test
async def test_refused_watch_raises_and_is_forgotten() -> None:
    async with scripted_server() as server, Client(server.url) as client, trio.open_nursery() as nursery:
        peer = await server.accept()

        async def play() -> None:
            await peer.answer("watch k", "permission denied\n", "error permission denied\n \n")
            await peer.answer("unwatch k", "ok \n")
            await peer.answer("watch k", "error error no-db-selected\n \n")

        nursery.start_soon(play)
        with pytest.raises(PermissionDenied):
            async with client.watch("k", catch_up=False):
                pytest.fail("the watch must not begin")
        with pytest.raises(CommandError):
            await anext(client.watch("k", catch_up=False))


@trio_test
async def test_slow_consumer_gets_the_newest_value() -> None:
    async with scripted_server() as server, Client(server.url) as client, trio.open_nursery() as nursery:
        peer = await server.accept()

        async def play() -> None:
            await peer.answer("watch k", "ok \n")
            for number in range(2000):
                await peer.say(f"changed k {number}\n", f"changed-version k {number} {number}\n")
            await peer.say("changed-version k 2000 last\n", "changed-version other 0 x\n")

        events = client.events()
        nursery.start_soon(play)
        async with client.watch("k", catch_up=False) as changes:
            async for event in events:
                if isinstance(event, ChangeEvent) and event.key == "other":
                    break
            assert (await anext(changes)).value == "last"
