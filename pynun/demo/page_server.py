"""The HTTP server of the demo's pages: what a site finds for a path, nothing else of this machine.

Invariants: only GET and HEAD are answered; only requests that name this machine in `Host` are, so that a foreign page
can't read the guest's token by pointing its own name here (DNS rebinding); a slow or silent client holds one of a
bounded number of threads for a bounded time.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from pynun.demo.addresses import local_names
from pynun.errors import StartError
from pynun.setting_values import Address

if TYPE_CHECKING:
    from collections.abc import Iterable

_CONNECTIONS_MAX: Final = 64
_SILENCE_SECONDS_MAX: Final = 10.0


class File(NamedTuple):
    """What a site has for a path. A browser keeps it under its tag, and asks each time; without a tag, it must not."""

    content_type: str
    content: bytes
    tag: str


class Site(Protocol):
    """The files to serve."""

    def find(self, path: str, host: str) -> File | None:
        """The file for a URL's path; `host` is what the browser calls this machine."""

    def policies(self, host: str) -> Iterable[tuple[str, str]]:
        """Header lines of every response with a file."""


class PageServer:
    """Listens from the start, answers once `serve` was called, until `close`.

    With `is_port_optional`, a port that is taken is replaced by a free one. Raises StartError if it can't listen.
    """

    def __init__(self, address: Address, *, is_port_optional: bool) -> None:
        self._server = _listen(address, is_port_optional)
        host, port = self._server.server_address[:2]
        self.address = Address(str(host), int(port))
        self._thread = threading.Thread(target=self._server.serve_forever, name="demo-page", daemon=True)

    def serve(self, site: Site) -> None:
        """Answer requests from now on."""
        self._server.site = site
        self._thread.start()

    def close(self) -> None:
        """Stop listening and answering."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    site: Site

    def __init__(self, address: Address, family: socket.AddressFamily) -> None:
        self.address_family = family
        self.names = local_names()
        self._free = threading.BoundedSemaphore(_CONNECTIONS_MAX)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name, which the base class does and which may hang."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (as in the base class)
        """Start a thread for a connection, or close it when there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (as in the base class)
        """Answer the requests of one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that disconnects during an answer is not worth a message."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "pynun-demo"
    sys_version = ""
    timeout = _SILENCE_SECONDS_MAX

    def do_GET(self) -> None:
        """Answer with a file."""
        if not self._is_for_this_machine():
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        file = self.server.site.find(self.path.partition("?")[0], self._host())
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        elif file.tag and file.tag in self.headers.get("If-None-Match", ""):
            self.send_response(HTTPStatus.NOT_MODIFIED)
            self._send_policies(file)
            self.end_headers()
        else:
            self._answer(file)

    do_HEAD = do_GET

    def _refuse(self) -> None:
        self.close_connection = True  # what follows may be a body that nobody reads
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with the status in plain words, without anything from the request."""
        self.close_connection = True
        text = f"{HTTPStatus(code).phrase}\n".encode()
        self.send_response(code, HTTPStatus(code).phrase)
        if code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing: the terminal is for the person who runs the demo."""

    def _answer(self, file: File) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", file.content_type)
        self.send_header("Content-Length", str(len(file.content)))
        self._send_policies(file)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(file.content)

    def _send_policies(self, file: File) -> None:
        if file.tag:
            self.send_header("ETag", file.tag)
        # Show a new version of the package at once, and never cache this run's token.
        self.send_header("Cache-Control", "no-cache" if file.tag else "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        for name, value in self.server.site.policies(self._host()):
            self.send_header(name, value)

    def _host(self) -> str:
        """The host of the request, without port and brackets, in lower case; "" if there is none."""
        host = self.headers.get("Host", "").strip().lower()
        if host.startswith("["):
            return host[1:].partition("]")[0]
        return host.partition(":")[0]

    def _is_for_this_machine(self) -> bool:
        host = self._host()
        if host in self.server.names:
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return "%" not in host  # the zone of an IPv6 address: no browser sends one


def _listen(address: Address, is_port_optional: bool) -> _Server:
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        if is_port_optional:
            with contextlib.suppress(OSError):
                return _Server(address, family)
            address = Address(address.host, 0)
        return _Server(address, family)
    except OSError as error:
        raise StartError(f"can't serve the page on {address}: {error.strerror}; choose another with --port") from None
