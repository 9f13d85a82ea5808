"""Connections between nodes: TLS on which both sides show certificates, and a first line that says what for.

A program that shows a certificate of the cluster's authority counts as a node: what its first line says of a client is
believed.
"""

from __future__ import annotations

import json
import socket
import ssl
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from pynun.cluster.etcd.errors import certificate_trouble, reason
from pynun.errors import SettingsError
from pynun.transports.sockets import complete_handshake, receive, send

if TYPE_CHECKING:
    from pathlib import Path

    from pynun.setting_values import Address

LIFE: Final = "life"
"""The connection stays silent and shows by its end that the process at the other end is gone."""

LINK: Final = "link"
"""Records about clients follow, both ways (`link_records.py`), after the answer `READY`."""

RELAY: Final = "relay"
"""The bytes of an HTTP client follow, both ways, after the answer `READY`."""

COPY: Final = "copy"
"""A copy of the node's data is asked for (`pynun.cluster.copying`)."""

READY: Final = b"ok\n"

NO_TLS: Final = b"no TLS here\n"
"""Shows a node that begins with TLS that this one uses none."""

_LINE_BYTES_MAX: Final = 4096
_TLS_ALERT: Final = b"\x15\x03"
_TLS_HANDSHAKE: Final = b"\x16\x03"
"""How TLS answers what is none, and how it begins (RFC 8446 section 5.1)."""

_PLAIN_REASONS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
"""OpenSSL's, of different versions."""


class LinkError(OSError):
    """The other end is no node of this version, or does not do what it is asked for."""


class MismatchError(LinkError):
    """One end uses TLS and the other does not."""

    def __init__(self, speaks: str) -> None:
        super().__init__(f"it speaks {speaks}: NUN_CLUSTER_PLAIN must be the same at all nodes")


class Hello(NamedTuple):
    """The first line."""

    purpose: str
    """`LIFE`, `LINK`, `RELAY` or `COPY`."""
    node: str
    """Who connects."""
    address: str = ""
    """Of the machine that a client's connection came from, a proxy or the client."""
    system_user: str | None = None
    """Who is at the Unix socket there, if the connection came by that."""

    def encode(self) -> bytes:
        return json.dumps(self._asdict(), separators=(",", ":")).encode() + b"\n"


def decode_hello(line: bytes) -> Hello:
    """Read a first line. Raises LinkError."""
    try:
        found = Hello(**json.loads(line))
    except (TypeError, ValueError):
        raise LinkError("the first line of a node's connection can't be read") from None
    if found.purpose not in (LIFE, LINK, RELAY, COPY):
        raise LinkError(f"a node asked for {found.purpose!r}, which this version does not know")
    return found


class LinkTls(NamedTuple):
    """How connections are encrypted."""

    accepting: ssl.SSLContext
    dialling: ssl.SSLContext


def link_tls(ca: Path, certificate: Path, key: Path) -> LinkTls:
    """Read the files. Raises SettingsError."""
    contexts: list[ssl.SSLContext] = []
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(ca)
            context.load_cert_chain(certificate, key, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"the nodes' certificates can't be used ({ca}, {certificate}, {key}): {error}; see NUN_CLUSTER_CA"
            ) from None
        contexts.append(context)
    return LinkTls(*contexts)


async def dial(address: Address, tls: LinkTls | None, hello: Hello) -> socket.socket:
    """Connect to a node and say hello. Raises OSError; `is_refused` tells whether nobody listens there."""
    stream = await trio.open_tcp_stream(address.host, address.port)
    connected = socket.socket(fileno=stream.socket.detach())
    try:
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            connected = tls.dialling.wrap_socket(connected, server_hostname=address.host, do_handshake_on_connect=False)
            assert isinstance(connected, ssl.SSLSocket)
            await complete_handshake(connected)
        await send(connected, hello.encode())
        if hello.purpose in (LINK, RELAY):
            await _receive_ready(connected)
    except BaseException:
        connected.close()
        raise
    return connected


def is_refused(error: OSError) -> bool:
    """Whether a connection failed because nobody listens there: the machine answers, and the process is gone."""
    cause: BaseException | None = error.__cause__ or error
    while isinstance(cause, BaseExceptionGroup):
        if not all(isinstance(one, ConnectionRefusedError) for one in cause.exceptions):
            return False
        cause = cause.exceptions[0]
    return isinstance(cause, ConnectionRefusedError)


def tls_trouble(error: BaseException) -> str | None:
    """What is wrong with a certificate, or with TLS at all; None if the connection failed for another reason."""
    if (trouble := certificate_trouble(error)) is not None:
        return trouble
    name = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    if name == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "it shows no certificate"
    if name in _PLAIN_REASONS:
        error = MismatchError("no TLS")
    return str(error) if isinstance(error, MismatchError) else None


def why_unreached(error: Exception) -> str:
    """Why `dial` failed, in a few words."""
    return tls_trouble(error) or reason(error)


async def welcome(accepted: socket.socket, tls: LinkTls | None) -> tuple[socket.socket, Hello]:
    """Shake hands with a node that connected, and read its first line. Raises OSError; the caller closes `accepted`."""
    if tls is not None:
        wrapped = tls.accepting.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        try:
            await complete_handshake(wrapped)
        except BaseException:
            wrapped.close()
            raise
        accepted = wrapped
    return accepted, decode_hello(await _receive_line(accepted))


async def _receive_ready(connected: socket.socket) -> None:
    """Take the answer, and nothing of what may follow it."""
    answer = b""
    while len(answer) < len(READY):
        data = await receive(connected, len(READY) - len(answer))
        answer += data
        if answer.startswith(_TLS_ALERT):
            raise MismatchError("TLS")
        if not data or not READY.startswith(answer):
            raise LinkError("the other node does not own the engine")


async def _receive_line(connected: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        data = await receive(connected, _LINE_BYTES_MAX)
        line += data
        if line.startswith(_TLS_HANDSHAKE):
            await send(connected, NO_TLS)
            raise MismatchError("TLS")
        if not data or len(line) > _LINE_BYTES_MAX or b"\n" in line[:-1]:
            raise LinkError("a node's connection ended, or does not begin with a line")
    return line
