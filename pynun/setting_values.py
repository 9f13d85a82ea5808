"""How the values of settings are read: each function takes the text and returns the value, or raises ValueError.

The text of the ValueError completes "accepted: …".
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_MAPPED_PREFIX_BITS: Final = 96
_BYTE_ORDER_MARK: Final = "\ufeff"
_STORE_FILES: Final = ("data.mdb", "lock.mdb", "server.lock")
"""Written by somebody else, the data is damaged; renamed, it is taken away (`pynun/storage/schema.py`)."""


class Address(NamedTuple):
    """A TCP address to listen on; an IPv6 host is without brackets here, port 0 means that the system chooses one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """`HOST:PORT`, `[IPv6]:PORT`, or `:PORT` for every IPv4 address of the machine. Raises ValueError."""
    match = re.fullmatch(
        r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>[^\s:/\[\]@]*)):(?P<port>[0-9]{1,5})", text
    )
    if match is None or (match["ipv6"] and ":" not in match["ipv6"]) or int(match["port"]) > 65535:
        raise ValueError("HOST:PORT, [IPv6]:PORT or :PORT, with a port from 0 to 65535")
    return Address(match["ipv6"] or match["host"] or "0.0.0.0", int(match["port"]))


_UNIT_BYTES = {
    "": 1, "b": 1,
    "k": 1024, "kib": 1024, "kb": 1000,
    "m": 1024**2, "mib": 1024**2, "mb": 1000**2,
    "g": 1024**3, "gib": 1024**3, "gb": 1000**3,
}  # fmt: skip


def size_bytes(smallest: int, largest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,15}) ?([A-Za-z]{0,3})", text)
        factor = _UNIT_BYTES.get(match[2].lower()) if match else None
        if match is None or factor is None or not smallest <= int(match[1]) * factor <= largest:
            raise ValueError(
                f"a number of bytes, or one with the unit KiB, MiB or GiB, from {format_size(smallest)}"
                f" to {format_size(largest)}"
            )
        return int(match[1]) * factor

    return parse


def format_size(size_bytes: int) -> str:
    """The size in the largest binary unit that expresses it exactly: `16MiB`."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return str(size_bytes)


def whole_number(smallest: int, largest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not smallest <= int(text) <= largest:
            raise ValueError(f"a whole number from {smallest} to {largest}")
        return int(text)

    return parse


_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def duration_seconds(smallest: int, largest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,9}) ?([smhdw]?)", text.lower())
        if match is None or not smallest <= int(match[1]) * _UNIT_SECONDS[match[2]] <= largest:
            raise ValueError(
                f"a number of seconds, or one with the unit s, m, h, d or w, from {smallest}s to {largest // 86_400}d"
            )
        return int(match[1]) * _UNIT_SECONDS[match[2]]

    return parse


def word(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"{', '.join(words[:-1])} or {words[-1]}")
        return text.lower()

    return parse


def is_on(text: str) -> bool:
    return word("on", "off")(text) == "on"


def is_one(text: str) -> bool:
    return word("0", "1")(text) == "1"


def user_name(text: str) -> str:
    if re.search(r"[ ;\r\n]", text) or text.startswith(_BYTE_ORDER_MARK):
        raise ValueError(
            "a name without spaces, semicolons, line breaks and a byte order mark (no client could send it)"
        )
    return text


CARRIERS: Final = ("WebSocket", "HTTP", "TCP")


def carriers_of_password(password: str) -> tuple[str, ...]:
    """The transports that can send a password as it is, at the end of an `auth` (docs/protocol.md section 1).

    None can send one that is empty, holds a line break, ends in a semicolon or begins with a byte order mark. On
    WebSocket and HTTP a semicolon ends a command, and on HTTP white space at its end is dropped.
    """
    if not password or re.search(r"[\r\n]|;\Z", password) or password.startswith(_BYTE_ORDER_MARK):
        return ()
    is_whole = ";" not in password
    is_carried = (is_whole, is_whole and password == password.rstrip(), True)
    return tuple(name for name, is_one in zip(CARRIERS, is_carried, strict=True) if is_one)


def password(text: str) -> str:
    if not carriers_of_password(text):
        raise ValueError(
            "text without line breaks, a semicolon at its end (no client could send it) or a byte order mark"
        )
    return text


class Identity(NamedTuple):
    """Who a process runs as: the numbers of a user and a group."""

    user: int
    group: int

    def __str__(self) -> str:
        return f"{self.user}:{self.group}"


def identity(text: str) -> Identity:
    match = re.fullmatch(r"([1-9][0-9]{0,9}):([1-9][0-9]{0,9})", text)
    if match is None or max(map(int, match.groups())) >= 2**32 - 1:
        raise ValueError("USER:GROUP, both as numbers and neither of them 0, such as 65532:65532")
    return Identity(int(match[1]), int(match[2]))


def folder(text: str) -> Path:
    if "\0" in text:
        raise ValueError("the path of a folder")
    return Path(text)


def file(text: str) -> Path:
    if "\0" in text:
        raise ValueError("the path of a file")
    return Path(text)


def file_or_off(text: str) -> Path | None:
    """A file that is none of the store's own; None for `off`."""
    if "\0" in text:
        raise ValueError("the path of a file, or off")
    if Path(text).name in _STORE_FILES:
        raise ValueError(f"the path of a file, or off; {', '.join(_STORE_FILES)} are files of the data folder")
    return None if text.lower() == "off" else Path(text)


def host_and_port_text(text: str) -> str:
    """An address as others see it: kept as text, for only clients resolve it."""
    if re.search(r"\s", text):
        raise ValueError("HOST:PORT")
    return text


def comma_separated(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def origins(text: str) -> tuple[str, ...]:
    """Origins as browsers send them (RFC 6454 section 6.2): in lower case, without the scheme's usual port."""
    found: list[str] = []
    for part in comma_separated(text):
        match = re.fullmatch(r"(https?)://([^\s/:,@?#]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", part.lower())
        if match is None:
            raise ValueError(
                "https://HOST or https://HOST:PORT (or http), without a path, several separated by commas; leave it"
                " unset to allow all"
            )
        scheme, host, port = match.groups()
        is_usual = port is None or int(port) == (443 if scheme == "https" else 80)
        found.append(f"{scheme}://{host}" if is_usual else f"{scheme}://{host}:{int(port)}")
    return tuple(found)


def etcd_urls(text: str) -> tuple[str, ...]:
    """Addresses of etcd's members, without a path."""
    found = []
    for part in comma_separated(text):
        match = re.fullmatch(r"(https?://(?:[^\s/:,@?#\[\]]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?)/?", part)
        if match is None or not 0 < int(match[2] or 2379) < 65536:
            raise ValueError("http://HOST:PORT or https://HOST:PORT, several separated by commas")
        found.append(match[1])
    return tuple(found)


def short_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", text):
        raise ValueError("up to 63 letters, digits, dots, hyphens and underscores; the first a letter or a digit")
    return text


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(text: str) -> tuple[Network, ...]:
    """Addresses and networks; an IPv4 network also if it is written as IPv6."""
    try:
        return tuple(_ipv4_if_mapped(ipaddress.ip_network(part)) for part in comma_separated(text))
    except ValueError:
        raise ValueError(
            "addresses and networks such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32 (no bits set after the prefix),"
            " separated by commas"
        ) from None


def _ipv4_if_mapped(network: Network) -> Network:
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is None or network.prefixlen < _MAPPED_PREFIX_BITS:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_PREFIX_BITS))


def text(text: str) -> str:
    return text


def storage_strategy(text: str) -> str:
    if text.lower() != "disk":
        raise ValueError(
            "disk. This version can't keep data in S3: unset it, and keep NUN_DBS_DIR on a disk or volume that stays"
        )
    return "disk"


def on_off_or_address(text: str) -> bool | Address:
    """Whether the HTTP port has pages of one kind, or where else they are."""
    if text.lower() in ("on", "off"):
        return text.lower() == "on"
    try:
        return parse_address(text)
    except ValueError as error:
        raise ValueError(f"on, off, or {error}") from None
