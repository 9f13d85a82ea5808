"""One HTTP request to a server; every failure becomes one line.

Only the standard library, so that `nun-db exec` starts fast. One deadline covers the whole exchange, including name
resolution and servers that send single bytes.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import signal
import socket
import ssl
import urllib.parse
from typing import TYPE_CHECKING, NamedTuple

from pynun import unix_socket
from pynun.cli.certificate_authority import NO_AUTHORITY, Authority
from pynun.cli.errors import NoConnectionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

HTTP_PORT_DEFAULT = 3013
"""The port for a host without one (docs/protocol.md section 1); a full URL has its scheme's default."""
REPLY_BYTES_MAX = 256 * 1024 * 1024
"""The largest reply: far above the server's message limit, far below this machine's memory."""


class Target(NamedTuple):
    """Where to send the request; `url` is for messages."""

    url: str
    is_encrypted: bool
    host: str
    port: int
    path: str
    ca: str | None
    """The CA file; None: the system's."""
    socket: Path | None = None
    """The server's Unix socket, instead of host and port."""


class Login(NamedTuple):
    """The administrator's login."""

    user: str
    password: str


class Response(NamedTuple):
    """What came back."""

    status: int
    reason: str
    text: str
    node: str = ""
    """What a node of a cluster says of itself on its pages of health, as JSON."""


class _DeadlineError(Exception):
    """The deadline passed."""


def parse_target(text: str, ca: Authority = NO_AUTHORITY) -> Target:
    """The target in a URL (`http://HOST:PORT`, https, `unix:SOCKET`), or in HOST:PORT or HOST. Raises UsageError."""
    if (file := unix_socket.path_of(text)) is not None:
        ca.file_for(False, "https://")  # a CA without effect is an error
        return Target(text, False, "localhost", HTTP_PORT_DEFAULT, "/", None, file)
    url, default_port = (text, None) if "://" in text else (f"http://{text}", HTTP_PORT_DEFAULT)
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UsageError(f"{text!r} is not a URL; give one such as http://127.0.0.1:3013") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError("the URL must not hold a user or password; give them with -u and -p, or NUN_USER and NUN_PWD")
    if parts.scheme in ("ws", "wss"):
        raise UsageError(f"{text!r} is a WebSocket address; this command needs HTTP, such as http://127.0.0.1:3013")
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise UsageError(f"{text!r} is not a URL; give one such as http://127.0.0.1:3013")
    is_encrypted = parts.scheme == "https"
    path = urllib.parse.quote(parts.path or "/", safe="/%") + (f"?{parts.query}" if parts.query else "")
    if port is None:
        port = default_port or (http.client.HTTPS_PORT if is_encrypted else http.client.HTTP_PORT)
    return Target(url, is_encrypted, host, port, path, ca.file_for(is_encrypted, "https://"))


def post(target: Target, body: str, timeout_seconds: int) -> Response:
    """Post the text and wait for the whole reply. Raises NoConnectionError when there is none."""
    with _failures_told(target, timeout_seconds, "; the commands may or may not have run"):
        return _exchange(target, "POST", target.path, body.encode(), timeout_seconds)


def get(target: Target, page: str, timeout_seconds: int, login: Login | None = None) -> Response:
    """Get one of the server's own pages (`/healthz`). Raises NoConnectionError when there is no answer."""
    path = target.path.partition("?")[0].rstrip("/") + page
    with _failures_told(target, timeout_seconds):
        return _exchange(target, "GET", path, None, timeout_seconds, login)


def _exchange(
    target: Target, method: str, path: str, body: bytes | None, timeout_seconds: int, login: Login | None = None
) -> Response:
    with _deadline(timeout_seconds):
        connection = _connection(target)
        try:
            connection.connect()
            headers = {"Connection": "close"}
            if body is not None:
                headers["Content-Type"] = "text/plain; charset=UTF-8"
            if login is not None:
                encoded = base64.b64encode(":".join(login).encode()).decode()
                headers["Authorization"] = f"Basic {encoded}"  # RFC 7617
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read(REPLY_BYTES_MAX + 1)
            if len(content) > REPLY_BYTES_MAX:
                raise NoConnectionError(f"the reply of {target.url} is larger than {REPLY_BYTES_MAX} bytes")
            if response.length:  # what the header announced and did not come
                raise http.client.IncompleteRead(b"", response.length)
        finally:
            connection.close()
    node = response.getheader("Nun-Db-Node", "")
    return Response(response.status, response.reason, content.decode(errors="replace"), node)


def _connection(target: Target) -> http.client.HTTPConnection:
    if target.is_encrypted:
        from pynun.certificate_authority import context_trusting  # seldom needed

        try:
            context = context_trusting(target.ca)
        except ValueError as error:
            raise UsageError(str(error)) from None
        return http.client.HTTPSConnection(target.host, target.port, context=context)
    if target.socket is not None:
        return _UnixConnection(target.socket)
    return http.client.HTTPConnection(target.host, target.port)


class _UnixConnection(http.client.HTTPConnection):
    """A connection to the server's Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = unix_socket.connect(self._path)


@contextlib.contextmanager
def _deadline(timeout_seconds: int) -> Iterator[None]:
    """Interrupt any waiting call when the time is over. One at a time, in the main thread of a command's process."""

    def on_alarm(_signal: int, _frame: FrameType | None) -> None:
        raise _DeadlineError

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, timeout_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _failures_told(target: Target, timeout_seconds: int, unknown: str = "") -> Iterator[None]:
    """Turn every failure into one line that says what to do, with `unknown` if the outcome is."""
    url = target.url
    try:
        yield
    except _DeadlineError:
        raise NoConnectionError(f"no answer from {url} within {timeout_seconds} s{unknown}") from None
    except ConnectionRefusedError:
        raise NoConnectionError(
            f"nothing listens at {url} (connection refused): start the server, or give another URL with -h"
        ) from None
    except socket.gaierror as error:
        raise NoConnectionError(
            f"the host {target.host!r} of {url} is not known: {error.strerror}; check the name, or give an IP address"
        ) from None
    except ssl.SSLCertVerificationError as error:
        from pynun.certificate_authority import explain_distrust

        raise NoConnectionError(f"the certificate of {url} {explain_distrust(error)}") from None
    except ssl.SSLError as error:
        raise NoConnectionError(f"no encrypted connection to {url} ({error.reason}); does it speak https?") from None
    except (http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionError):
        raise NoConnectionError(f"{url} closed the connection before its answer was complete{unknown}") from None
    except (http.client.HTTPException, ValueError):
        raise NoConnectionError(
            f"what listens at {url} does not speak HTTP; -h needs the server's HTTP address (usually port 3013)"
        ) from None
    except OSError as error:
        raise NoConnectionError(
            f"cannot connect to {url}: {error.strerror or error}; check the address and the network"
        ) from None
