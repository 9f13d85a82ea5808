"""Giving up root: a server that root starts hands its data folder to another user and goes on as that one.

Meant for containers (NUN_RUN_AS is set in the image), where the process starts as root and the folder that is mounted
belongs to root, or is missing. The folder of the backups is handed over likewise. Invariants: afterwards the process
can't become root again; nothing is handed over that is not the server's own (a folder with other things in it is
refused, links are not followed); a folder that the user can write already, such as /tmp, keeps its owner. Who is not
root to begin with stays who it is.
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

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pynun.setting_values import Identity

_log = logging.getLogger("nun_db")

_ORIGINALS_FILES: Final = (".data.keys", ".data.values", ".madadata", "keys-nun.keys")
"""Ends of the names of the original's files (docs/protocol.md section 7): a folder with them is one of data, too."""

BACKUPS_SECONDS_MAX: Final = 10.0
_REASON_BYTES_MAX: Final = 4096  # what a pipe takes at once

_PR_SET_DUMPABLE: Final = 4  # <linux/prctl.h>

_OF_A_FILE_SYSTEM: Final = frozenset({"lost+found"})
"""What is in an empty folder where a disk is mounted."""


def drop_privileges(
    identity: Identity,
    folder: Path,
    audit_file: Path | None,
    files: Iterable[Path] = (),
    backup_dir: Path | None = None,
) -> None:
    """Go on as another user, who owns the data folder from then on. Does nothing unless this process is root.

    `audit_file` may lie in that folder, with older ones beside it. `files` are those that the server may have to read
    again later (a renewed certificate's): the log says which it won't be able to. `backup_dir` is handed over like the
    data folder, if it is there; if that can't be done, it is a warning. Raises StartError, with what to do.
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
            f"the data folder {folder} can't be handed over to the user {identity}: {error.strerror}; give it to that"
            " user yourself (chown), or set NUN_RUN_AS to the folder's user"
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
                "%s can be read by root only, not by the user %s: it is in use now, but SIGHUP can't read it again;"
                " give that user the right, or restart the server when the file has changed",
                path,
                identity,
            )


def _allow_looking() -> None:
    """Let others of that user see what this process has open, as if it had been started as that user.

    Linux hides it after a change of users (proc(5)). A backup of a data file that has no name any more needs it.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def _cannot_change(identity: Identity, error: OSError) -> str:
    return (
        f"can't go on as the user {identity}: {error.strerror}; let the container keep the capabilities SETUID,"
        f" SETGID and CHOWN, or start it as that user (docker run --user {identity})"
    )


def _prepare_folder(identity: Identity, folder: Path, audit_file: Path | None, can_use: bool) -> None:
    """See to it that the user has the folder, and in it the server's files. Raises OSError, and StartError."""
    try:
        made = make_folder(folder)
    except OSError:
        return  # opening the folder will tell, in its own words
    for path in made:
        os.chown(path, identity.user, identity.group)
    if not made and not can_use:
        _refuse_other_things(identity, folder)
        os.chown(folder, identity.user, identity.group)
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IRWXU)
    own = [folder / name for name in schema.FILES]
    if audit_file is not None and (folder / audit_file).parent == folder:
        own += folder.glob(f"{audit_file.name}*")
    for path in own:
        _hand_over(identity, path)


def _can_use(identity: Identity, folder: Path) -> bool:
    """Can the user list, enter and write the folder? Asked of the system, as that user: it knows of all rules."""
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
    """Raise StartError if the folder is somebody else's: neither empty nor one of data.

    A typing error in a mount (/var instead of /var/lib/nun-db) must not give the machine's files to the server.
    """
    names = set(os.listdir(folder)) - _OF_A_FILE_SYSTEM
    if names and not any(name in schema.FILES or name.endswith(_ORIGINALS_FILES) for name in names):
        raise StartError(
            f"the data folder {folder} can't be written by the user {identity}, and was not handed over to it, for it"
            f" holds other things ({_some(sorted(names))}): choose an empty folder, or give it to that user yourself"
            " (chown)"
        )


def hand_over_backups(identity: Identity, folder: Path) -> None:
    """Give the folder of the backups, and those in it, to the user; a warning if that can't be done.

    In a child: its disk may be one that doesn't answer, and backups are never a reason not to start.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - leaves nothing behind that could be counted
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
            "the folder of the backups %s can't be handed over to the user %s: %s; give it to that user yourself"
            " (chown), else no backups are made",
            folder,
            identity,
            reason,
        )


def prepare_backups(identity: Identity, folder: Path) -> str:
    """See to it that the user can write the folder; returns why it was not given to it. Raises OSError.

    A folder that is missing is not made: it may be on a disk that comes later, and must not be hidden by it.
    """
    if not folder.exists():
        return ""  # the schedule will tell
    if not _can_use(identity, folder):
        names = set(os.listdir(folder)) - _OF_A_FILE_SYSTEM
        others = sorted(name for name in names if not backup_folder.is_ours(name))
        if others:
            return f"it holds other things ({_some(others)})"
        os.chown(folder, identity.user, identity.group)
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IRWXU)
    for name in os.listdir(folder):
        if backup_folder.is_ours(name):
            _hand_over(identity, folder / name)
    return ""


def _some(names: list[str]) -> str:
    return ", ".join([*names[:3], *(["…"] if len(names) > 3 else [])])


def _hand_over(identity: Identity, path: Path) -> None:
    """Give one file of the server's to the user; not what a link, or a second name, lends its name to."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # missing, or no file: opening the folder will tell
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid != identity.user:
            os.fchown(descriptor, identity.user, identity.group)
    finally:
        os.close(descriptor)
