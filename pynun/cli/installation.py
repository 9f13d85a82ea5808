"""Where the server of this machine keeps its data: what the environment says, or an installation's settings file.

The file is the one in NUN_ENV_FILE, else that of install.sh. Only commands read it. `start` takes its settings from
its environment.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from pynun.cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ENV_FILE: Final = "NUN_ENV_FILE"
DATA_DIR: Final = "NUN_DBS_DIR"
_SETTINGS_FILE: Final = "pynun.env"
_CONFIG_DIR: Final = "/etc/pynun"
_ESCAPED: Final = '"\\$`'


class DataFolder(NamedTuple):
    """A server's data folder, and how it was found."""

    path: Path
    source: str | None
    """What named it, in words; None: nothing did, and it is the default."""
    settings: Mapping[str, str]
    """The settings of the file that named it; empty if another thing did."""


def find_data_folder(environ: Mapping[str, str]) -> DataFolder:
    """The data folder of the server that commands without further options are for. Raises UsageError."""
    if folder := environ.get(DATA_DIR):
        return DataFolder(Path(folder), DATA_DIR, {})
    return _installed_folder(environ) or DataFolder(Path("dbs"), None, {})


def environment_for(folder: Path, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment, with the settings of the installation where it is silent, if this is its folder.

    Raises UsageError.
    """
    installed = _installed_folder(environ)
    if installed is None or installed.path.resolve() != folder.resolve():
        return environ
    return {**installed.settings, **{name: value for name, value in environ.items() if value}}


def _installed_folder(environ: Mapping[str, str]) -> DataFolder | None:
    conf = _install_conf()
    named = environ.get(ENV_FILE)
    file, base = _settings_file(named, conf), Path() if named else Path(conf.get("data_dir", ""))
    try:
        settings = read_settings(file)
    except (OSError, UnicodeError) as error:
        if named:
            raise UsageError(f"{ENV_FILE}: the file {named!r} can't be read: {_reason(error)}") from None
        # The server's user may not read the settings.
        return DataFolder(base, "the installation", {}) if "data_dir" in conf else None
    return DataFolder(base / (settings.get(DATA_DIR) or "dbs"), f"{DATA_DIR} in {file}", settings)


def settings_of_server(environ: Mapping[str, str], given: str | None) -> tuple[Mapping[str, str], Path | None]:
    """The settings of that server, and the file that holds them: `given`, else the file in the environment, else the
    installation's. Without an installation, the environment and None. Raises UsageError.
    """
    conf = _install_conf()
    named = given or environ.get(ENV_FILE)
    file = _settings_file(named, conf)
    try:
        settings = read_settings(file)
    except (OSError, UnicodeError) as error:
        if named:
            source = "--env-file" if given else ENV_FILE
            raise UsageError(f"{source}: the file {named!r} can't be read: {_reason(error)}") from None
        if isinstance(error, FileNotFoundError) and not conf:
            return environ, None
        raise UsageError(
            f"the installation's settings in {file} can't be read: {_reason(error)}; run it as root, or check the "
            "settings in the environment with --environment"
        ) from None
    if not named:  # systemd starts the server there
        settings[DATA_DIR] = str(Path(conf.get("data_dir", "")) / (settings.get(DATA_DIR) or "dbs"))
    return settings, file


def _settings_file(named: str | None, conf: Mapping[str, str]) -> Path:
    return Path(named) if named else Path(conf.get("config_dir", _CONFIG_DIR), _SETTINGS_FILE)


def _reason(error: OSError | UnicodeError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else "it is not UTF-8 text"


def read_settings(file: Path) -> dict[str, str]:
    """The settings in a file for systemd (EnvironmentFile= in systemd.exec(5)). Raises OSError and UnicodeError."""
    return _assignments(file.read_text(encoding="utf-8").replace("\\\n", "").splitlines())


def exported_settings(file: Path) -> list[str]:
    """The settings in that file behind `export`, which a shell takes and systemd ignores."""
    words = [line.partition("=")[0].split() for line in file.read_text(encoding="utf-8").splitlines() if "=" in line]
    return [line[1] for line in words if len(line) == 2 and line[0] == "export"]


def _install_conf() -> dict[str, str]:
    """What install.sh noted beside the program that runs; empty if it did not install it."""
    try:
        prefix = Path(sys.prefix).resolve()
        file = prefix.parents[1] / "install.conf"
        if file.stat().st_uid not in (0, prefix.stat().st_uid):
            return {}  # of somebody who did not install this program, in a folder such as /tmp
        return _assignments(file.read_text(encoding="utf-8").splitlines())
    except (OSError, IndexError, UnicodeError):
        return {}


def _assignments(lines: Iterable[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        name, sign, value = line.strip().removeprefix("export ").partition("=")
        if sign and name[:1] not in ("#", ";"):
            found[name.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    if len(value) < 2 or value[0] != value[-1] or value[0] not in "\"'":
        return value
    text = value[1:-1]
    if value[0] == '"':
        for character in _ESCAPED:
            text = text.replace(f"\\{character}", character)
    return text


class LocalServer(NamedTuple):
    """What is at the Unix socket of that server."""

    folder: Path
    url: str | None = None
    """The socket, if this user gets in there without a password."""
    is_stopped: bool = False
    """Whether nothing listens there."""
    is_forbidden: bool = False
    """Whether this user may not go there, but root may."""


def find_local_server() -> LocalServer:
    """The Unix socket of that server. Raises UsageError."""
    from pynun import unix_socket

    found = find_data_folder(os.environ)
    folder = found.path.resolve()
    path = folder / unix_socket.SOCKET_NAME
    try:
        if found.source is None and folder.stat().st_uid not in (0, os.geteuid()):
            return LocalServer(folder)  # in whatever folder one is, another user may wait for tokens and passwords
        unix_socket.connect(path, _CONNECT_SECONDS).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return LocalServer(folder, is_stopped=found.source is not None or folder.is_dir())
    except OSError as error:
        return LocalServer(folder, is_forbidden=isinstance(error, PermissionError) and os.geteuid() != 0)
    return LocalServer(folder, f"{unix_socket.SCHEME}{path}")


_CONNECT_SECONDS: Final = 1.0
"""Only a server that hangs takes so long."""
