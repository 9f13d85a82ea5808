"""Lines in the audit trail (docs/audit.md) from commands that work on a data folder themselves."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from pynun.audit_file import audit_line
from pynun.cli.installation import environment_for
from pynun.engine import audit_events
from pynun.errors import PynunError
from pynun.settings import load_audit_trail
from pynun.unix_socket import user_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def recorded(data_dir: Path, event: str, **fields: str | int) -> Iterator[dict[str, str | int]]:
    """Record the block in the trail, if the folder has data at its end; details may be added.

    Raises SettingsError before anything is done.
    """
    with load_audit_trail(environment_for(data_dir, os.environ), data_dir) as trail:
        more: dict[str, str | int] = {**fields}
        outcome = "failed"
        try:
            yield more
            outcome = "ok"
        except PynunError as error:
            more["reason"] = str(error)
            _hide_unknown(data_dir, more)
            raise
        finally:
            with contextlib.suppress(OSError):  # a folder that can't be read is not this user's to write in
                if (data_dir / "data.mdb").stat().st_size:
                    with _as_owner(data_dir):
                        line = {"event": event, "outcome": outcome, "system_user": user_name(os.getuid()), **more}
                        trail.write((audit_line(line),))


def _hide_unknown(data_dir: Path, more: dict[str, str | int]) -> None:
    """Remove the name of a database that does not exist, which may be a secret typed there."""
    from pynun.storage.snapshot import snapshot  # seldom needed

    name = more.get("database")
    if not isinstance(name, str):
        return
    with contextlib.suppress(PynunError, OSError), snapshot(data_dir) as now:
        if name in now.databases():
            return
    del more["database"]
    more["reason"] = str(more["reason"]).replace(repr(name), audit_events.HIDDEN)


@contextlib.contextmanager
def _as_owner(folder: Path) -> Iterator[None]:
    """As root, act as the folder's owner: a file made by root would lock the server out of its trail."""
    owner = folder.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    group = os.getegid()
    try:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
    except PermissionError:
        yield
        return
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
