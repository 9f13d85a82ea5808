"""A peer on a real socket that takes one HTTP request and answers with prepared bytes, right or wrong ones."""

from __future__ import annotations

import re
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

TIMEOUT_SECONDS = 30.0


def http_answer(body: str, status: str = "200 OK") -> bytes:
    """Return the bytes of a whole HTTP response."""
    content = body.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


class Peer:
    """Accepts one connection, reads one request, sends `answer`, and closes; a context manager.

    With `stays_open` it keeps the connection open after the answer, until the test ends or the client leaves.
    `greeting` is sent before anything is read. `request_arrived` is set once the whole request is there.
    """

    def __init__(self, answer: bytes, *, stays_open: bool = False, greeting: bytes = b"") -> None:
        self.head = ""
        self.body = b""
        self.request_arrived = threading.Event()
        self._answer = answer
        self._greeting = greeting
        self._stays_open = stays_open
        self._end = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(TIMEOUT_SECONDS)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end.set()
        # A listener that is shut down wakes the accept of a peer that nobody called.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(TIMEOUT_SECONDS)
        self._listener.close()

    def _serve(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(TIMEOUT_SECONDS)
            try:
                connection.sendall(self._greeting)
                self._read_request(connection)
                self.request_arrived.set()
                connection.sendall(self._answer)
                if self._stays_open:
                    self._end.wait(TIMEOUT_SECONDS)
            except OSError:
                return  # the client left: what it made of that is the test's business

    def _read_request(self, connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            received = connection.recv(65536)
            if not received:
                return
            data += received
        head, _, body = data.partition(b"\r\n\r\n")
        self.head = head.decode()
        length = re.search(r"(?i)^content-length: ([0-9]+)\r?$", self.head, re.MULTILINE)
        assert length is not None, self.head
        while len(body) < int(length[1]) and (received := connection.recv(65536)):
            body += received
        self.body = body


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
