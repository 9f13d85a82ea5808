"""Profiles of servers elsewhere, for people who administer several: addresses and logins in one file of their own.

`profiles.toml` has a table for each profile. Nobody else may read it, as with the keys of SSH.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pynun.cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATHS: Final = ("password_file", "ca")


class Profile(NamedTuple):
    """One server and a login; None: not given."""

    name: str
    url: str
    websocket_url: str | None = None
    user: str | None = None
    password: str | None = None
    password_file: str | None = None
    ca: str | None = None

    @property
    def environ(self) -> dict[str, str]:
        """The variables that would say the same."""
        found = {"NUN_USER": self.user, "NUN_PWD": self.password, "NUN_PWD_FILE": self.password_file}
        return {name: value for name, value in found.items() if value}

    def find_websocket_url(self) -> str:
        """The server's WebSocket address. Raises UsageError if it does not follow from the other."""
        if self.websocket_url:
            return self.websocket_url
        if self.url.startswith(("http://", "https://")) and self.url.rstrip("/").endswith(":3013"):
            return f"ws{self.url.removeprefix('http').rstrip('/').removesuffix('3013')}3012"
        raise UsageError(
            f"the profile {self.name!r} has no WebSocket address, which this command needs: add a line such as"
            ' websocket_url = "wss://HOST:3012"'
        )


def profiles_file(environ: Mapping[str, str]) -> Path:
    """The file with the profiles of this user."""
    folder = environ.get("XDG_CONFIG_HOME")
    return Path(folder or "~/.config").expanduser() / "pynun" / "profiles.toml"


def read_profile(name: str, environ: Mapping[str, str]) -> Profile:
    """The profile of that name. Raises UsageError."""
    import tomllib  # seldom needed

    file = profiles_file(environ)
    try:
        with file.open("rb") as opened:
            _check_private(file, os.fstat(opened.fileno()))
            profiles = tomllib.load(opened)
    except OSError as error:
        raise UsageError(f"the profiles in {file} can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the profiles in {file} are not valid TOML: {error}") from None
    if name not in profiles:
        raise UsageError(f"there is no profile {name!r} in {file}; the profiles are: {', '.join(profiles) or 'none'}")
    return _checked(name, profiles[name], file)


def _check_private(file: Path, about: os.stat_result) -> None:
    if about.st_uid != os.geteuid():
        raise UsageError(
            f"the profiles in {file} belong to another user: give this user a file of its own (HOME or XDG_CONFIG_HOME"
            " say where)"
        )
    if stat.S_IMODE(about.st_mode) & 0o077:
        raise UsageError(f"the profiles in {file} could be read or changed by others: run chmod 600 {file}")


def _checked(name: str, table: Any, file: Path) -> Profile:  # noqa: ANN401 - whatever the file has
    where = f"the profile {name!r} in {file}"
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise UsageError(f'{where} is not a table of texts: write [{name}] and lines such as url = "https://…"')
    names = Profile._fields[1:]
    if unknown := [key for key in table if key not in names]:
        raise UsageError(f"{where} has the unknown line {unknown[0]!r}; accepted: {', '.join(names)}")
    if not table.get("url"):
        raise UsageError(f'{where} has no address: add url = "https://HOST:3013"')
    if table["url"].startswith("unix:") and any(table.get(key) for key in ("user", "password", "password_file")):
        raise UsageError(f"{where} has a login, which the Unix socket does not need: take user and password out")
    if table.get("password") and table.get("password_file"):
        raise UsageError(f"{where} has both password and password_file: keep one of them")
    return Profile(
        name, **{key: str(Path(value).expanduser()) if key in _PATHS else value for key, value in table.items()}
    )
