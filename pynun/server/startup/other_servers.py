"""Refuse a NUN_REPLICATE_ADDR that names other servers, without NUN_ETCD: nothing would be replicated to them.

Set-ups of one server often list only that server itself. That is accepted.
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Any

from pynun.errors import StartError

if TYPE_CHECKING:
    from pynun.settings import Settings


def refuse_other_servers(settings: Settings) -> None:
    """Raise StartError if the list names a server other than this one. May query DNS."""
    if settings.etcd_urls:
        return
    others = [address for address in settings.replicate_addresses if not _is_own(address, settings)]
    if others:
        raise StartError(
            f"NUN_REPLICATE_ADDR (or -r) names another server ({', '.join(others)}), but nodes share data through etcd:"
            " set NUN_ETCD (docs/cluster.md), or unset it to run this server alone. If that is this server's own"
            " address, give it as NUN_EXTERNAL_ADDR too"
        )


def _is_own(address: str, settings: Settings) -> bool:
    if address in (settings.external_address, str(settings.tcp_address)):
        return True
    match = re.fullmatch(r"\[?(?P<host>[^\s\[\]/@]*?)\]?(?::(?P<port>[0-9]{1,5}))?", address)
    if match is None or (match["port"] and int(match["port"]) != settings.tcp_address.port):
        return False
    return _is_of_this_machine(match["host"])


def _is_of_this_machine(host: str) -> bool:
    """Whether it is a name or address of this machine only."""
    if host.lower() in ("", "0.0.0.0", "::", "localhost", socket.gethostname().lower()):
        return True
    try:
        found = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)
        return all(_is_own_source(family, address[0], address) for family, _, _, _, address in found)
    except (OSError, UnicodeError):
        return False


def _is_own_source(family: int, ip: object, address: tuple[Any, ...]) -> bool:
    """Whether the address is local: the system would send to it from itself. Sends nothing. Raises OSError."""
    if str(ip).startswith("127."):
        return True
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.connect(address)
        return bool(one.getsockname()[0] == ip)
