"""The Unix socket in the data folder: only root and the server's own user may connect, and need no password there.

Its mode keeps others out, and the kernel names the peer (`pynun/unix_socket.py`). The server that holds the folder's
lock owns the socket: a socket file found at startup was left by a killed server. The socket speaks HTTP, or WebSocket
if the first request asks for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
from typing import TYPE_CHECKING, Final

import trio

from pynun import limits
from pynun.server.accepting.listeners import Connection, SocketListener
from pynun.transports.http.page_server import ASKS_FOR_WEBSOCKET
from pynun.unix_socket import SOCKET_NAME, peer_user, short_path, user_name

if TYPE_CHECKING:
    from pathlib import Path

    from pynun.server.accepting.accept import Host

_log = logging.getLogger("nun_db")

_BACKLOG: Final = 64


class LocalListener(SocketListener):
    """Accepts connections of root and of the server's user on a Unix socket."""

    def __init__(self, listening: socket.socket, idle_seconds: int, path: Path, *, is_owner: bool = True) -> None:
        self._path = path
        super().__init__(listening, idle_seconds)
        self._file = os.lstat(path) if is_owner else None
        self._users = system_users()

    def _own_address(self) -> str:
        return str(self._path)

    def _welcome(self, accepted: socket.socket, peer: object) -> Connection:
        user = peer_user(accepted)
        if user not in self._users:
            _log.warning("the system user %d was refused at %s: it is for root and the server's user", user, self._path)
            raise PermissionError
        return Connection(accepted, "", self._users[user])

    def duplicate(self) -> LocalListener:
        return LocalListener(self._socket.dup(), self._idle_seconds, self._path, is_owner=False)

    def close(self) -> None:
        super().close()
        self._remove()

    async def aclose(self) -> None:
        await super().aclose()
        self._remove()

    def _remove(self) -> None:
        """Remove the file, unless another one has its name by now."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                if os.path.samestat(self._file, os.lstat(self._path)):
                    self._path.unlink()
            self._file = None


def system_users() -> dict[int, str]:
    """Who may connect: their numbers and names. Looked up before the loop runs, because it may take time."""
    return {user: user_name(user) for user in (0, os.geteuid())}


def listen_locally(folder: Path, idle_seconds: int) -> LocalListener | None:
    """Listen on the socket in a locked data folder; without one, if its file system has none, the log says so."""
    path = folder.resolve() / SOCKET_NAME
    new = path.with_name(f"{SOCKET_NAME}.new")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        for old in (path, new):
            _remove_socket(old)
        with short_path(new) as address:
            listening.bind(address)
        new.chmod(0o600)
        listening.listen(_BACKLOG)
        new.rename(path)
        return LocalListener(listening, idle_seconds, path)
    except OSError as error:
        listening.close()
        _log.warning(
            "no Unix socket at %s (%s): the commands on this machine need the administrator's password",
            path,
            error.strerror or error,
        )
        return None


def _remove_socket(path: Path) -> None:
    """Remove what is left of a server that was killed. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(f"{path} is there, and no socket")
        path.unlink()


async def asks_for_websocket(connection: Connection, host: Host) -> bool | None:
    """Whether the first request is a WebSocket handshake; None if none came in time."""
    with trio.move_on_after(host.handshake_seconds) as waiting:
        host.waits_to_cancel.add(waiting)
        try:
            await trio.lowlevel.wait_readable(connection.socket)
            head = connection.socket.recv(limits.RECEIVE_BYTES, socket.MSG_PEEK)
            return ASKS_FOR_WEBSOCKET.search(head) is not None
        except OSError:
            return None
        finally:
            host.waits_to_cancel.discard(waiting)
    return None
