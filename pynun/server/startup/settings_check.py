"""What is doubtful about settings that are accepted: the start logs it, and `nun-db check-config` prints it."""

from __future__ import annotations

import contextlib
import ipaddress
from typing import TYPE_CHECKING

from pynun.server.accepting.proxies import too_wide
from pynun.setting_values import CARRIERS, carriers_of_password

if TYPE_CHECKING:
    from pynun.settings import Settings


def doubts(settings: Settings) -> list[str]:
    """Each in a sentence that says what to do."""
    found = [
        f"{name} has no effect: this server is a single node that keeps its data in NUN_DBS_DIR"
        for name in settings.unused
    ]
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


def on_all_addresses(settings: Settings) -> list[str]:
    """The transports that every network of the machine can reach."""
    found = []
    for name, address in (
        ("websocket", settings.websocket_address),
        ("http", settings.http_address),
        ("tcp", settings.tcp_address),
    ):
        with contextlib.suppress(ValueError):  # a host name
            if ipaddress.ip_address(address.host).is_unspecified:
                found.append(name)
    return found
