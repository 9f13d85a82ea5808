"""Guessing over sockets, with the settings as they come: how far a guesser gets, and what others notice of it.

The arithmetic over minutes and hours is in test_throttle.py, on a clock of its own.
"""

from __future__ import annotations

import contextlib
import json
import math
import socket
import statistics
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tools.clients.exact_clients import HttpClient, TcpClient, WebSocketClient, http_post
from tools.clients.sessions import OK

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.clients.server import Server

pytestmark = pytest.mark.system

DEFAULTS = {"NUN_LOGIN_BURST": "", "NUN_LOGIN_DELAY_MAX": ""}
GUESSER, SOMEBODY = "127.0.0.66", "127.0.0.7"
GUESS_SECONDS = 8.0
PROMPT_SECONDS = 3.5  # generous: a check takes microseconds here; who is made to wait, waits for four and more
WRONG = (["invalid auth\n", OK], ["error Invalid token \n"], ["error Not a valid database name \n"])


def tries_in(seconds: float) -> int:
    """How many tries a guesser gets: ten, then one after 1, 3, 7, 15, … s."""
    return 10 + math.floor(math.log2(seconds + 1))


class Guesser:
    """Tries wrong secrets on every transport, from one address, over many connections, until it is told to stop."""

    def __init__(self, server: Server) -> None:
        self.answers = 0
        self._server = server
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._clients: list[WebSocketClient | TcpClient | HttpClient] = []
        kinds: list[Callable[[int], None]] = [self._guess_by_websocket, self._guess_by_tcp, self._guess_by_http]
        self._threads = [threading.Thread(target=kind, args=(number,)) for kind in kinds for number in range(5)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End it."""
        self._is_over.set()
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for it
        for thread in self._threads:
            thread.join(20)
        for client in self._clients:
            client.socket.close()

    def _count(self) -> None:
        with self._lock:
            self.answers += 1

    def _ask(self, client: WebSocketClient | TcpClient, number: int) -> None:
        self._clients.append(client)
        guess = 0
        while not self._is_over.is_set():
            guess += 1
            text = f"auth user-name guess-{number}-{guess}" if guess % 2 else f"use-db d guess-{number}-{guess}"
            try:
                assert client.ask(text, timeout_seconds=3600) in WRONG
            except (OSError, AssertionError, ValueError):
                return
            self._count()

    def _guess_by_websocket(self, number: int) -> None:
        self._ask(WebSocketClient(self._server.websocket, source=GUESSER), number)

    def _guess_by_tcp(self, number: int) -> None:
        self._ask(TcpClient(self._server.tcp, source=GUESSER), number)

    def _guess_by_http(self, number: int) -> None:
        """Many tries in one body."""
        client = HttpClient(self._server.http, source=GUESSER)
        self._clients.append(client)
        body = ";".join(f"auth user-name guess-{number}-{guess}" for guess in range(4))
        try:
            while not self._is_over.is_set():
                for _ in client.request(body).text.split(";"):
                    self._count()
        except (OSError, AssertionError, ValueError):
            return


@pytest.fixture(name="guarded")
def _guarded(new_server: Callable[..., Server]) -> Server:
    server = new_server(**DEFAULTS)
    server.start()
    http_post(server.http, f"auth {server.credentials}; create-db d pwd; use-db d pwd; create-user ana ana-pwd")
    server.restart()  # nothing is remembered but what is on the disk
    return server


def test_a_guesser_on_every_transport_gets_few_tries_and_others_notice_nothing(guarded: Server) -> None:
    started = time.monotonic()
    guesser = Guesser(guarded)
    try:
        time.sleep(GUESS_SECONDS / 2)
        began = time.monotonic()
        with WebSocketClient(guarded.websocket, source=SOMEBODY) as client:
            assert client.ask("use-db d ana typo") == ["error Invalid token \n"]
            assert client.ask("use-db d ana ana-pwd") == [OK]
            assert client.ask("use-db d pwd") == [OK]
            assert client.ask(f"auth {guarded.credentials}") == ["valid auth\n", OK]
        assert time.monotonic() - began < PROMPT_SECONDS
        time.sleep(GUESS_SECONDS / 2)
        answers = guesser.answers  # those of an HTTP request come together
        lines = (guarded.data_dir / "audit.jsonl").read_text(encoding="ascii").splitlines()
        tries = sum(line["address"] == GUESSER and line["outcome"] == "failed" for line in map(json.loads, lines))
        most = tries_in(time.monotonic() - started)
        assert answers <= most
        assert 10 <= tries - 1 <= most, "with the line that says that it has to wait"
    finally:
        guesser.stop()
    assert f"wrong passwords or tokens from {GUESSER}" in guarded.log_text()


def test_a_secret_that_was_used_there_does_not_wait_for_one_guesser(guarded: Server) -> None:
    with TcpClient(guarded.tcp, source=GUESSER) as user, TcpClient(guarded.tcp, source=GUESSER) as guesser:
        assert user.ask("use-db d pwd") == [OK]
        for guess in range(12):
            guesser.ask(f"use-db d guess-{guess}")
        guesser.send("use-db d and-on")
        began = time.monotonic()
        assert user.ask("use-db d pwd") == [OK]
        assert time.monotonic() - began < PROMPT_SECONDS


def test_silence_tells_a_guesser_nothing(guarded: Server) -> None:
    """A right secret that others use is answered no sooner than a wrong one: else one hangs up and tries the next."""
    with TcpClient(guarded.tcp, source=SOMEBODY) as user:
        assert user.ask("use-db d pwd") == [OK]
    with TcpClient(guarded.tcp, source=GUESSER) as first:
        for guess in range(12):
            first.ask(f"use-db d guess-{guess}")
        with contextlib.ExitStack() as stack:
            for guess in range(30):
                one = stack.enter_context(TcpClient(guarded.tcp, source=GUESSER))
                one.send("use-db d pwd" if guess == 20 else f"use-db d other-{guess}")
            right = stack.enter_context(TcpClient(guarded.tcp, source=GUESSER))
            right.send("use-db d pwd")
            assert right.quiet(1.0) == []
    with TcpClient(guarded.tcp, source=SOMEBODY) as user:
        assert user.ask("use-db d pwd") == [OK]


def test_a_stop_does_not_wait_for_guessers(guarded: Server) -> None:
    guesser = Guesser(guarded)
    try:
        guarded.wait_output("its next tries must wait")
        time.sleep(0.5)
        began = time.monotonic()
        assert guarded.stop() == 0
        assert time.monotonic() - began < 20, "they wait for a minute"
        assert "Traceback" not in guarded.log_text()
    finally:
        guesser.stop()


def test_guessers_that_hang_up_leave_nothing(guarded: Server) -> None:
    """Their places are free again after some seconds, and with them the connections."""
    with TcpClient(guarded.tcp, source=GUESSER) as client:
        for guess in range(12):
            client.ask(f"use-db d guess-{guess}")
        impatient = [TcpClient(guarded.tcp, source=GUESSER) for _ in range(30)]
        for number, one in enumerate(impatient):
            one.send(f"use-db d other-{number}")
            one.socket.close()
        began = time.monotonic()
        assert client.ask("use-db d pwd", timeout_seconds=100) == [OK]
        assert time.monotonic() - began < 60, "thirty tries before it would take half an hour"


# --- what can be told apart by the time of the answer ------------------------------------------------------------

ROUNDS = 15
TIMES = 4.0
"""The shortest of many answers is hardly touched by the machine's load. A check left out takes a tenth or less."""


def test_what_exists_cannot_be_told_by_time(new_server: Callable[..., Server]) -> None:
    """The questions take turns, so that the machine's load meets all alike."""
    hashing = {"NUN_ARGON2_MEMORY_KIB": "4096", "NUN_ARGON2_PASSES": "2"}  # some milliseconds
    with new_server(**hashing) as server:
        http_post(server.http, f"auth {server.credentials}; create-db d pwd; use-db d pwd; create-user ana ana-pwd")
        server.restart()
        questions = ("use-db d {}", "use-db d ana {}", "use-db d eve {}", "use-db x {}", "use-db x ana {}",
                     "auth user-name {}", "auth eve {}", "use-db $admin {}")  # fmt: skip
        seconds: dict[str, list[float]] = {question: [] for question in questions}
        with TcpClient(server.tcp) as client:
            for number in range(ROUNDS):
                for question in questions:
                    began = time.perf_counter()
                    assert client.ask(question.format(f"guess-{number}")) in WRONG
                    seconds[question].append(time.perf_counter() - began)
    shortest = {question: min(times) for question, times in seconds.items()}
    usual = statistics.median(shortest.values())
    assert {question: took for question, took in shortest.items() if not usual / TIMES < took < usual * TIMES} == {}
