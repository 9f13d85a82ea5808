"""A fake etcd behind a real socket, for quick tests of what connects to it. No watches."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from pynun.cluster.etcd.members import Member
from tests.cluster.fake_etcd import FakeEtcd

if TYPE_CHECKING:
    from collections.abc import Iterator


class FakeMember(ThreadingHTTPServer):
    """A server on a free port of 127.0.0.1."""

    daemon_threads = True

    def __init__(self, etcd: FakeEtcd) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.etcd = etcd
        self.lock = threading.Lock()
        self.member = Member("127.0.0.1", self.server_port, is_tls=False)
        self.asked: list[str] = []
        """The paths of all requests so far."""
        self.clock_ahead_seconds = 0.0
        self.delay_seconds = 0.0
        self.closes_after = 0
        """Not 0: closes each connection after so many requests, without saying so."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeMember
    requests = 0

    def do_POST(self) -> None:
        """Answer as the gateway does."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.server.delay_seconds)
        with self.server.lock:
            self.server.asked.append(self.path)
            status, answer = self.server.etcd.answer(self.path, body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        self.requests += 1
        if self.requests == self.server.closes_after:
            self.close_connection = True

    def do_GET(self) -> None:
        """Tell the version, as a page."""
        answer = json.dumps({"etcdserver": self.server.etcd.version}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The time in the head of each answer."""
        now = time.time() if timestamp is None else timestamp
        return super().date_time_string(now + self.server.clock_ahead_seconds)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def fake_member(etcd: FakeEtcd | None = None) -> Iterator[FakeMember]:
    """A running one."""
    with FakeMember(etcd or FakeEtcd()) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
