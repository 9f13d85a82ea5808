"""Answer health checks during a long start that imports data.

A thread does the work. Meanwhile a loop serves the server's pages on the HTTP and WebSocket ports, on the Unix socket
and on the address in NUN_METRICS, if any. Every other request to these, WebSocket handshakes too, gets the answer of
/readyz. TCP clients are connected by the kernel and wait until the data is ready.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import outcome
import trio

from pynun.server.accepting.accept import Transport
from pynun.transports.counters import Counters
from pynun.transports.http.page_server import serve_pages
from pynun.transports.http.responses import HTTP_PLAIN_TEXT_REFUSAL, HTTP_REFUSAL

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pynun.server.accepting.accept import Acceptor
    from pynun.server.accepting.listeners import Listeners
    from pynun.server.accepting.tls import Certificate
    from pynun.server.monitoring.endpoint import Monitoring
    from pynun.settings import Settings
    from pynun.transports.client_address import Client

_Result = TypeVar("_Result")


class StatusPage:
    """The parts of a server that exist before its data."""

    def __init__(
        self,
        settings: Settings,
        listeners: Listeners,
        certificate: Certificate | None,
        acceptor: Acceptor,
        monitoring: Monitoring,
    ) -> None:
        self._listeners = listeners
        self._certificate = certificate
        self._acceptor = acceptor
        self.monitoring = monitoring
        self.handshake_seconds: float = settings.handshake_seconds
        self.counters = Counters()
        """Not in the metrics, which begin when clients are served."""
        self.waits_to_cancel: set[trio.CancelScope] = set()

    def tell(self, doing: str) -> None:
        """Set the current step. Any thread may call it. Anyone can read the text, so it must hold no names."""
        self.monitoring.health.doing = doing

    def run(self, work: Callable[[], _Result]) -> _Result:
        """Do the work in a thread and answer meanwhile. Returns or raises what the work does."""
        try:
            return trio.run(self._run, work)
        finally:
            self.tell("")

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        async with trio.open_nursery() as answering:
            listeners = self._listeners
            for opened, transport in (
                (listeners.http, _HTTP),
                (listeners.websocket, _WEBSOCKET),
                (listeners.local, _HTTP),
            ):
                if opened is None:
                    continue
                handler = partial(self._acceptor.handle, transport, self, trio.Event())
                # Duplicates, because `serve_listeners` closes its listeners.
                listener = opened.duplicate()
                answering.start_soon(partial(trio.serve_listeners, handler, [listener], handler_nursery=answering))
            if listeners.metrics is not None:
                answering.start_soon(self.monitoring.serve, listeners.metrics.duplicate(), self._certificate)
            done = await trio.to_thread.run_sync(outcome.capture, work)
            answering.cancel_scope.cancel()
        return done.unwrap()


async def _serve_http(connected: socket.socket, start: StatusPage, _stopping: trio.Event, _client: Client) -> None:
    monitoring = start.monitoring
    await serve_pages(connected, monitoring.pages, start.handshake_seconds, monitoring.health.page)


async def _serve_websocket(connected: socket.socket, start: StatusPage, _stopping: trio.Event, _client: Client) -> None:
    monitoring = start.monitoring
    await serve_pages(connected, monitoring.health_pages, start.handshake_seconds, monitoring.health.page)


_HTTP: Final = Transport("http", _serve_http, HTTP_REFUSAL, HTTP_PLAIN_TEXT_REFUSAL)
_WEBSOCKET: Final = Transport("websocket", _serve_websocket, HTTP_REFUSAL, HTTP_PLAIN_TEXT_REFUSAL)
