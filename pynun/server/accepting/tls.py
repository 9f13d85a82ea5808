"""TLS for the listeners: the certificate, its renewal, and the handshake of an accepted socket.

TLS sockets are non-blocking sockets of the standard library too (`ssl.SSLSocket`), so readers and outboxes share their
code with plain ones.
"""

from __future__ import annotations

import logging
import socket
import ssl
from typing import TYPE_CHECKING, Final

import trio

from pynun.errors import StartError
from pynun.transports.sockets import complete_handshake

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger("nun_db")

_HANDSHAKE_RECORD: Final = b"\x16"
"""The first byte of TLS (RFC 8446 section 5.1)."""


class Certificate:
    """The certificate in use; new connections get what `renew` read last."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Read the files. Raises StartError that names the file and the cause."""
        self._cert = cert
        self._key = key
        self.context = self._read()

    def renew(self) -> str | None:
        """Read the files again, for new connections. Returns None, or why the old certificate stays in use."""
        try:
            self.context = self._read()
        except StartError as error:
            _log.error("the old certificate stays in use: %s", error)
            return str(error)
        _log.info("the certificate %s was reloaded", self._cert)
        return None

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION  # a renegotiation would let a write wait for a read
        for path in (self._cert, self._key):
            try:
                path.open("rb").close()
            except OSError as error:
                raise StartError(f"the TLS file {path} can't be read: {error.strerror}") from None
        try:
            # Without a passphrase: a server must start unattended.
            context.load_cert_chain(self._cert, self._key, password=lambda: "")
        except ssl.SSLError as error:
            raise StartError(
                f"{self._cert} and {self._key} are not a PEM certificate and its unencrypted private key: "
                f"{error.reason or error}"
            ) from None
        return context


class PlainTextError(OSError):
    """The client does not use TLS."""


async def shake_hands(accepted: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Do the handshake and return the TLS socket. Raises PlainTextError if the client does not use TLS (the socket is
    unchanged), and OSError (ssl.SSLError) if the handshake fails (the socket is closed).
    """
    await trio.lowlevel.wait_readable(accepted)
    if accepted.recv(1, socket.MSG_PEEK) not in (_HANDSHAKE_RECORD, b""):
        raise PlainTextError("what came is not TLS")
    wrapped = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
    try:
        await complete_handshake(wrapped)
        return wrapped
    except BaseException:
        wrapped.close()
        raise
