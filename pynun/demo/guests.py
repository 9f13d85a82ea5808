"""The demo's database and the user that its page logs in as, created for every run.

Token and password are random for each run; a page of an earlier run fetches the new ones.
"""

from __future__ import annotations

import http.client
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from pynun.errors import StartError

if TYPE_CHECKING:
    from pynun.setting_values import Address

DATABASE: Final = "pynun-demo"
USER: Final = "guest"
VIEWER_ROOM: Final = "demo-viewer"
"""The room (`key`) of the viewers in `nun-db demo --ohif`."""

PERMISSIONS: Final = "rw demo-*|rwx demo-viewer-*|r $connections"
"""The page reads and writes its own keys, and reads how many are connected (docs/protocol.md section 3)."""

_TIMEOUT_SECONDS: Final = 15.0
_TOKEN_BYTES: Final = 18


class Guest(NamedTuple):
    """What the page needs to log in."""

    database: str
    user: str
    token: str


def new_secret() -> str:
    """Return a random word that fits into a command: 24 letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def prepare_guest(http_address: Address, user: str, password: str) -> Guest:
    """Create the database and its user on the server at this HTTP address; an earlier run's database is kept.

    `user` and `password` are the administrator's. Raises StartError.
    """
    database_token, guest_token = new_secret(), new_secret()
    results = _post(
        http_address,
        f"auth {user} {password}; create-db {DATABASE} {database_token};"
        # An earlier run's database has another token, which the administrator may replace.
        f" replicate {DATABASE} $$token -1 {database_token};"
        f" use-db {DATABASE} {database_token}; create-user {USER} {guest_token}; set-permissions {USER} {PERMISSIONS}",
    )
    created = results[1:2]
    if created not in (["create-db success"], ["database already exists"]) or results[2:] != ["empty"] * 4:
        raise StartError(f"the demo's database could not be created: the server said {'; '.join(results)}")
    return Guest(DATABASE, USER, guest_token)


def _post(address: Address, commands: str) -> list[str]:
    """Run commands in one request; return their results, trimmed."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("POST", "/", commands.encode())
        text = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise StartError(f"the demo's database could not be created: {error}") from None
    finally:
        connection.close()
    return [result.strip() for result in text.split(";")]
