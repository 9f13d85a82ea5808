"""The log's two formats: what comes in a line, and that nothing a client sends makes a line of its own."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from pynun.server.process import logs
from tools.clients.exact_clients import TcpClient, WebSocketClient, http_post
from tools.clients.server import ANY_ADDRESSES, Server, nun_db

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NASTY = 'a\n[2026-01-01T00:00:00Z ERROR nun_db] forged\r\x1b[2J\u2028{"level": "ERROR"}\x85\ud800end'


@pytest.fixture(autouse=True)
def logger_as_before() -> Iterator[None]:
    """Leave the process's log as it was."""
    logger = logging.getLogger("nun_db")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def test_every_line_of_a_json_run_is_an_object(new_server: Callable[..., Server]) -> None:
    server = new_server(NUN_LOG_FORMAT="json", NUN_LOG_LEVEL="trace", NUN_S3_BUCKET="x", **{"NUN_\nODD": "1"})
    with server:
        with TcpClient(server.tcp) as tcp, WebSocketClient(server.websocket) as websocket:
            tcp.ask(f"auth {server.credentials}")
            websocket.ask("use-db nothing here")
            tcp.ask("\x1b[2J {}")
        http_post(server.http, "unknown \n command")
        server.stop()
    objects = [json.loads(line) for line in server.output]
    assert server.errors == []
    assert all({"time", "level", "logger", "message"} <= one.keys() for one in objects)
    assert all(one["time"].endswith("Z") and one["logger"] in ("nun_db", "nun_db.audit") for one in objects)
    assert {one["level"] for one in objects} <= {"INFO", "WARN", "DEBUG"}
    listening = {one["transport"]: one["address"] for one in objects if "transport" in one}
    assert listening == {"websocket": str(server.websocket), "http": str(server.http), "tcp": str(server.tcp)}
    assert any(one["logger"] == "nun_db.audit" for one in objects)
    objects = [one for one in objects if one["logger"] == "nun_db"]
    assert objects[-1]["message"] == "stopped: all acknowledged changes are on disk"
    assert any("NUN_\nODD" in one["message"] for one in objects)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_text_with_line_ends_makes_no_line_of_its_own(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    logger = logs.configure("info", log_format)
    logger.warning("from %s", NASTY)
    logs.announce(f"data: {NASTY}")
    try:
        raise ValueError(NASTY)
    except ValueError:
        logger.exception("it failed")
    output = capsys.readouterr().out
    lines = output.split("\n")
    assert lines.pop() == ""
    assert not any(character in output for character in "\r\x1b\x85\u2028")
    if log_format == "json":
        warning, announced, failure = map(json.loads, lines)
        assert warning["message"] == f"from {NASTY}"
        assert announced["message"] == f"data: {NASTY}"
        assert (failure["level"], failure["message"]) == ("ERROR", "it failed")
        assert failure["exception"].startswith("Traceback")
        assert NASTY in failure["exception"]
    else:
        assert [line for line in lines if not line.startswith("    ")] == [lines[0], lines[1], lines[2]]
        assert "\\x0a[2026-01-01T00:00:00Z ERROR nun_db] forged\\x0d\\x1b[2J\\u2028" in lines[0]
        assert lines[2].endswith("ERROR nun_db] it failed")


def test_a_fault_of_a_connection_is_one_object_with_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logs.configure("error", "json")
    try:
        raise ExceptionGroup("many", [ValueError("one\ntwo"), KeyError("three")])
    except ExceptionGroup:
        logger.exception("a connection was closed")
    (line,) = capsys.readouterr().out.splitlines()
    assert "ValueError: one\n" in json.loads(line)["exception"]


def test_at_the_default_level_commands_leave_no_line(new_server: Callable[..., Server]) -> None:
    with new_server() as server:
        lines = len(server.output)
        with TcpClient(server.tcp) as client, WebSocketClient(server.websocket) as other:
            client.ask(f"auth {server.credentials}")
            client.ask("create-db quiet quiet-pwd")
            client.ask("use-db quiet quiet-pwd")
            for command in ("set a 1", "get a", "watch a", "increment a", "remove a", "keys", "nothing known"):
                client.ask(command)
            other.ask("auth nobody wrong")
        assert http_post(server.http, "get a").startswith("error no-db")
        # The audit trail has lines of its own: logins, and what an administrator does.
        assert [line for line in server.output[lines:] if " INFO nun_db.audit] " not in line] == []


def test_another_format_is_refused() -> None:
    done = nun_db("-u", "u", "-p", "p", "start", environment={"NUN_LOG_FORMAT": "xml", **ANY_ADDRESSES})
    assert done.returncode == 1
    assert "NUN_LOG_FORMAT: 'xml' is not accepted; accepted: text or json" in done.stderr
