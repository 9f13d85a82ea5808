"""The log's file is synced before an answer leaves, as the system calls of a running server show.

A killed process leaves its writes in the page cache, so kills say nothing about a forgotten sync; this does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.traces import Call, read_calls, why_no_trace
from tools.clients.exact_clients import http_post
from tools.clients.server import Server, new_folder
from tools.clients.sessions import OK, create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASE = "synced"
SYNC_CALLS = ("fsync", "fdatasync")
WRITE_CALLS = ("pwrite64", "pwritev", "write", "writev")
SEND_CALLS = ("send", "sendto", "sendmsg", "write", "writev")
RECEIVE_CALLS = ("recv", "recvfrom", "recvmsg", "read")


class Trace(NamedTuple):
    """What a traced server did: its calls in order, and the log's file as it shows in their text."""

    calls: list[Call]
    log_file: str


@pytest.fixture(scope="module", name="trace")
def _trace() -> Iterator[Trace]:
    """A key changed over each transport on a server under strace."""
    with new_folder() as folder:
        if reason := why_no_trace(folder):
            pytest.skip(reason)
        output = folder / "trace"
        names = ",".join(f"?{name}" for name in (*SYNC_CALLS, *WRITE_CALLS, *SEND_CALLS, *RECEIVE_CALLS, "openat"))
        wrapper = ["strace", "-D", "-f", "-y", "-s", "200", "-o", str(output), "-e", f"trace={names}"]
        with Server(folder / "dbs", wrapper=wrapper) as server:
            create_database(server, DATABASE)
            with websocket_session(server, DATABASE) as websocket, tcp_session(server, DATABASE) as tcp:
                assert tcp.ask("set tcp-key tcp-marker") == [OK]
                assert tcp.ask("watch ws-key") == [OK]
                # A masked frame does not show its text in a trace: what it causes on the other connection does.
                assert websocket.ask("set ws-key ws-marker") == [OK]
                assert tcp.take(2)[0] == "changed ws-key ws-marker\n"
            assert http_post(server.http, f"use-db {DATABASE} pwd; set http-key http-marker") == "empty;empty"
            assert server.stop() == 0
        yield Trace(
            read_calls(output.read_text(encoding="utf-8", errors="replace")), f"<{folder / 'dbs' / 'log-01.wal'}>"
        )


def _first(calls: list[Call], names: tuple[str, ...], text: str, after: int) -> Call:
    for call in calls:
        if call.name in names and text in call.text and call.began >= after:
            return call
    raise AssertionError(f"no {names} with {text!r} after line {after} of the trace")


@pytest.mark.parametrize(
    ("request_text", "answer"),
    [
        pytest.param("set tcp-key tcp-marker", "ok \\n", id="tcp-answer"),
        pytest.param("set http-key http-marker", "empty;empty", id="http-answer"),
        pytest.param("watch ws-key", "changed ws-key ws-marker", id="event-of-a-websocket-change"),
    ],
)
def test_the_log_is_synced_before_an_answer_is_sent(trace: Trace, request_text: str, answer: str) -> None:
    received = _first(trace.calls, RECEIVE_CALLS, request_text, 0).ended
    sent = _first(trace.calls, SEND_CALLS, answer, received).began
    between = [
        call.name for call in trace.calls if received < call.began and call.ended < sent and trace.log_file in call.text
    ]
    # One write and one sync: nothing else takes so long.
    assert between == ["pwrite64", "fdatasync"], f"{answer!r} was sent after {between}"
