"""Give up root: a server started by root gives its data folder to another user and continues as that user.

Meant for containers (the image sets NUN_RUN_AS), where the process starts as root and the mounted folder belongs to
root or is missing. The backup folder changes hands too. Invariants: afterwards the process can't become root again.
Only the server's own files change owner: a folder with other content is refused, links are not followed. A folder that
the user can write already, such as /tmp, keeps its owner. A process that does not start as root keeps its user.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
import signal
import stat
from typing import TYPE_CHECKING, Final

from pynun.backup import folder as backup_folder
from pynun.errors import StartError
from pynun.folders import make_folder
from pynun.storage import schema
from pynun.storage.wal.segment import GLOB

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pynun.setting_values import Identity

_log = logging.getLogger("nun_db")

_ORIGINALS_FILES: Final = (".data.keys", ".data.values", ".madadata", "keys-nun.keys")
"""Suffixes of the original's files (docs/protocol.md section 7). A folder with them is a data folder too."""

BACKUPS_SECONDS_MAX: Final = 10.0
_REASON_BYTES_MAX: Final = 4096  # a pipe takes this much at once

_PR_SET_DUMPABLE: Final = 4  # <linux/prctl.h>

_OF_A_FILE_SYSTEM: Final = frozenset({"lost+found"})
"""Content of an otherwise empty folder where a disk is mounted."""


def drop_privileges(
    identity: Identity,
    folder: Path,
    audit_file: Path | None,
    files: Iterable[Path] = (),
    backup_dir: Path | None = None,
) -> None:
    """Continue as another user, who then owns the data folder. Does nothing unless this process is root.
    `audit_file` may be in that folder, with older ones beside it. `files` are those that the server may read again
    later (a renewed certificate); the log names those it won't be able to read. `backup_dir`, if it exists, is handed
    over like the data folder; a failure is only a warning. Raises StartError with the remedy.
    """
    if os.geteuid() != 0:
        return
    try:
        can_use = _can_use(identity, folder)
    except OSError as error:
        raise StartError(_cannot_change(identity, error)) from None
    try:
        _prepare_folder(identity, folder, audit_file, can_use)
    except OSError as error:
        raise StartError(
            f"the data folder {folder} can't be given to the user {identity}: {error.strerror}; change its owner "
            "yourself (chown), or set NUN_RUN_AS to the folder's user"
        ) from None
    if backup_dir is not None:
        hand_over_backups(identity, backup_dir)
    try:
        os.setgroups([])
        os.setresgid(identity.group, identity.group, identity.group)
        os.setresuid(identity.user, identity.user, identity.user)
    except OSError as error:
        raise StartError(_cannot_change(identity, error)) from None
    _allow_looking()
    _log.info("runs as the user %s (NUN_RUN_AS); it was started as root", identity)
    for path in files:
        if not os.access(path, os.R_OK):
            _log.warning(
                "%s can be read only by root, not by the user %s: it is in use, but SIGHUP can't reload it; let that "
                "user read it, or restart the server after a change",
                path,
                identity,
            )


def _allow_looking() -> None:
    """Let other processes of that user see this process's open files, as if that user had started it.

    Linux hides them after a change of users (proc(5)). Backing up a data file that was removed needs them.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def _cannot_change(identity: Identity, error: OSError) -> str:
    return (
        f"can't switch to the user {identity}: {error.strerror}; let the container keep the capabilities SETUID,"
        f" SETGID and CHOWN, or start it as that user (docker run --user {identity})"
    )


def _prepare_folder(identity: Identity, folder: Path, audit_file: Path | None, can_use: bool) -> None:
    """Make the user the owner of the folder and the server's files in it. Raises OSError and StartError."""
    try:
        made = make_folder(folder)
    except OSError:
        return  # opening the folder will report it
    for path in made:
        os.chown(path, identity.user, identity.group)
    if not made and not can_use:
        _refuse_other_things(identity, folder)
        os.chown(folder, identity.user, identity.group)
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IRWXU)
    own = [*(folder / name for name in schema.FILES), *folder.glob(GLOB)]
    if audit_file is not None and (folder / audit_file).parent == folder:
        own += folder.glob(f"{audit_file.name}*")
    for path in own:
        _hand_over(identity, path)


def _can_use(identity: Identity, folder: Path) -> bool:
    """Whether the user can list, enter and write the folder. Tested as that user, so that all rules apply."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(identity.group)
    os.seteuid(identity.user)
    try:
        return os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def _refuse_other_things(identity: Identity, folder: Path) -> None:
    """Raise StartError unless the folder is empty or a data folder.

    A typing error in a mount (/var instead of /var/lib/nun-db) must not give the machine's files to the server.
    """
    names = set(os.listdir(folder)) - _OF_A_FILE_SYSTEM
    if names and not any(name in schema.FILES or name.endswith(_ORIGINALS_FILES) for name in names):
        raise StartError(
            f"the data folder {folder} can't be written by the user {identity}, and was not given to that user, "
            f"because it contains other things ({_some(sorted(names))}): choose an empty folder, or change its owner"
            " yourself (chown)"
        )


def hand_over_backups(identity: Identity, folder: Path) -> None:
    """Give the backup folder and the backups in it to the user, or log a warning.

    In a child process: the disk may not answer, and backups must never prevent a start.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        reason = "it is not known why"
        try:
            reason = prepare_backups(identity, folder)
        except OSError as error:
            reason = error.strerror or str(error)
        finally:
            os.write(writer, reason.encode(errors="replace")[:_REASON_BYTES_MAX])
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as told:
        if select.select([told], [], [], BACKUPS_SECONDS_MAX)[0]:
            reason = told.read().decode(errors="replace")
            os.waitpid(child, 0)
        else:
            reason = "its disk does not answer"
            os.kill(child, signal.SIGKILL)
    if reason:
        _log.warning(
            "the folder of the backups %s can't be given to the user %s: %s; change its owner yourself (chown), else "
            "no backups are made",
            folder,
            identity,
            reason,
        )


def prepare_backups(identity: Identity, folder: Path) -> str:
    """Make sure that the user can write the folder; returns the reason if not. Raises OSError.

    A missing folder is not made: its disk may be mounted later, and would hide it.
    """
    if not folder.exists():
        return ""  # the schedule will report it
    if not _can_use(identity, folder):
        names = set(os.listdir(folder)) - _OF_A_FILE_SYSTEM
        others = sorted(name for name in names if not backup_folder.is_ours(name))
        if others:
            return f"it contains other things ({_some(others)})"
        os.chown(folder, identity.user, identity.group)
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IRWXU)
    for name in os.listdir(folder):
        if backup_folder.is_ours(name):
            _hand_over(identity, folder / name)
    return ""


def _some(names: list[str]) -> str:
    return ", ".join([*names[:3], *(["…"] if len(names) > 3 else [])])


def _hand_over(identity: Identity, path: Path) -> None:
    """Give one of the server's files to the user, unless it is a link or has a second name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # missing or not a file: opening the folder will report it
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid != identity.user:
            os.fchown(descriptor, identity.user, identity.group)
    finally:
        os.close(descriptor)
