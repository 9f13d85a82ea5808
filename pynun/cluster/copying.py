"""A node without data, or with data that the log in etcd does not reach back to, copies another node's data.

What travels is a backup: made by the other node beside its work (`pynun.cluster.copy_source`), hashed, and checked
entry by entry before it replaces anything. Over the link goes a line of JSON, `{"bytes": N}` or `{"failed": REASON}`,
and then the file. Empty lines come first while the backup is being made. A node that has all of it answers with one.
"""

from __future__ import annotations

import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any, Final

import trio

from pynun.backup.file_format import PIECE_BYTES
from pynun.backup.restore import restore_backup
from pynun.cluster.etcd.client import Client
from pynun.cluster.etcd.errors import EtcdError, UnreachableError
from pynun.cluster.etcd.gateway import Range, read, transaction
from pynun.cluster.joining import keep_name
from pynun.cluster.keys import decode_number, decode_owner
from pynun.cluster.link import COPY, Hello, dial, why_unreached
from pynun.errors import BackupError, StartError
from pynun.stop_signals import Stopped
from pynun.storage.environment import KEPT_GLOB
from pynun.transports.sockets import receive, send

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from pynun.cluster.etcd.members import Members
    from pynun.cluster.joining import PatientCaller
    from pynun.cluster.keys import Keys
    from pynun.cluster.link import LinkTls
    from pynun.setting_values import Address
    from pynun.storage.store import LmdbStore

RECEIVED_NAME: Final = "copy-received.backup"
"""A file in the data folder, while a copy is received."""

SILENCE_SECONDS: Final = 30.0
"""How long the other node may send nothing: its disk may be slow."""

_SIGN_SECONDS: Final = 1.0
_LINE_BYTES_MAX: Final = 4096
_ANSWER_SECONDS: Final = 5.0
_PAUSES_SECONDS: Final = 1.0, 30.0
"""Between tries, from the first to the later ones: each has the other node read all its data, and send it."""

_log = logging.getLogger("nun_db")


class CopyError(Exception):
    """There is no copy to be had from that node now; the text says why."""


async def receive_copy(
    address: Address, tls: LinkTls | None, node: str, folder: Path, progress: Callable[[int, int], None]
) -> Path:
    """Ask the node at an address for a copy of its data; returns the file, in the folder. It is not checked yet.

    `progress` gets the bytes so far, and of how many. Raises CopyError.
    """
    path = folder / RECEIVED_NAME
    try:
        with trio.fail_after(SILENCE_SECONDS):
            connected = await dial(address, tls, Hello(COPY, node))
        with connected, path.open("wb") as file:
            head, rest = await _receive_head(connected)
            if "failed" in head:
                raise CopyError(str(head["failed"]))
            size, done = int(head["bytes"]), len(rest)
            file.write(rest)
            while done < size:
                with trio.fail_after(SILENCE_SECONDS):
                    piece = await receive(connected, PIECE_BYTES)
                if not piece:
                    raise CopyError("the connection ended")
                await trio.to_thread.run_sync(file.write, piece)
                done += len(piece)
                progress(done, size)
            await send(connected, b"\n")
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError | trio.TooSlowError):
            raise CopyError(f"{address}: {why_unreached(error)}") from None
        if isinstance(error, KeyError | ValueError):
            raise CopyError(str(error)) from None
        raise
    return path


async def _receive_head(connected: socket.socket) -> tuple[dict[str, Any], bytes]:
    """The line before the file, and what has come of the file."""
    data = b""
    while b"\n" not in data:
        with trio.fail_after(SILENCE_SECONDS):
            piece = await receive(connected)
        if not piece or len(data) > _LINE_BYTES_MAX:
            raise CopyError("the connection ended")
        data = (data + piece).lstrip(b"\n")
    line, _, rest = data.partition(b"\n")
    found = json.loads(line)
    return (found if isinstance(found, dict) else {}), rest


def put_copy(data: LmdbStore, file: Path) -> None:
    """Check a received copy, and have it replace the data, which is removed. Raises BackupError and StartError."""
    folder = data.folder
    kept_before = set(folder.glob(KEPT_GLOB))

    def put() -> None:
        try:
            restore_backup(file, folder, lambda *_: None, is_replacing=True)
        finally:
            file.unlink(missing_ok=True)

    data.replace(put)
    # What a restore keeps is for mistakes of people; this data was only an older part of the copy.
    for kept in set(folder.glob(KEPT_GLOB)) - kept_before:
        for path in (kept, *folder.glob(f"{kept.stem}.*")):
            with contextlib.suppress(OSError):
                path.unlink()


# --- before a node follows -----------------------------------------------------------------------------------------


def needs_copy(revision: int, caller: PatientCaller, keys: Keys) -> bool:
    """Whether the log in etcd does not go on from data that ends at this revision. Raises StartError."""
    number = revision + 1
    ranges = (Range(keys.head), Range(keys.log(number), keys.log_end, count_max=1, is_keys_only=True))
    head, following = caller.ask(transaction((), ranges)).answers
    assert head is not None
    assert following is not None
    if head.first is None or decode_number(head.first.value) <= revision:
        return False
    return following.first is None or keys.number_of(following.first.key) != number


class Copier:
    """Gives a node the data that it lacks, before it follows. Its key `live/NODE` is kept meanwhile."""

    def __init__(
        self,
        data: LmdbStore,
        caller: PatientCaller,
        keys: Keys,
        members: Members,
        tls: LinkTls | None,
        node: str,
        live_lease: int,
        tell: Callable[[str], None],
    ) -> None:
        """`tell` is told what takes time."""
        self._data = data
        self._caller = caller
        self._keys = keys
        self._members = members
        self._tls = tls
        self._node = node
        self.live_lease = live_lease
        """Changes if it was lost meanwhile."""
        self._tell = tell
        self._told = ""
        self._rest_seconds = 0.0

    def run(self) -> None:
        """Copy until the log goes on from what is there. Raises StartError, and what the caller's pause raises."""
        first, longest = _PAUSES_SECONDS
        while needs_copy(self._data.revision, self._caller, self._keys):
            try:
                has_tried = trio.run(self._copy)
                self._caller.pause(0.0)
            except (CopyError, BackupError) as error:
                self._say(f"the data of another node can't be copied now: {error}")
                has_tried = True
            self._rest_seconds = min(max(first, 2 * self._rest_seconds), longest) if has_tried else first

    def _say(self, what: str) -> None:
        if what != self._told:
            self._told = what
            _log.warning("%s", what)

    async def _copy(self) -> bool:
        """After the rest, copy from the owner; False if there is none, or if the start is to end.

        Raises CopyError, BackupError and StartError.
        """
        has_tried = False
        failure: Exception | None = None
        async with Client(self._members) as client, trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_name, client)
            nursery.start_soon(self._watch_signals, nursery.cancel_scope)
            await trio.sleep(self._rest_seconds)
            try:
                has_tried = await self._copy_once(client)
            except (EtcdError, UnreachableError, ValueError) as error:
                failure = CopyError(str(error))
            except (CopyError, BackupError, StartError) as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return has_tried

    async def _copy_once(self, client: Client) -> bool:
        found = (await client.call(read(self._keys.owner), _ANSWER_SECONDS)).first
        owner = None if found is None else decode_owner(found.value)
        if owner is None or owner.node == self._node:
            self._tell("waiting for a node to copy the data from")
            self._say("this node waits for another one to copy the data from")
            return False
        self._tell("copying the data of another node")
        _log.info("copying the data of node %s", owner.node)
        file = await receive_copy(owner.link, self._tls, self._node, self._data.folder, self._progress)
        self._tell("checking the copied data")
        await trio.to_thread.run_sync(put_copy, self._data, file)
        _log.info("copied the data of another node, up to batch %d", self._data.revision)
        return True

    def _progress(self, done: int, size: int) -> None:
        self._tell(f"copying the data of another node: {done >> 20} of {size >> 20} MiB")

    async def _keep_name(self, client: Client) -> None:
        while True:
            try:
                self.live_lease = await keep_name(client, self._keys, self._node, self.live_lease)
            except (EtcdError, UnreachableError) as error:
                _log.debug("no sign of life: %s", error)
            await trio.sleep(_SIGN_SECONDS)

    async def _watch_signals(self, scope: trio.CancelScope) -> None:
        """End if a signal came: `run` raises it."""
        while True:
            await trio.sleep(_SIGN_SECONDS / 4)
            try:
                self._caller.pause(0.0)
            except Stopped:
                scope.cancel()
                return
