"""A start that takes long, for it imports what the original left: what is answered meanwhile (docs/migration.md)."""

from __future__ import annotations

import contextlib
import re
import select
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

import pytest

from pynun.cli.remote.metrics import Metrics
from pynun.storage.store import LmdbStore
from pynun.transfer.nundb_import import existing_databases
from pynun.unix_socket import SOCKET_NAME
from tests.cli.command import run
from tests.support.certificates import Authority
from tests.support.nundb_files import Key, write_folder
from tests.support.watched import request, wait_until
from tools.clients.exact_clients import HttpClient, WebSocketClient, http_post
from tools.clients.server import Address, Server, ServerDiedError, free_ports, new_folder

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

SLOW_HASHES = {"NUN_ARGON2_MEMORY_KIB": "65536", "NUN_ARGON2_PASSES": "2"}
"""About 0.1 s for each user."""
USERS = 20
MANY_USERS = 400
"""For an import that is ended by a signal."""
IMPORTING = re.compile(r"not ready: starting: importing the data of the original Nun-db(: ([0-9]+) %)?\n")


def users_folder(folder: Path, count: int) -> None:
    """Files of the original whose import takes long."""
    users: list[Key] = [(f"$$user_u{number}", 0, f"pwd-{number}") for number in range(count)]
    write_folder(folder, {"hospital": [("$$token", 0, "hospital-pwd"), *users, ("last", 5, "value")]})


class Starting:
    """A server that imports, started in a thread; `metrics` is its address of its own. As a context manager, it is told
    to stop at the end, and waited for.
    """

    def __init__(self, server: Server, users: int, tls: ssl.SSLContext | None = None) -> None:
        self.server = server
        self.metrics = Address("127.0.0.1", *free_ports(1))
        server.environment |= {**SLOW_HASHES, "NUN_METRICS": str(self.metrics)}
        users_folder(server.data_dir, users)
        self._tls = tls
        self._thread = threading.Thread(target=self._start)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            wait_until(lambda: bool(IMPORTING.fullmatch(self.says())))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.server.is_running:
            self.server.send_signal(signal.SIGTERM)
        self.ended()
        self.server.end()

    def _start(self) -> None:
        with contextlib.suppress(ServerDiedError):
            self.server.start()

    def says(self) -> str:
        """What /healthz says; nothing while nobody listens."""
        try:
            return request(self.server.http, "/healthz", tls=self._tls).text
        except OSError:
            return ""

    def ended(self) -> None:
        """Wait until it serves, or has died."""
        self._thread.join()


def test_it_is_said_until_the_data_is_there_and_all_others_wait(new_server: Callable[..., Server]) -> None:
    with Starting(new_server(), USERS) as starting, contextlib.ExitStack() as stack:
        server = starting.server
        silent = [stack.enter_context(socket.create_connection(server.http)) for _ in range(100)]
        waiting = stack.enter_context(socket.create_connection(server.tcp))
        waiting.sendall(b"use-db hospital u3 pwd-3\n")
        shares = []
        answers = set()
        while match := IMPORTING.fullmatch(starting.says()):
            shares.append(int(match[2] or 0))
            with contextlib.suppress(OSError):  # a connection in the moment when serving begins may be refused
                answers.add(request(server.http, "/healthz").status)
                assert select.select([waiting], [], [], 0.02)[0] == [] or not IMPORTING.fullmatch(starting.says())
        starting.ended()
        assert shares == sorted(shares)
        assert len(set(shares)) > 3
        assert answers <= {503, 200}
        wait_until(lambda: starting.says() == "ok\n")
        assert http_post(server.http, "use-db hospital u7 pwd-7") == "empty"
        assert "value-version 5 value" in http_post(server.http, "use-db hospital hospital-pwd; get-safe last")
        waiting.settimeout(60.0)
        received = b""
        while received.count(b"\n") < 2:
            received += waiting.recv(100)
        assert received == b"ok \nok \n"
        for one in silent:
            one.settimeout(60.0)
            with contextlib.suppress(ConnectionError):
                assert one.recv(10) == b""
        assert request(starting.metrics, "/healthz").text == "ok\n"
        metrics = Metrics(request(starting.metrics, "/metrics").text)
        since = metrics.total("nun_db_serving_since_timestamp_seconds")
        # `since` is rounded to whole seconds.
        assert metrics.total("process_start_time_seconds") + 1.0 < since < time.time() + 1


@pytest.fixture(name="starting", scope="module")
def _starting() -> Iterator[Starting]:
    """A server that imports while all other tests run; the last one ends it."""
    with new_folder() as folder, Starting(Server(folder / "dbs"), MANY_USERS) as starting:
        yield starting


def test_no_other_http_request_is_answered_with_anything_else(starting: Starting) -> None:
    """Nothing is run (the last test shows it), and a body need not be read to say so."""
    server = starting.server
    body = f"auth {server.credentials}; create-db early early-pwd".encode()
    for answer in (
        request(server.http, "/", "POST", body),
        request(server.http, "/healthz", "POST", body),
        request(server.http, "/", "POST", body + b"x" * 100_000),
        request(server.http, "/", "POST", b""),
        request(server.http, "/anything"),
    ):
        assert answer.status == 503
        assert IMPORTING.fullmatch(answer.text)
    head = request(server.http, "/healthz", "HEAD")
    assert (head.status, head.text) == (503, "")
    assert request(server.http, "/metrics").status == 404  # it has an address of its own
    for address in (server.http, server.websocket):
        assert request(address, "/livez").text == "ok\n"
        assert request(address, "/readyz").status == 503
        assert IMPORTING.fullmatch(request(address, "/anything").text)
    with pytest.raises(AssertionError, match="503 Service Unavailable"):
        WebSocketClient(server.websocket)  # which would only run into its time limit, if it waited
    with HttpClient(server.http) as client:  # a client may ask again on one connection
        assert client.request("").status == 503


def test_the_address_of_its_own_says_it_too(starting: Starting) -> None:
    assert IMPORTING.fullmatch(request(starting.metrics, "/healthz").text)
    assert request(starting.metrics, "/metrics") == (503, "not ready: starting\n", "text/plain; charset=UTF-8")
    assert request(starting.metrics, "/").status == 404


@pytest.mark.parametrize("is_local", [False, True])
def test_commands_for_people_say_it(starting: Starting, is_local: bool) -> None:
    url = f"unix:{starting.server.data_dir / SOCKET_NAME}" if is_local else f"http://{starting.server.http}"
    status = run("-h", url, "status")
    assert status.code == 1
    assert re.match(
        rf"{url}: NOT READY: starting: importing the data of the original Nun-db: [0-9]+ %\n", status.output
    )
    result = run("-h", url, "-u", "user-name", "-p", "user-pwd", "databases", "list")
    assert result.code == 4
    assert f"{url} is not ready (starting: importing the data of the original Nun-db" in result.errors
    assert result.errors.endswith("wait, and try again; nothing was done\n")


def test_with_tls_it_is_said_by_tls(disk_folder: Path) -> None:
    certificates = Authority(disk_folder)
    server = Server(disk_folder / "dbs", environment=certificates.environment())
    with Starting(server, MANY_USERS, certificates.trusting()):
        assert request(server.http, "/healthz").status == 400  # plain text


def test_a_signal_ends_it_while_somebody_is_connected(starting: Starting) -> None:
    """The last test of the server that imports."""
    server = starting.server
    with socket.create_connection(server.http):
        server.send_signal(signal.SIGTERM)
        starting.ended()
    assert server.exit_code == 0
    assert any("stopped on SIGTERM, before any client was served" in line for line in server.output)
    assert server.errors == []
    with contextlib.closing(LmdbStore(server.data_dir)) as store:
        assert existing_databases(store) == set()


def test_what_stops_the_start_is_one_line_as_before(new_server: Callable[..., Server]) -> None:
    server = new_server()
    users_folder(server.data_dir, 1)
    values = server.data_dir / "hospital-nun.data.values"
    values.write_bytes(values.read_bytes()[:-4])
    with pytest.raises(ServerDiedError, match="exit 1"):
        server.start()
    (line,) = server.errors
    assert "not all data of the original Nun-db" in line
