"""What no command says and the console shows: settings, licences, the audit trail, backups. Secrets are masked.

All of it may read files, so it runs in threads.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import json
import platform
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Final

from pynun import __version__, limits
from pynun.backup import folder as backup_folder
from pynun.backup.file_format import verify_backup
from pynun.errors import NoBackupError
from pynun.server.console.asked import MASK
from pynun.setting_values import Address, Identity, format_size
from pynun.settings import SETTINGS
from pynun.timestamps import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pynun.setting import Setting
    from pynun.settings import Settings

VENDORED: Final = (
    {"name": "lit-html", "version": "3.3.3", "licence": "BSD-3-Clause"},
    {"name": "uPlot", "version": "1.6.32", "licence": "MIT"},
)
"""The libraries in the console's page (docs/dependencies.md)."""

_AUDIT_FILTERS: Final = ("event", "outcome", "address", "database", "user")


def settings_in_force(settings: Settings) -> list[dict[str, object]]:
    """Every setting with its value, whether that is the default, and what it means."""
    rows: list[dict[str, object]] = []
    for setting in SETTINGS:
        if not setting.field:
            continue
        value = getattr(settings, setting.field)
        is_default = bool(setting.default) and value == setting.parse(setting.default)
        text = setting.default if is_default else _text_of(value, setting)
        rows.append(
            {
                "name": setting.name,
                "value": MASK if setting.secret else text,
                "is_default": is_default or value in (None, ()),
                "default": setting.default,
                "unit": setting.unit,
                "help": setting.help,
            }
        )
    return rows


def _text_of(value: object, setting: Setting) -> str:
    """The text that gives this value."""
    match value:
        case None:
            return ""
        case bool() if setting.default in ("0", "1"):
            return "1" if value else "0"
        case bool():
            return "on" if value else "off"
        case enum.Enum():
            return str(value.value)
        case Address() | Identity():  # tuples too
            return str(value)
        case tuple():
            return ",".join(map(str, value))
        case int() if setting.unit == "bytes":
            return format_size(value)
    return str(value)


@functools.cache
def licences() -> list[dict[str, str]]:
    """This package, the packages that run in this process, and what its page holds: name, version and licence.

    Gathered once: it holds up others for tens of milliseconds.
    """
    found = [
        {"name": "pynun", "version": __version__, "licence": "MIT"},
        {"name": "Python", "version": platform.python_version(), "licence": "PSF-2.0"},
    ]
    loaded = {name.partition(".")[0] for name in list(sys.modules)}
    packages = {
        name for module, names in metadata.packages_distributions().items() if module in loaded for name in names
    }
    names = sorted(packages - {"pynun"}, key=str.lower)
    found += [{"name": name, "version": metadata.version(name), "licence": _licence(name)} for name in names]
    return [*found, *VENDORED]


def _licence(name: str) -> str:
    fields = metadata.metadata(name)
    for field in ("License-Expression", "License"):
        for text in fields.get_all(field) or []:
            return str(text).splitlines()[0][:60]
    names = [str(line).rpartition(" :: ")[2] for line in fields.get_all("Classifier") or [] if "License ::" in line]
    return ", ".join(names)


def audit_tail(path: Path | None, asked: Mapping[str, str]) -> dict[str, object]:
    """The newest lines of the audit trail that match what was asked for, newest first.

    `asked` may have texts that must be in the `event`, `outcome`, `address`, `database` and `user`, in any case, and a
    `text` that must be in the line. Raises OSError.
    """
    if path is None:
        return {"lines": [], "is_off": True, "is_cut": False}
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            begin = max(0, size - limits.CONSOLE_AUDIT_BYTES)
            file.seek(begin)
            raw = file.read(limits.CONSOLE_AUDIT_BYTES).split(b"\n")
    except FileNotFoundError:
        return {"lines": [], "is_off": False, "is_cut": False}
    found: list[dict[str, object]] = []
    text = asked.get("text", "").lower()
    wanted = {name: asked[name].lower() for name in _AUDIT_FILTERS if asked.get(name)}
    for line in reversed(raw[1:] if begin else raw):
        if len(found) >= limits.CONSOLE_AUDIT_LINES_MAX:
            break
        try:
            fields = json.loads(line)
        except ValueError:
            continue  # the end of the file, or a line that the machine did not finish
        if not isinstance(fields, dict) or any(
            value not in str(fields.get(name) or "").lower() for name, value in wanted.items()
        ):
            continue
        if text and text not in json.dumps(fields, ensure_ascii=False).lower():
            continue
        found.append(fields)
    return {"lines": found, "is_off": False, "is_cut": begin > 0 or len(found) >= limits.CONSOLE_AUDIT_LINES_MAX}


def backups_of(folder: Path) -> list[dict[str, object]]:
    """The backups in the folder, newest first; none if it is missing. Raises OSError."""
    rows: list[dict[str, object]] = []
    if not folder.exists():
        return rows
    for path in _backup_files(folder):
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            about = path.stat()
            rows.append({"name": path.name, "bytes": about.st_size, "made": timestamp(about.st_mtime_ns)})
    return rows[::-1]


def backup_file(folder: Path, name: str) -> Path:
    """The backup of that name in the folder. Raises NoBackupError; no name leads out of the folder."""
    for path in _backup_files(folder):
        if path.name == name:
            return path
    raise NoBackupError(f"there is no backup {name} in {folder}")


def _backup_files(folder: Path) -> list[Path]:
    """The backups in the folder, oldest first; no links, which may lead out of it."""
    return [path for path in backup_folder.backups(folder) if path.is_file() and not path.is_symlink()]


def verified(folder: Path, name: str) -> dict[str, object]:
    """Check a backup: every byte and entry. Raises BackupError."""
    found = verify_backup(backup_file(folder, name), lambda *_: None)
    databases = [{"name": one, "keys": keys} for one, keys in sorted(found.counts.databases.items())]
    return {"name": name, "made": found.contents.made, "version": found.contents.version, "databases": databases}
