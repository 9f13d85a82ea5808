"""Serve /livez, /readyz, /healthz and /metrics, also at the address in NUN_METRICS.

That address answers from the start of the loop to the end of the stop. It runs no commands, and its connections do not
count as clients.
"""

from __future__ import annotations

import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from pynun import limits
from pynun.histogram import Histogram
from pynun.server.accepting.tls import shake_hands
from pynun.server.backup_schedule import BackupFigures
from pynun.server.monitoring.database_sizes import DatabaseSizes
from pynun.server.monitoring.health import Health
from pynun.transports.http.page_server import serve_pages
from pynun.transports.pages import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pynun.server.accepting.listeners import Connection, SocketListener
    from pynun.server.accepting.tls import Certificate
    from pynun.server.login.passwords import Passwords
    from pynun.server.monitoring.cluster_figures import ClusterFigures
    from pynun.server.monitoring.metrics import Metrics
    from pynun.settings import Settings
    from pynun.storage.store import LmdbStore
    from pynun.transports.pages import Pages
    from pynun.transports.service import ConnectionHost, Service

_log = logging.getLogger("nun_db")

_DELAY_SECONDS: Final = 1.0
"""Interval for measuring the loop's delay."""

_OFF: Final = Page(404, b"metrics are off (NUN_METRICS=off)\n")
_ELSEWHERE: Final = Page(404, b"metrics have an address of their own (NUN_METRICS)\n")
_NOT_YET: Final = Page(503, b"not ready: starting\n")


class Monitoring:
    """The monitoring pages of one server."""

    def __init__(self, settings: Settings, store: LmdbStore, passwords: Passwords) -> None:
        self._handshake_seconds = settings.handshake_seconds
        self._store = store
        self._passwords = passwords
        self._connections = 0
        self._waits: dict[trio.CancelScope, None] = {}
        """Of connections that wait for their client, the longest first."""
        self._sizes = DatabaseSizes(store)
        self.loop_delay_seconds = Histogram()
        self.backups = BackupFigures()
        self._service: Service | None = None
        self._edge: tuple[ConnectionHost, Callable[[], ClusterFigures]] | None = None
        self._metrics: Metrics | None = None
        self.health = Health(settings.data_dir)
        ready = self.health.page
        self.health_pages: Pages = {b"/livez": self.health.live_page, b"/readyz": ready, b"/healthz": ready}
        """The pages that the WebSocket port answers too."""
        named: Pages = {b"/metrics": partial(self._metrics_page, with_names=True)}
        self._own_pages: Pages = {**self.health_pages, **named}
        self.pages: Pages = {**self.health_pages, b"/metrics": partial(self._metrics_page, with_names=False)}
        """The pages of the HTTP port, without login."""
        self._admin_pages = named
        if settings.metrics is not True:
            self._admin_pages = {}
            self.pages = {**self.pages, b"/metrics": partial(_always, _ELSEWHERE if settings.metrics else _OFF)}

    def watch(self, service: Service) -> None:
        """Start measuring: the server has its data."""
        self._service = service
        service.pages, service.admin_pages = {**service.pages, **self.pages}, self._admin_pages
        service.handshake_pages = {**service.handshake_pages, **self.health_pages}

    def rest(self) -> None:
        """No clients are served by this process any more, for now."""
        self._service = self.health.committer = None

    def watch_edge(self, host: ConnectionHost, figures: Callable[[], ClusterFigures]) -> None:
        """Of a node of a cluster: what serves clients whose sessions are at the owner, and what else to tell."""
        self._edge = host, figures

    async def run(self) -> None:
        """Measure the loop's delay and the databases, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sizes.run)
            while True:
                due = trio.current_time() + _DELAY_SECONDS
                await trio.sleep_until(due)
                self.loop_delay_seconds.observe(trio.current_time() - due)

    async def serve(self, listener: SocketListener, certificate: Certificate | None) -> None:
        """Serve the address in NUN_METRICS, until cancelled."""
        async with trio.open_nursery() as nursery:
            handler = partial(self._handle, certificate)
            await trio.serve_listeners(handler, [listener], handler_nursery=nursery)

    async def _metrics_page(self, *, with_names: bool) -> Page:
        if self._edge is None and (self._service is None or self.health.committer is None):
            return _NOT_YET
        if self._metrics is None:
            self._metrics = await trio.to_thread.run_sync(self._make_metrics)
        return await self._metrics.page(self.health, with_names=with_names)

    def _make_metrics(self) -> Metrics:
        """Import the library at the first scrape, in a thread: unmonitored servers save its memory."""
        from pynun.server.monitoring.metrics import Metrics, Sources

        def sources() -> Sources:
            edge, figures = self._edge or (None, None)
            return Sources(
                self._store,
                self._passwords,
                self._sizes,
                self.loop_delay_seconds,
                self.backups,
                [host for host in (self._service, edge) if host is not None],
                self._service,
                self.health.committer,
                None if figures is None else figures(),
            )

        return Metrics(self._sizes, sources)

    async def _handle(self, certificate: Certificate | None, connection: Connection) -> None:
        if self._connections >= limits.MONITORS_MAX:
            # Close the one that waits longest, so that nobody blocks a monitor by holding connections.
            oldest = next(iter(self._waits), None)
            if oldest is None:
                return
            oldest.cancel()
            del self._waits[oldest]
        self._connections += 1
        try:
            if certificate is None or await self._encrypt(certificate, connection):
                await serve_pages(
                    connection.socket, self._own_pages, self._handshake_seconds, wait_until=self._wait_until
                )
        except Exception:
            _log.exception("a connection was closed after an internal error; please report this")
        finally:
            self._connections -= 1

    async def _encrypt(self, certificate: Certificate, connection: Connection) -> bool:
        deadline = trio.current_time() + self._handshake_seconds
        with self._wait_until(deadline), contextlib.suppress(OSError):
            connection.socket = await shake_hands(connection.socket, certificate.context)
            return True
        return False

    @contextlib.contextmanager
    def _wait_until(self, deadline: float) -> Iterator[trio.CancelScope]:
        """A wait for a client, ended by a time limit or when another client needs its place."""
        with trio.move_on_at(deadline) as scope:
            self._waits[scope] = None
            try:
                yield scope
            finally:
                self._waits.pop(scope, None)


async def _always(page: Page) -> Page:
    return page
