"""The synchronous client: the same as the other, from any thread, with deterministic ends."""

from __future__ import annotations

import inspect
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pynun.client import (
    AsyncioClient,
    AuthenticationError,
    ChangeEvent,
    Client,
    CommandError,
    CommandTimeout,
    ConnectionClosed,
    ConnectionFailed,
    PermissionDenied,
    SyncClient,
    VersionConflict,
    Versioned,
)
from tools.clients.server import ADMIN_PASSWORD, ADMIN_USER

if TYPE_CHECKING:
    from tests.client.conftest import Database


def open_database(database: Database) -> SyncClient:
    return SyncClient(database.url, database=database.name, token=database.token)


def client_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pynun-client"]


def test_each_client_has_every_method_with_the_same_parameters() -> None:
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if not name.startswith("_"):
            for kind in (SyncClient, AsyncioClient):
                here = inspect.signature(getattr(kind, name)).parameters
                assert list(here.values()) == list(inspect.signature(method).parameters.values()), name


def test_methods_do_what_those_of_the_client_do(database: Database) -> None:
    with open_database(database) as client:
        assert client.is_connected
        assert client.database == database.name
        assert client.get("k") is None
        client.set("k", "two words")
        assert client.get_safe("k") == Versioned("two words", 0)
        client.set_safe("k", 0, "b")
        with pytest.raises(VersionConflict):
            client.set_safe("k", 0, "late")
        client.increment("n", 3)
        assert client.keys("n") == ["$connections", "n"]
        assert client.get_json("n") == 3
        client.remove("k")
        assert client.get("k") is None
        with pytest.raises(PermissionDenied):
            client.snapshot()
        client.authenticate(ADMIN_USER, ADMIN_PASSWORD)
        client.create_db(f"{database.name}-sync", "t")
        client.snapshot()
        assert f"{database.name}-sync" in [one.name for one in client.list_dbs()]
        client.use_database(f"{database.name}-sync", "t")
        assert client.execute("nonsense").error == "unknown command: nonsense"
        with pytest.raises(ValueError, match="semicolon"):
            client.set("k", "a;b")
    assert repr(client).startswith("<pynun.SyncClient ws://")


def test_watch_and_events(database: Database) -> None:
    with open_database(database) as client:
        client.set("k", "0")
        events = client.events()
        with client.watch("k", current=True) as changes:
            client.set("k", "1")
            assert next(changes) == ChangeEvent("k", "0", 0, removed=False)
            assert changes.get(30) == ChangeEvent("k", "1", 1, removed=False)
            with pytest.raises(CommandTimeout, match=r"within 0\.05 s"):
                changes.get(0.05)
            with pytest.raises(TimeoutError):
                changes.get(0.05)
            client.set("k", "2")
            client.unwatch("k")
        assert [change.value for change in changes] == ["2"]
        assert next(events) == ChangeEvent("k", "1", 1, removed=False)
        assert events.take_waiting() == [ChangeEvent("k", "2", 2, removed=False)]
        assert events.take_waiting() == []
        events.close()
        assert list(events) == []
        database.admin("set-permissions all w *")
        with pytest.raises(PermissionDenied):
            next(client.watch("k"))


def test_close_ends_the_thread_and_wakes_who_waits_in_others(database: Database) -> None:
    client = open_database(database)
    client.open()
    assert len(client_threads()) == 1
    ended: list[str] = []
    watch = client.watch("k")
    watch.__enter__()

    def iterate() -> None:
        ended.extend(["iteration", *(change.key for change in watch)])

    waiting = threading.Thread(target=iterate)
    waiting.start()
    client.close()
    assert client_threads() == []
    waiting.join(30)
    assert ended == ["iteration"]
    client.close()
    with pytest.raises(ConnectionClosed, match="the client is closed"):
        client.get("k")
    with pytest.raises(ConnectionClosed, match="the client is closed"):
        client.events()


def test_client_that_cannot_open_raises_and_leaves_no_thread(database: Database) -> None:
    with (
        pytest.raises(AuthenticationError),
        SyncClient(database.url, database=database.name, token="wrong"),
    ):
        pytest.fail("the client must not open")
    with pytest.raises(ConnectionFailed), SyncClient("ws://127.0.0.1:1"):
        pytest.fail("the client must not open")
    with pytest.raises(CommandError), SyncClient(database.url, database="nowhere", token="t"):
        pytest.fail("the client must not open")
    assert client_threads() == []
    with pytest.raises(ValueError, match="ws://"):
        SyncClient("http://127.0.0.1:3013")
    with pytest.raises(RuntimeError, match="open the client first"):
        SyncClient(database.url).get("k")
    SyncClient(database.url).close()


def test_several_threads_share_a_client(database: Database) -> None:
    with open_database(database) as client:
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for step in range(50):
                    client.set(f"k{number}", str(step))
                    assert client.get(f"k{number}") == str(step)
                    client.increment("n")
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert client.get("n") == "400"


def test_interrupted_wait_loses_no_change(database: Database) -> None:
    with open_database(database) as client, client.watch("k") as changes:
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))

        def wait() -> ChangeEvent:
            timer.start()  # here, for it may strike at once
            return next(changes)

        with pytest.raises(KeyboardInterrupt):
            wait()
        timer.join()
        client.set("k", "v")
        assert changes.get(30).value == "v"


def test_call_takes_no_longer_than_its_time_out(database: Database) -> None:
    with SyncClient(database.url, database=database.name, token=database.token, timeout_s=1.5) as client:
        database.server.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(CommandTimeout):
                client.get("k")
            assert time.monotonic() - began < 15
        finally:
            database.server.send_signal(signal.SIGCONT)
        assert client.get("k") is None
