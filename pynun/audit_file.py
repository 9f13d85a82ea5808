"""The audit trail: one line of JSON for each event, in a file of its own and on the log (docs/audit.md).

A log that is a person's terminal shows no lines of it, except those that the file can't take.

Several processes may write one file, a server and a backup at once: each appends whole lines under a lock (flock(2)) of
the file itself. A process whose line would make it too big renames it under that same lock; a process that waited for
the lock of the renamed file sees that it is not the trail any more, and opens the new one.

Nothing here raises once the trail is open: a full disk costs lines of the file (they are still on the log, and a line
says later how many are missing), and nothing else. Texts that come from clients are cut to a length, and can't end a
line or forge another: JSON escapes what is not printable ASCII.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import stat
import threading
import time
from typing import TYPE_CHECKING, Final, Self

from pynun.errors import StartError
from pynun.folders import sync_folder
from pynun.timestamps import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

BYTES_MAX_DEFAULT: Final = 10 * 1024 * 1024
KEEP_DEFAULT: Final = 10

_log = logging.getLogger("nun_db")
_trail_log = logging.getLogger("nun_db.audit")

FIELDS: Final = ("event", "outcome", "address", "database", "user", "command")
"""What every line has behind its time."""

_NAME_CHARACTERS_MAX: Final = 256
_TEXT_CHARACTERS_MAX: Final = 1024
_LONG: Final = frozenset({"command", "reason"})
_CUT: Final = "…"

_LOCK_SECONDS: Final = 2.0
"""A process that keeps the lock for so long is stopped or hangs: the lines are not waited for any longer."""

_LOCK_RETRY_SECONDS: Final = 0.005

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""Errors that pass, or must not keep a server from starting: it goes on without the file, and says so."""


def audit_line(fields: Mapping[str, object], time_ns: int | None = None) -> str:
    """The text of one line, without its end, of the event's fields; those of `FIELDS` that it has not are null.

    `time_ns` is nanoseconds since 1970, now unless given.
    """
    line: dict[str, object] = {"time": timestamp(time_ns, digits=3), **dict.fromkeys(FIELDS), **fields}
    for name, value in line.items():
        if isinstance(value, str):
            characters_max = _TEXT_CHARACTERS_MAX if name in _LONG else _NAME_CHARACTERS_MAX
            if len(value) > characters_max:
                line[name] = value[:characters_max] + _CUT
    return json.dumps(line).replace("\x7f", "\\u007f")


class AuditTrail:
    """The trail on its file, to be closed at the end; may be used from several threads."""

    def __init__(
        self,
        path: Path | None,
        *,
        bytes_max: int = BYTES_MAX_DEFAULT,
        keep: int = KEEP_DEFAULT,
        is_logged: bool = True,
    ) -> None:
        """`path` is the file, None for none; `keep` is how many full files stay beside it: PATH.1 is the newest.
        Unless `is_logged`, only lines that the file can't take go to the log.

        Nothing is opened before the first line; `prepare` does so to find out whether it can be.
        """
        self.path = path
        self._bytes_max = bytes_max
        self._keep = keep
        self._is_logged = is_logged or path is None
        self._lock = threading.Lock()
        self._descriptor = -1
        self._missing = 0
        """Lines that could not be written since the last one that was."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prepare(self) -> None:
        """Open the file. Raises StartError if it can't be one of ours; a full disk is no reason, and only logged."""
        if self.path is None:
            return
        try:
            with self._lock:
                self._open(self.path)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise StartError(
                    f"the audit trail {self.path} can't be written: {error.strerror}; choose another file with"
                    " NUN_AUDIT_FILE, or none: NUN_AUDIT_FILE=off"
                ) from None
            self._complain(error)

    def record(
        self,
        event: str,
        *,
        outcome: str,
        address: str | None = None,
        database: str | None = None,
        user: str | None = None,
        command: str | None = None,
        **more: str | float | None,
    ) -> None:
        """Write what happened, now. It is in the file, and on the disk, when this returns; never raises.

        `address` is the client's, None for what happens on the machine itself; `command` holds no secret; `more` are
        further fields (numbers, texts).
        """
        values = (event, outcome, address, database, user, command)
        self.write((audit_line({**dict(zip(FIELDS, values, strict=True)), **more}),))

    def write(self, lines: Sequence[str]) -> None:
        """Write lines that are made already (`audit_line`). Takes the time of a sync: not for an event loop."""
        if self._is_logged:
            _log_lines(lines)
        if self.path is None or not lines:
            return
        with self._lock:
            new = lines
            if self._missing:
                gap = audit_line({"event": "audit-gap", "outcome": "failed", "count": self._missing})
                lines = (gap, *lines)
            try:
                self._append(self.path, "".join(f"{line}\n" for line in lines).encode())
            except OSError as error:
                if not self._missing:
                    self._complain(error)
                else:
                    lines = lines[1:]
                self._missing += len(lines)
                if not self._is_logged:
                    _log_lines(new)
                return
            if self._missing:
                _log.warning("the audit trail is written again: %d lines of it are missing", self._missing)
                self._missing = 0

    def close(self) -> None:
        """Close the file; a later line would open it again."""
        with self._lock:
            self._close()

    # --- the file ------------------------------------------------------------------------------------------------

    def _append(self, path: Path, data: bytes) -> None:
        """Append whole lines, or nothing. Raises OSError."""
        while True:
            descriptor = self._locked(path)
            try:
                size = os.fstat(descriptor).st_size
                if not size or size + len(data) <= self._bytes_max:
                    self._write_behind(descriptor, size, data)
                    return
                self._rotate(path)
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _write_behind(self, descriptor: int, size: int, data: bytes) -> None:
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data  # the machine went down in the middle of a line: it ends here
        written = os.write(descriptor, data)
        if written < len(data):
            os.ftruncate(descriptor, size)  # half a line would spoil the next
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fdatasync(descriptor)

    def _locked(self, path: Path) -> int:
        """The descriptor of the file that is the trail now, locked. Raises OSError."""
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            descriptor = self._open(path)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(errno.ETIMEDOUT, "another process keeps it locked") from None
                time.sleep(_LOCK_RETRY_SECONDS)
                continue
            if self._is_current(path, descriptor):
                return descriptor
            self._close()  # renamed, or removed, by somebody else: the lock is gone with it

    def _is_current(self, path: Path, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.stat(path), os.fstat(descriptor))
        except FileNotFoundError:
            return False

    def _open(self, path: Path) -> int:
        if self._descriptor < 0:
            # Non-blocking: of what is no file, a pipe that nobody reads must not be waited for.
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(path, flags, 0o600)
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                os.close(descriptor)
                raise OSError(errno.EINVAL, "it is not a file")
            self._descriptor = descriptor
            if not about.st_size:  # just made: its lines are lost if the folder is not on disk when the power fails
                with contextlib.suppress(OSError):
                    sync_folder(path.parent)
        return self._descriptor

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _rotate(self, path: Path) -> None:
        """Rename the full file, and those before it; the oldest goes. The lock is held."""
        for number in range(self._keep, 0, -1):
            source = path if number == 1 else _numbered(path, number - 1)
            try:
                os.replace(source, _numbered(path, number))
            except FileNotFoundError:
                continue
        if self._keep == 0:
            os.unlink(path)

    def _complain(self, error: OSError) -> None:
        _log.error(
            "the audit trail %s can't be written: %s; the server continues, with audit lines in the log only",
            self.path,
            error.strerror or error,
        )


def _log_lines(lines: Sequence[str]) -> None:
    for line in lines:
        _trail_log.info("%s", line)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
