"""A million keys: starting takes no longer, and memory is no larger, for nothing of the data is loaded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import lmdb
import pytest

from pynun.storage import schema
from tools.clients.exact_clients import http_post
from tools.clients.server import Server, new_folder
from tools.clients.sessions import OK, create_database, websocket_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system

KEYS = 1_000_000
START_SECONDS_MORE_MAX = 0.3
"""Reading a million keys would take more than this on any machine."""
MEMORY_KIB_MAX = 60 * 1024
DATABASE = "million"


def _key(number: int) -> str:
    return f"patient-{number:07}-camera"


def _value(number: int) -> str:
    return f'{{"_id":{number},"value":{{"viewUp":[0,{number},1]}}}}'


@pytest.fixture(scope="module", name="million")
def _million() -> Iterator[Server]:
    """A server that has been started on a folder with a million keys, written there straight."""
    with new_folder() as folder, Server(folder / "dbs", is_anew=True) as server:
        create_database(server, DATABASE, then=f"set {_key(0)} {_value(0)}")
        server.stop()
        with lmdb.open(str(server.data_dir), max_dbs=4, map_size=1 << 33, sync=False) as environment:
            data = environment.open_db(schema.DATA_DATABASE, create=False)
            with environment.begin(write=True, db=data) as transaction, transaction.cursor() as cursor:
                first = next(key for key in cursor.iternext(values=False) if key[4:] == _key(0).encode())
                version = transaction.get(first, b"")[: -len(_value(0))]
                pairs = ((first[:4] + _key(n).encode(), version + _value(n).encode()) for n in range(KEYS))
                consumed, added = cursor.putmulti(pairs)
                assert (consumed, added) == (KEYS, KEYS), (consumed, added)
            environment.sync(True)
        server.start()
        yield server


@pytest.mark.timeout(300)
def test_it_starts_as_fast_as_on_an_empty_folder(million: Server) -> None:
    times, times_empty = [], []
    with new_folder() as folder, Server(folder / "dbs", is_anew=True) as empty:
        for _ in range(3):
            empty.restart()
            times_empty.append(empty.start_seconds)
            million.restart()
            times.append(million.start_seconds)
    print(f"started on {KEYS} keys in {_seconds(times)} s, on none in {_seconds(times_empty)} s (interpreter included)")
    assert min(times) < 1.5 * min(times_empty) + START_SECONDS_MORE_MAX


def _seconds(times: list[float]) -> str:
    return ", ".join(f"{seconds:.2f}" for seconds in times)


@pytest.mark.timeout(300)
def test_idle_memory_does_not_grow_with_the_data(million: Server) -> None:
    million.restart()
    before = million.resident_private_kib()
    with websocket_session(million, DATABASE) as client:
        assert client.ask(f"get-safe {_key(KEYS - 1)}") == [f"value-version 0 {_value(KEYS - 1)}\n", OK]
        assert client.ask("keys *9999-nothing") == ["keys \n", OK]
        assert client.ask(f"keys {_key(KEYS - 1)}*") == [f"keys ,{_key(KEYS - 1)}\n", OK]
    after = million.resident_private_kib()
    print(f"private memory with {KEYS} keys: {before} KiB after the start, {after} KiB after use")
    assert before < MEMORY_KIB_MAX


@pytest.mark.timeout(300)
def test_one_key_is_found_among_a_million_at_once(million: Server) -> None:
    with websocket_session(million, DATABASE) as client:
        began = time.monotonic()
        client.send(";".join(f"get {_key(number)}" for number in range(0, KEYS, KEYS // 1000)))
        assert client.take(2000)[::2] == [f"value {_value(number)}\n" for number in range(0, KEYS, KEYS // 1000)]
        took = time.monotonic() - began
    print(f"1000 reads across {KEYS} keys in {took:.3f} s")
    assert took < 10, "a look at all keys for each takes far longer"


@pytest.mark.timeout(300)
def test_listing_many_keys_blocks_nobody_for_long(million: Server) -> None:
    """A substring has to look at all keys; meanwhile others are served."""
    found = [number for number in range(KEYS) if "99-cam" in _key(number)]
    with websocket_session(million, DATABASE) as lister, websocket_session(million, DATABASE) as other:
        began_listing = time.monotonic()
        lister.send("keys 99-cam")
        slowest = 0.0
        while not lister.messages:
            began = time.monotonic()
            assert other.ask(f"get {_key(5)}") == [f"value {_value(5)}\n", OK]
            slowest = max(slowest, time.monotonic() - began)
            lister.pump_until(lambda: bool(lister.messages), timeout_seconds=0.001)
        took = time.monotonic() - began_listing
        assert lister.take(2) == [f"keys ,{','.join(_key(number) for number in found)}\n", OK]
    print(
        f"found {len(found)} of {KEYS} keys in {took:.2f} s; the slowest answer to another took {slowest * 1000:.0f} ms"
    )
    assert slowest < max(1, took / 3), "who is kept waiting by it waits for about as long as it takes"


def test_idle_memory_without_data(disk_folder: Path) -> None:
    with Server(disk_folder / "dbs", is_anew=True) as server:
        create_database(server, "small", then="set k v")
        assert http_post(server.http, "use-db small pwd; get k") == "empty;value v\n"
        memory = server.resident_private_kib()
    print(f"private memory of an idle server: {memory} KiB")
    assert memory < MEMORY_KIB_MAX
