"""SIGTERM and SIGINT: what arrived is finished, clients are told, and the process is gone within five seconds."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pynun.storage.store import LmdbStore
from tools.clients.exact_clients import HttpClient, TcpClient, WebSocketClient, http_post, text_frames
from tools.clients.load import PipeliningWriter, check_writer, read_states, start_writers
from tools.clients.sessions import OK, create_database, reading, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.clients.server import Server

DATABASE = "stopping"
GOING_AWAY = 1001
PROMISED_SECONDS = 5.0
BUSY_SECONDS = 5.0
"""More than is promised, for a machine that is busy: a stop that waits for somebody takes far longer."""
# With nothing to finish there is little to wait for; generous for a loaded machine.
IDLE_SECONDS_MAX = 5.0


def _stop(server: Server, number: signal.Signals = signal.SIGTERM) -> float:
    """Send a signal, wait for the end, check that it is a clean one; return how long it took."""
    began = time.monotonic()
    server.send_signal(number)
    code = server.wait(60.0)
    took = time.monotonic() - began
    assert code == 0, server.log_text()
    assert took < PROMISED_SECONDS + BUSY_SECONDS
    assert "Traceback" not in server.log_text(), server.log_text()
    return took


def test_an_idle_server_stops_at_once_also_right_after_its_start_and_lets_nobody_in(server: Server) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        if not server.is_running:
            server.start()
        assert _stop(server, number) < IDLE_SECONDS_MAX
        for address in (server.websocket, server.http, server.tcp):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, 5)


def test_idle_clients_are_told(server: Server) -> None:
    create_database(server, DATABASE)
    with (
        websocket_session(server, DATABASE) as websocket,
        WebSocketClient(server.websocket) as without_database,
        tcp_session(server, DATABASE) as tcp,
        HttpClient(server.http) as http,
    ):
        assert http.request("get k").status == 200
        websocket.ask("watch k")
        with reading(websocket, without_database, tcp):
            _stop(server)
        assert websocket.close_code == GOING_AWAY
        assert without_database.close_code == GOING_AWAY
        assert tcp.is_ended
        assert http.is_ended()


def test_it_leaves_nothing_in_the_log_for_the_next_start(server: Server) -> None:
    create_database(server, DATABASE)
    _stop(server)
    with contextlib.closing(LmdbStore(server.data_dir)) as store:
        assert store.logged_entries == 0


def test_clients_that_are_not_there_do_not_delay_it_for_ever(server: Server) -> None:
    """Half a handshake, half a request, half a line, and one that reads nothing of what it asked for."""
    create_database(server, DATABASE, then=f"set wide {'z' * 100_000}")
    with contextlib.ExitStack() as stack:
        for address, data in (
            (server.websocket, b""),
            (server.websocket, b"GET / HTTP/1.1\r\nUpgrade: webso"),
            (server.websocket, b"nonsense\r\n\r\n"),
            (server.http, b""),
            (server.http, b"POST / HTTP/1.1\r\nContent-Le"),
            (server.http, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nuse-db"),
            (server.tcp, b""),
            (server.tcp, b"use-db"),
        ):
            stack.enter_context(socket.create_connection(address, 10)).sendall(data)
        for address, kind, data in (
            (server.websocket, WebSocketClient, text_frames(["get wide"] * 100)),
            (server.tcp, TcpClient, b"get wide\n" * 100),
        ):
            client = stack.enter_context(kind(address, receive_buffer_bytes=4096))
            client.ask(f"use-db {DATABASE} pwd")
            client.send_bytes(data)
        assert http_post(server.http, f"use-db {DATABASE} pwd; set k v; get k") == "empty;empty;value v\n"
        took = _stop(server)
    print(f"stopped in {took:.2f} s beside clients that do nothing")


def test_a_client_that_was_refused_does_not_stop_it_from_stopping(server: Server) -> None:
    with socket.create_connection(server.websocket, 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 4")
        print(f"stopped in {_stop(server):.2f} s beside a client that was refused and stays")


def test_everything_sent_before_the_signal_is_done(server: Server) -> None:
    """Sent and not yet answered when the signal comes; the kernel has it, and so the server has to."""
    create_database(server, DATABASE)
    with websocket_session(server, DATABASE) as websocket, tcp_session(server, DATABASE) as tcp:
        websocket.send_bytes(text_frames(f"set ws-{number} {number}" for number in range(500)))
        tcp.send_bytes(b"".join(b"set tcp-%d %d\n" % (number, number) for number in range(500)))
        stopping = threading.Thread(target=_stop, args=(server,))
        stopping.start()
        assert websocket.take(500) == [OK] * 500
        assert tcp.take(500) == [OK] * 500
        with reading(websocket, tcp):
            stopping.join()
        assert websocket.close_code == GOING_AWAY
        assert tcp.is_ended
    server.start()
    states = read_states(server, DATABASE, [f"{kind}-{number}" for kind in ("ws", "tcp") for number in range(500)])
    assert len(states) == 1000


def test_under_load_everything_acknowledged_is_there(server: Server) -> None:
    create_database(server, DATABASE)
    for seed, number in enumerate((signal.SIGTERM, signal.SIGINT, signal.SIGTERM)):
        writers = start_writers(server, DATABASE, seed)
        with websocket_session(server, DATABASE) as watcher:
            watcher.ask(f"watch {writers[0].source.counter}")
            with reading(watcher):
                took = _stop(server, number)
            assert watcher.close_code == GOING_AWAY
        for writer in writers:
            writer.finish()
            if isinstance(writer, PipeliningWriter) and writer.transport == "websocket":
                assert writer.close_code == GOING_AWAY
        acknowledged = [writer.acknowledged for writer in writers]
        server.start()
        states = read_states(server, DATABASE, [key for writer in writers for key in writer.keys])
        for writer in writers:
            check_writer(writer, states)
        print(f"stopped in {took:.2f} s under load; acknowledged {acknowledged}")


def test_relaxed_durability_loses_nothing_in_a_clean_stop(new_server: Callable[..., Server]) -> None:
    with new_server(NUN_DURABILITY="relaxed") as server:
        create_database(server, DATABASE)
        writers = start_writers(server, DATABASE, 4)
        _stop(server)
        for writer in writers:
            writer.finish()
        server.start()
        states = read_states(server, DATABASE, [key for writer in writers for key in writer.keys])
        for writer in writers:
            check_writer(writer, states)


def test_a_second_signal_changes_nothing(server: Server) -> None:
    create_database(server, DATABASE)
    with websocket_session(server, DATABASE, "pwd") as client:
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        with contextlib.suppress(ProcessLookupError):
            server.send_signal(signal.SIGINT)
        assert client.wait_close() == GOING_AWAY
        client.close()
    assert server.wait(60.0) == 0
    assert time.monotonic() - began < PROMISED_SECONDS + BUSY_SECONDS
    assert "Traceback" not in server.log_text(), server.log_text()
