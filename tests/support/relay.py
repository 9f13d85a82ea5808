"""The network between a client and its server: it can be taken away without a word to either end."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from tools.clients.server import Address

CHUNK_BYTES = 65_536


class Relay:
    """Passes bytes on between clients of `address` and a server."""

    def __init__(self, server: Address) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._is_silent = False
        self._is_there = threading.Event()
        self._is_there.set()
        self._open: list[socket.socket] = []
        self._passed_bytes = 0
        self.cut_at_bytes: int | None = None
        """When so much has passed, the connections end, once."""
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_there.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End the connections that are there; new ones work."""
        for opened in self._open:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    def take_away(self, *, only_new: bool = False) -> None:
        """From now on nothing arrives: what was connected stays silent for ever, new connections wait.

        With `only_new`, what was connected goes on.
        """
        self._is_silent = not only_new
        self._is_there.clear()

    def bring_back(self) -> None:
        """New connections work."""
        self._is_there.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._is_there.wait()
                server = socket.create_connection(self._server)
                self._open += [client, server]
                lost = threading.Event()
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, target, lost), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                self._passed_bytes += len(data)
                if self.cut_at_bytes is not None and self._passed_bytes > self.cut_at_bytes:
                    self.cut_at_bytes = None
                    self.cut()
                if self._is_silent and not self._is_there.is_set():
                    lost.set()
                if not lost.is_set():
                    target.sendall(data)
            if self._is_there.is_set() and not lost.is_set():
                target.shutdown(socket.SHUT_RDWR)
