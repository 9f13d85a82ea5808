"""What a browser sends for the console's page, without a browser."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from tools.clients.exact_clients import HttpClient, HttpResponse, WebSocketClient

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from tools.clients.server import Address


def login_header(user: str, secret: str, database: str = "") -> str:
    """The header that logs in."""
    given = json.dumps({"user": user, "secret": secret, "database": database})
    return f"X-Nun-Console: {base64.urlsafe_b64encode(given.encode()).decode().rstrip('=')}"


class Browser:
    """Keeps the cookie of one server's console."""

    def __init__(
        self, address: Address, *, tls: ssl.SSLContext | None = None, headers: Iterable[str] = (), root: str = ""
    ) -> None:
        """`root` is the path of the HTTP port, behind a proxy."""
        self.address = address
        self._root = root
        self.cookie = ""
        self.set_cookie = ""
        self._tls = tls
        self._headers = tuple(headers)

    def get(self, path: str, *headers: str, method: str = "GET") -> HttpResponse:
        """Get a page as the console's own page does."""
        with HttpClient(self.address, tls=self._tls) as client:
            given = ("X-Nun-Console: 1",) if not any(one.startswith("X-Nun-Console") for one in headers) else ()
            cookie = (f"Cookie: {self.cookie}",) if self.cookie else ()
            found = client.request(
                b"", method=method, path=self._root + path, headers=(*self._headers, *given, *cookie, *headers)
            )
        if "set-cookie" in found.headers:
            self.set_cookie = found.headers["set-cookie"]
            self.cookie = self.set_cookie.partition(";")[0]
        return found

    def log_in(self, user: str, secret: str, database: str = "") -> HttpResponse:
        """Log in, as an administrator or a user of a database."""
        return self.get("/console/login", login_header(user, secret, database))

    def json(self, page: str, *headers: str) -> Any:  # noqa: ANN401
        """The JSON of one of the console's pages."""
        found = self.get(f"/console/{page}", *headers)
        assert found.status == 200, found.text
        return json.loads(found.body)

    def login(self) -> dict[str, Any] | None:
        """Who is logged in; None if nobody is."""
        login: dict[str, Any] | None = self.json("session")["login"]
        return login

    def socket(self, *headers: str) -> WebSocketClient:
        """Open the page's WebSocket."""
        scheme = "http" if self._tls is None else "https"
        given = headers or (f"Origin: {scheme}://{self.address}",)
        lines = (*self._headers, f"Cookie: {self.cookie}", *given)
        return WebSocketClient(self.address, path=f"{self._root}/console/socket", headers=lines, tls=self._tls)


def changes_in(message: str) -> dict[str, Any]:
    """What a message `console-changes` tells."""
    word, _, text = message.partition(" ")
    assert word == "console-changes", message
    told: dict[str, Any] = json.loads(text)
    return told
