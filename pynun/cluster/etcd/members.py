"""The members of etcd as this node reaches them: addresses, TLS, the login, and which of them to ask."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from pynun.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from urllib.parse import SplitResult


class Member(NamedTuple):
    """The address of one member's client port."""

    host: str
    port: int
    is_tls: bool

    @property
    def authority(self) -> str:
        """`HOST:PORT` as HTTP and messages write it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://{self.authority}"


class Login(NamedTuple):
    """A user of etcd."""

    user: str
    password: str


class Members(NamedTuple):
    """Where etcd is, and who asks."""

    members: tuple[Member, ...]
    """At least one. The first is asked first: put the one on the same machine there."""
    tls: ssl.SSLContext | None = None
    """For the members that need it."""
    login: Login | None = None


SETTINGS_FIELDS: Final = ("etcd_urls", "etcd_ca", "etcd_cert", "etcd_key", "etcd_user", "etcd_password")


def etcd_members(
    urls: tuple[str, ...], ca: Path | None, cert: Path | None, key: Path | None, user: str | None, password: str | None
) -> Members:
    """etcd, by the values of the settings of `SETTINGS_FIELDS`. Raises SettingsError."""
    found = parse_urls(urls)
    tls = tls_context(ca, cert, key) if any(member.is_tls for member in found) else None
    return Members(found, tls, None if user is None or password is None else Login(user, password))


def parse_urls(urls: Iterable[str]) -> tuple[Member, ...]:
    """The members at these URLs, each once, as `pynun.setting_values.etcd_urls` lets them pass."""
    return tuple(dict.fromkeys(_member(urlsplit(url)) for url in urls))


def _member(split: SplitResult) -> Member:
    assert split.hostname is not None
    return Member(split.hostname, split.port or 2379, split.scheme == "https")


def tls_context(ca_file: Path | None, certificate_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    """What to trust, the system's certificates without `ca_file`, and what to show. Raises SettingsError."""
    context = ssl.create_default_context()
    try:
        if ca_file is not None:
            context = ssl.create_default_context(cafile=ca_file)
        if certificate_file is not None:
            context.load_cert_chain(certificate_file, key_file)
    except (OSError, ssl.SSLError) as error:
        names = ", ".join(str(name) for name in (ca_file, certificate_file, key_file) if name is not None)
        raise SettingsError(f"etcd's certificates can't be used ({names}): {error}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


class Turn:
    """Whose turn it is to be asked: the same member while it answers, then the next."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self._place = 0
        self._failures = 0

    @property
    def member(self) -> Member:
        """The one to ask."""
        return self._members[self._place]

    def succeeded(self) -> None:
        """It answered."""
        self._failures = 0

    def failed(self, member: Member) -> bool:
        """It did not: now the next one is asked. True if all have failed in a row, so that you should wait."""
        if member == self.member:
            self._place = (self._place + 1) % len(self._members)
        self._failures += 1
        return self._failures % len(self._members) == 0
