"""The Unix socket in the data folder, by which commands on the server's machine reach it without a password.

The server asks the kernel who is at the other end (SO_PEERCRED, unix(7)), and so does a command, for in a folder that
others can write somebody else could listen.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SOCKET_NAME: Final = "server.sock"
SCHEME: Final = "unix:"
"""The URL of a server at a socket is this and the socket's path."""

NO_PASSWORD: Final = "-"
"""Sent in place of a password, which needs some text; the server does not look at it."""

_PATH_BYTES_MAX: Final = 107
"""What fits into the address of a socket, with the byte that ends it (unix(7))."""

_CREDENTIALS: Final = struct.Struct("=iII")  # struct ucred: process, user, group


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """The path, or if it is too long for the address of a socket, another path of the same file. Raises OSError."""
    if len(os.fsencode(path)) <= _PATH_BYTES_MAX:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


def peer_user(connected: socket.socket) -> int:
    """The user number of the process at the other end, when it connected or began to listen. Raises OSError."""
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(credentials)
    return int(user)


def user_name(user: int) -> str:
    """The name of a system user, or the number if it has none. May ask a directory service: not for an event loop."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def check_server(connected: socket.socket, path: Path) -> None:
    """Raise PermissionError unless who listens is root, the folder's owner or this process's own user."""
    if peer_user(connected) not in (0, os.geteuid(), path.parent.stat().st_uid):
        raise PermissionError(f"{path} is a socket of another user than the folder's")


def connect(path: Path, timeout_seconds: float | None = None) -> socket.socket:
    """A connection to the server at this socket. Raises OSError."""
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.settimeout(timeout_seconds)
        with short_path(path) as address:
            connected.connect(address)
        check_server(connected, path)
    except BaseException:
        connected.close()
        raise
    return connected


def path_of(url: str) -> Path | None:
    """The socket that a URL names; None if it is another kind of URL."""
    return Path(url.removeprefix(SCHEME)) if url.startswith(SCHEME) and len(url) > len(SCHEME) else None
