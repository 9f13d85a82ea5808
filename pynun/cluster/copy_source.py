"""What other nodes copy of this node's data (`pynun.cluster.copying`): a backup, made beside the work, sent as a file.

The file has no name any more while it is sent, so that a killed process leaves none.
"""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, BinaryIO, Final

import trio

from pynun import limits
from pynun.backup.file_format import PIECE_BYTES
from pynun.cluster.trimming import KEEP_SECONDS
from pynun.transports.sockets import receive, send

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable
    from pathlib import Path

SENT_NAME: Final = "copy-sent.backup"
"""A file in the data folder, while a copy is made."""

SIGN_SECONDS: Final = 1.0

_log = logging.getLogger("nun_db")


class CopySource:
    """Sends copies of the data in a folder, one at a time.

    One that did not arrive is kept for the next who asks, as long as the log surely goes on from it.
    """

    def __init__(self, folder: Path, make: Callable[[Path, Path], Awaitable[str | None]]) -> None:
        """`make` backs the folder up into a file, or says why it could not."""
        self._folder = folder
        self._make = make
        self._turn = trio.Lock()
        self._copy: BinaryIO | None = None
        self.sent = 0
        """Copies that arrived."""
        self._until = 0.0

    async def run(self) -> None:
        """Let go of a copy that is too old, until cancelled; then of any."""
        try:
            while True:
                await trio.sleep(SIGN_SECONDS)
                if not self._turn.locked() and trio.current_time() > self._until:
                    self._drop()
        finally:
            self._drop()

    async def send(self, connected: socket.socket) -> None:
        """Send a copy. Raises OSError if the connection ends, or takes nothing for long."""
        gone: OSError | None = None
        async with trio.open_nursery() as nursery:
            signs = trio.CancelScope()
            nursery.start_soon(_show_signs, connected, signs, nursery.cancel_scope)
            async with self._turn:
                try:
                    copy = await self._have_one()
                    signs.cancel()
                    if await _send(connected, copy):
                        self.sent += 1
                        self._drop()
                except OSError as error:
                    gone = error
            nursery.cancel_scope.cancel()
        if gone is not None:
            raise gone

    async def _have_one(self) -> BinaryIO | str:
        """A copy, or why there is none. Raises OSError."""
        if trio.current_time() > self._until:
            self._drop()
        if self._copy is None:
            path = self._folder / SENT_NAME
            path.unlink(missing_ok=True)
            began = trio.current_time()
            try:
                if (failure := await self._make(self._folder, path)) is not None:
                    return failure
                self._copy = path.open("rb")
                self._until = began + KEEP_SECONDS
            finally:
                path.unlink(missing_ok=True)
        return self._copy

    def _drop(self) -> None:
        if self._copy is not None:
            self._copy.close()
            self._copy = None


async def _show_signs(connected: socket.socket, signs: trio.CancelScope, gone: trio.CancelScope) -> None:
    """Show that the copy is being made, or another one sent; cancel `gone` if nobody is there any more."""
    with signs:
        while True:
            await trio.sleep(SIGN_SECONDS)
            try:
                await send(connected, b"\n")
            except OSError:
                gone.cancel()


async def _send(connected: socket.socket, copy: BinaryIO | str) -> bool:
    """Send a copy, or why there is none; whether it arrived."""
    if isinstance(copy, str):
        _log.warning("no copy was made for another node: %s", copy)
        await send(connected, json.dumps({"failed": copy}).encode() + b"\n")
        return False
    copy.seek(0)
    size = os.fstat(copy.fileno()).st_size
    await send(connected, json.dumps({"bytes": size}).encode() + b"\n")
    while piece := await trio.to_thread.run_sync(copy.read, PIECE_BYTES):
        await send(connected, piece)
    with trio.move_on_after(limits.STALLED_SECONDS):
        return bool(await receive(connected))
    return False
