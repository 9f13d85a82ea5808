"""What is doubtful about settings that are accepted, which the start logs, and what the start would refuse.

`nun-db check-config` prints both. Nothing is made or changed.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
from itertools import combinations
from typing import TYPE_CHECKING

from pynun.cluster_settings import CLUSTER_SETTINGS
from pynun.errors import StartError
from pynun.server.accepting.listeners import why_not_listen
from pynun.server.accepting.proxies import too_wide
from pynun.server.accepting.tls import Certificate
from pynun.server.startup.other_servers import refuse_other_servers
from pynun.setting_values import CARRIERS, Address, carriers_of_password
from pynun.storage.environment import unusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pynun.settings import Settings


def doubts(settings: Settings) -> list[str]:
    """Each in a sentence that says what to do."""
    found = [f"{name} has no effect: {_why_unused(name, settings)}" for name in settings.unused]
    found += [f"{name} is not a setting of this server: check the spelling" for name in settings.unknown]
    found += [
        f"NUN_TRUSTED_PROXIES holds {network}: everybody there can choose the address used for limits, login delays and"
        " the audit trail; name only your proxies"
        for network in too_wide(settings.trusted_proxies)
    ]
    carriers = carriers_of_password(settings.password)
    if others := [name for name in CARRIERS if name not in carriers]:
        found.append(
            f"NUN_PWD contains a semicolon, or white space at its end: {' and '.join(others)} clients and the nun-db "
            f"commands can't log in with it, only those of {' and '.join(carriers)} can"
        )
    return found


def _why_unused(name: str, settings: Settings) -> str:
    if settings.etcd_urls:
        return "this server is a node of a cluster (NUN_ETCD is set) and keeps its data in NUN_DBS_DIR"
    if name in {setting.name for setting in CLUSTER_SETTINGS}:
        return "this server is a single node, because NUN_ETCD is not set"
    return "this server is a single node that keeps its data in NUN_DBS_DIR"


def why_no_backups(settings: Settings) -> str | None:
    """Why the server would start, and make no backups."""
    folder = settings.backup_dir
    if folder is None or (why := _why_not_written(folder, must_exist=True)) is None:
        return None
    return f"no backups will be made, because the folder {folder} can't be used: {why.strerror}"


def refusals(settings: Settings) -> list[str]:
    """Why a start with these settings would fail, as far as can be seen without one."""
    return [*_refused_by_start(settings), *_refused_addresses(settings), *_refused_files(settings)]


def _refused_by_start(settings: Settings) -> Iterator[str]:
    try:
        refuse_other_servers(settings)
    except StartError as error:
        yield str(error)
    if settings.tls_cert is not None and settings.tls_key is not None:
        try:
            Certificate(settings.tls_cert, settings.tls_key)
        except StartError as error:
            yield str(error)


def _refused_addresses(settings: Settings) -> Iterator[str]:
    rows = [
        ("websocket", "NUN_WS_ADDR", settings.websocket_address),
        ("http", "NUN_HTTP_ADDR", settings.http_address),
        ("tcp", "NUN_TCP_ADDR", settings.tcp_address),
    ]
    if isinstance(settings.metrics, Address):
        rows.append(("metrics", "NUN_METRICS", settings.metrics))
    if isinstance(settings.console, Address):
        rows.append(("console", "NUN_CONSOLE", settings.console))
    if settings.etcd_urls:
        rows.append(("nodes", "NUN_CLUSTER_ADDR", settings.cluster_address))
    for name, variable, address in rows:
        if why := why_not_listen(name, variable, address):
            yield why
    for (_, first, one), (_, second, other) in combinations(rows, 2):
        if one.port == other.port != 0 and (one.host == other.host or _is_any(one) or _is_any(other)):
            yield f"{first} and {second} name the same port, {one.port}: choose another for one of them"


def _refused_files(settings: Settings) -> Iterator[str]:
    if why := _why_not_written(settings.data_dir):
        yield unusable(settings.data_dir, why)
    if settings.audit_file is not None and (settings.audit_file.is_absolute() or settings.data_dir.exists()):
        file = settings.data_dir / settings.audit_file
        why = _why_not_written(file.parent) if not file.exists() else None
        if file.is_dir():
            why = IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        elif file.exists() and not os.access(file, os.W_OK):
            why = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if why:
            yield (
                f"the audit trail {file} can't be written: {why.strerror}; choose another file with NUN_AUDIT_FILE, or"
                " none: NUN_AUDIT_FILE=off"
            )


def _why_not_written(folder: Path, *, must_exist: bool = False) -> OSError | None:
    """Why this process can't write into a folder, or make it."""
    while not must_exist and not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        return error
    if os.access(folder, os.W_OK | os.X_OK):
        return None
    code = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
    return OSError(code, os.strerror(code))


def on_all_addresses(settings: Settings) -> list[str]:
    """The transports that every network of the machine can reach."""
    addresses = {
        "websocket": settings.websocket_address,
        "http": settings.http_address,
        "tcp": settings.tcp_address,
    }
    return [name for name, address in addresses.items() if _is_any(address)]


def _is_any(address: Address) -> bool:
    with contextlib.suppress(ValueError):  # a host name
        return ipaddress.ip_address(address.host).is_unspecified
    return False
