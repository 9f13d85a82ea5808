"""The commands of one HTTP request, in a session of their own."""

from __future__ import annotations

import time
from sys import getsizeof
from typing import TYPE_CHECKING, Final

from pynun import limits
from pynun.protocol import framing, messages
from pynun.transports.http.responses import page_response
from pynun.transports.http.results import ResultsOutbox
from pynun.transports.pages import Page
from pynun.transports.peer import ConnectionPeer

if TYPE_CHECKING:
    import socket

    from pynun.engine.effects import Suspension
    from pynun.transports.client_address import Client
    from pynun.transports.http.request_reader import Request
    from pynun.transports.service import Service

_RESULTS_TOO_BIG: Final = Page(413, b"the results are too big: ask for them in several requests")
_INVALID_UTF8: Final = Page(400, messages.INVALID_UTF8.encode())


class RequestRun:
    """The commands of one request, run until something has to be waited for, and then on."""

    __slots__ = ("_began", "_commands", "_had_logged_in", "_number", "_service", "_session", "_text", "fields",
                 "outbox", "page", "request", "suspension")  # fmt: skip

    def __init__(
        self, service: Service, connected: socket.socket, client: Client, request: Request, fields: bytes = b""
    ) -> None:
        self._began = time.perf_counter()
        self._service = service
        self.request = request
        self.fields = fields
        """Further header lines of the response."""
        self.page: Page | None = None
        """The response; None until it is known."""
        self.outbox = ResultsOutbox(service.engine.view)
        self.suspension: Suspension | None = None
        """A command that waits for something: to be driven before `go_on` is called again."""
        self._session = service.open_session(self.outbox, ConnectionPeer("http", connected, self.outbox, client))
        self._number = 0
        self._had_logged_in = False
        try:
            self._text = request.body.decode()
        except UnicodeDecodeError:
            self._text = ""
            self.page = _INVALID_UTF8
        self._commands = framing.http_commands(self._text)

    @property
    def held_bytes(self) -> int:
        """Approximate memory of commands and results."""
        return len(self.request.body) + getsizeof(self._text) + self.outbox.held_bytes

    def has_logged_in(self) -> bool:
        """Whether the client has shown a secret that was valid, or still is while commands run."""
        return self._had_logged_in if self._session.is_closed else self._session.has_logged_in()

    def log_in(self, user: str, password: str) -> None:
        """Run `auth` instead of the request's commands."""
        self._commands = iter((f"auth {user} {password}",))

    def go_on(self) -> bool:
        """Run commands; False if `suspension` has to be driven first, or, without one, others get their turn."""
        execute = self._session.execute
        for command in self._commands:
            if self.outbox.size > self._service.outbox_bytes_max:  # including the last result, which may be longer
                self.page = _RESULTS_TOO_BIG
                self._commands = iter(())
                break
            self.suspension = execute(command)
            self._number += 1
            if self.suspension is not None or self._number % limits.SLICE_COMMANDS == 0:
                return False
        self.close()
        return True

    def close(self) -> None:
        """End the session: the request leaves `$connections`. Safe to call twice."""
        if self.suspension is not None:
            self.suspension.close()
        if not self._session.is_closed:
            self._had_logged_in = self._session.has_logged_in()
            self._session.close()

    def response(self) -> bytes:
        """The response, once the results are not held; counted as given."""
        if self.page is None:
            self.page = Page(200, self.outbox.body().encode())
        counters = self._service.counters
        counters.http_request_seconds.observe(time.perf_counter() - self._began)
        counters.http_answers[self.page.status] += 1
        return page_response(self.page, self.request, self.fields)
