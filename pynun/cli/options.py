"""Arguments and options shared by commands, and the values of the options before the command."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pynun.cli.errors import NoConnectionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pynun.cli.certificate_authority import Authority
    from pynun.cli.installation import LocalServer
    from pynun.cli.profiles import Profile

DEFAULT_HTTP_URL = "http://127.0.0.1:3013"
DEFAULT_WEBSOCKET_URL = "ws://127.0.0.1:3012"
TIMEOUT_SECONDS_DEFAULT = 30
TIMEOUT_SECONDS_MAX = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class Connection:
    """The options before the command."""

    user: str | None
    password: str | None
    password_file: str | None
    host: str | None
    given_authority: Authority
    profile_name: str | None = None

    @property
    def profile(self) -> Profile | None:
        """The profile to use; None: none. Raises UsageError."""
        if self.profile_name and self.host:
            raise UsageError("-h/--host and --profile can't be combined: the profile has the address")
        name = self.profile_name or (None if self.host else os.environ.get("NUN_PROFILE"))
        if not name:
            return None
        from pynun.cli.profiles import read_profile  # seldom needed

        return read_profile(name, os.environ)

    @property
    def authority(self) -> Authority:
        """Which CA to trust. Raises UsageError."""
        profile = self.profile
        return self.given_authority if profile is None else self.given_authority._replace(variable=profile.ca)

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment for a login: with a profile, what the profile has in place of it. Raises UsageError."""
        profile = self.profile
        return os.environ if profile is None else profile.environ

    @property
    def has_login(self) -> bool:
        """Whether user or password are among the options."""
        return bool(self.user or self.password or self.password_file)

    def http_url(self) -> str:
        """The server's HTTP address: given, or the Unix socket of this machine's server, or the default."""
        profile = self.profile
        return self.host or (profile.url if profile else self._local_server().url) or DEFAULT_HTTP_URL

    def websocket_url(self) -> str:
        """The server's WebSocket address, found in the same way. Raises UsageError."""
        if (profile := self.profile) is not None:
            return profile.find_websocket_url()
        if not self.host:
            return self._local_server().url or DEFAULT_WEBSOCKET_URL
        if self.host.startswith(("ws://", "wss://", "unix:")):
            return self.host
        if "://" not in self.host and "/" not in self.host:
            has_port = self.host.rpartition("]")[2].rpartition(":")[1]
            return f"ws://{self.host}" if has_port else f"ws://{self.host}:3012"
        raise UsageError(
            f"{self.host!r} is not the server's WebSocket address; give one such as -h {DEFAULT_WEBSOCKET_URL}"
        )

    def missing_login_hint(self) -> str:
        """What to add to the message that a login is missing.

        Raises NoConnectionError if it is for this machine's server, and that is stopped.
        """
        if self.host or self.profile is not None:
            return ""
        local = self._local_server()
        if local.is_stopped:
            raise NoConnectionError(
                f"no server runs on {local.folder}: nothing listens at its server.sock; start it, or name another"
                " server and a login (-h, -u)"
            )
        return "; root needs no login on the server's machine (sudo)" if local.is_forbidden else ""

    def _local_server(self) -> LocalServer:
        """This machine's server, at whose socket no login is needed; nothing if another login is wanted."""
        from pynun.cli.installation import LocalServer, find_local_server  # not for all commands

        return LocalServer(Path()) if self.has_login or self.given_authority.option else find_local_server()


class Strategy(StrEnum):
    """What a database does with conflicting changes (docs/protocol.md section 5)."""

    none = "none"
    newer = "newer"
    arbiter = "arbiter"


Timeout = Annotated[
    int,
    typer.Option(
        "--timeout", metavar="SECONDS", min=1, max=TIMEOUT_SECONDS_MAX, help="How long to wait for the server."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on one line, for programs.")]
DatabaseName = Annotated[str, typer.Argument(metavar="DATABASE", help="The database's name.")]
UserName = Annotated[str, typer.Argument(metavar="USER", help="The user's name.")]
DatabaseUser = Annotated[
    str | None,
    typer.Option("--database-user", metavar="USER", help="Select it as this user, with the user's token."),
]
Token = Annotated[
    str | None,
    typer.Option("-t", "--token", metavar="TOKEN", help="Its token; else --token-file, NUN_TOKEN or a prompt."),
]
NewToken = Annotated[
    str | None,
    typer.Option("-t", "--token", metavar="TOKEN", help="The new token; else --token-file, NUN_TOKEN or a prompt."),
]
TokenFile = Annotated[str | None, typer.Option("--token-file", metavar="FILE", help="A file that contains the token.")]
Generate = Annotated[bool, typer.Option("--generate", help="Generate a token, and show it once.")]
NewPasswordFile = Annotated[
    str | None, typer.Option("--new-pwd-file", metavar="FILE", help="A file that holds the new password.")
]
GeneratePassword = Annotated[bool, typer.Option("--generate", help="Generate a password, and show it once.")]
