"""The server as a whole: opens folder and listeners, runs the tasks, stops cleanly.

The nesting of the nurseries is the order of stopping: listeners, connections (with a deadline), committer, store.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from pynun import __version__, limits, stop_signals
from pynun.backup.old_format import keep_old_format
from pynun.cluster.note import refuse_member
from pynun.commit.bell import Bell
from pynun.engine.audit_events import FAILED, OK
from pynun.errors import DamageError, StartError, StorageError, TakenAwayError
from pynun.server.accepting.accept import HTTP, TCP, WEBSOCKET, Acceptor
from pynun.server.accepting.connection_limits import ConnectionLimits
from pynun.server.accepting.listeners import Listeners, accept_all
from pynun.server.accepting.local_listener import listen_locally, system_users
from pynun.server.accepting.proxies import TrustedProxies
from pynun.server.accepting.tls import Certificate
from pynun.server.audit_writer import AuditWriter, open_trail
from pynun.server.backup_schedule import clear_dead_readers, make_backups
from pynun.server.login.passwords import Passwords
from pynun.server.monitoring.data_watch import check_data
from pynun.server.monitoring.endpoint import Monitoring
from pynun.server.monitoring.health import Phase
from pynun.server.process import logs
from pynun.server.process.allocator import return_large_blocks
from pynun.server.process.descriptors import raise_descriptor_limit
from pynun.server.process.drop_privileges import drop_privileges
from pynun.server.process.service_manager import ServiceManager, how_to_reload, how_to_stop
from pynun.server.startup.nundb_takeover import take_over
from pynun.server.startup.other_servers import refuse_other_servers
from pynun.server.startup.settings_check import doubts, on_all_addresses
from pynun.server.startup.status_page import StatusPage
from pynun.server.term import Lasting, Term
from pynun.settings import Durability
from pynun.storage import schema
from pynun.storage.integrity.page_walk import after_damage
from pynun.storage.store import LmdbStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from pynun.server.joining import Membership
    from pynun.server.member import Member
    from pynun.settings import Settings


_log = logging.getLogger("nun_db")

_DURABILITY_MEANING: Final = {
    Durability.ALWAYS: "acknowledged changes are on disk",
    Durability.RELAXED: "a crash may lose the last 100 ms of changes",
}

_THREAD_SWITCH_SECONDS: Final = 0.0005
"""How long the loop's thread may keep the GIL from the writing thread, which releases it at each put. With Python's
default of 5 ms, commits took 10 to 25 % longer under load."""


def run(settings: Settings) -> None:
    """Run the server until SIGTERM or SIGINT; returns after a clean stop. Raises StartError, and Stopped for a signal
    before clients are served.
    """
    stop_signals.begin()
    sys.setswitchinterval(_THREAD_SWITCH_SECONDS)
    return_large_blocks()
    logs.configure(settings.log_level, settings.log_format)
    try:
        _run(settings)
    except stop_signals.Stopped as stopped:
        logs.announce(f"stopped on {stopped.name}, before any client was served")
        raise
    finally:
        logs.finish()


def _run(settings: Settings) -> None:
    descriptors_max = raise_descriptor_limit()
    logs.announce("nundb starting!")
    refuse_other_servers(settings)
    for doubt in doubts(settings):
        _log.warning("%s", doubt)
    with contextlib.ExitStack() as stack:
        certificate = None
        if settings.tls_cert is not None and settings.tls_key is not None:
            certificate = Certificate(settings.tls_cert, settings.tls_key)
        connections_max = max(1, min(settings.connections_max, descriptors_max - limits.DESCRIPTORS_RESERVED))
        if connections_max < settings.connections_max:
            _log.warning(
                "at most %d connections: this process may open only %d files; raise its limit (ulimit -n) for"
                " NUN_MAX_CONNECTIONS",
                connections_max,
                descriptors_max,
            )
        connection_limits = ConnectionLimits(
            connections_max=connections_max, per_address_max=settings.connections_per_address_max
        )
        listeners = Listeners(settings)
        stack.callback(listeners.close)
        if settings.run_as is not None:
            tls_files = [path for path in (settings.tls_cert, settings.tls_key) if path]
            drop_privileges(settings.run_as, settings.data_dir, settings.audit_file, tls_files, settings.backup_dir)
        service_manager = ServiceManager()
        service_manager.begin()
        bell = Bell()
        store = LmdbStore(settings.data_dir, bell.fail, keep_old_format if settings.is_keeping_old_format else None)
        stack.callback(store.close)
        listeners.add_local(listen_locally(store.folder, settings.idle_seconds))
        stack.callback(listeners.close)  # before the store gives up the lock, which the socket's file belongs to
        passwords = Passwords(
            memory_kib=settings.argon2_memory_kib, passes=settings.argon2_passes, lanes=settings.argon2_lanes
        )
        trail = open_trail(settings)
        audit_writer = stack.enter_context(AuditWriter(trail))
        monitoring = Monitoring(settings, store, passwords)
        service_manager.step = lambda: monitoring.health.doing or "starting"
        acceptor = Acceptor(
            connection_limits, certificate, TrustedProxies(settings.trusted_proxies), settings.proxy_protocol
        )
        stop_signals.note_from_now_on()
        status_page = StatusPage(settings, listeners, certificate, acceptor, monitoring)
        take_over(store, passwords, trail, status_page)
        membership = None
        address = settings.external_address or listeners.tcp.address
        if listeners.link is None:
            refuse_member(store)
        else:
            from pynun.server.joining import join  # a single node needs none of it

            membership = status_page.run(partial(join, settings, store, listeners.link, address, status_page.tell))
            stop_signals.check()
        lasting = Lasting(
            settings,
            address,
            store,
            bell,
            passwords,
            audit_writer,
            monitoring,
            acceptor,
            frozenset(system_users().values()),
        )
        server = _Server(lasting, membership, listeners, certificate, service_manager)
        try:
            trio.run(server.serve)
        except* StartError as group:
            raise StartError(str(_first(group))) from group
        except* DamageError as group:
            raise StartError(f"the server stopped: {after_damage(store.folder, str(_first(group)))}") from group
        except* TakenAwayError as group:
            raise StartError(store.files.after_loss(str(_first(group)))) from group
        except* StorageError as group:
            raise StartError(f"the last changes could not be stored: {_first(group)}") from group
        if not server.is_started:
            stop_signals.check()
    logs.announce("stopped: all acknowledged changes are on disk")


def _console_url(address: str, *, is_encrypted: bool) -> str:
    """Where to open the console of a listener; over http only this machine's browsers may."""
    scheme, anywhere = ("https", "SERVER") if is_encrypted else ("http", "127.0.0.1")
    where = re.sub(r"^(0\.0\.0\.0|\[::\])(?=:)", anywhere, address)
    return f"{scheme}://{where}/console"


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first of the single exceptions in a group."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


class _Server:
    """One running server."""

    def __init__(
        self,
        lasting: Lasting,
        membership: Membership | None,
        listeners: Listeners,
        certificate: Certificate | None,
        service_manager: ServiceManager,
    ) -> None:
        self._lasting = lasting
        self._membership = membership
        self._settings = lasting.settings
        self._listeners = listeners
        self._certificate = certificate
        self._audit_writer = lasting.audit_writer
        self._monitoring = lasting.monitoring
        self._service_manager = service_manager
        self.is_started = False
        """Whether clients were served."""
        self._stopped_by: str | None = None

    async def serve(self) -> None:
        """Serve until a signal."""
        try:
            await self._serve()
        except BaseExceptionGroup as group:
            self._audit_writer.note_end("stop" if self.is_started else "start", FAILED, str(_first(group)))
            raise
        if self.is_started:
            self._audit_writer.note_end("stop", OK, self._stopped_by)

    async def _serve(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            if stop_signals.is_received():  # before this task received signals
                return
            async with trio.open_nursery() as watching:
                watching.start_soon(self._monitoring.run)
                watching.start_soon(self._service_manager.watch)
                watching.start_soon(self._service_manager.report, self._monitoring.health.reason)
                if self._listeners.metrics is not None:
                    watching.start_soon(self._monitoring.serve, self._listeners.metrics, self._certificate)
                await self._serve_data(signals)
                watching.cancel_scope.cancel()

    async def _serve_data(self, signals: AsyncIterator[int]) -> None:
        """Prepare the data, then serve it until a signal."""
        host: Term | Member
        if self._membership is not None:
            from pynun.server.member import Member

            assert self._listeners.link is not None
            host = Member(self._lasting, self._membership, self._listeners.link)
        else:
            host = Term(self._lasting, self._lasting.data)
            with trio.CancelScope() as preparing:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._end_on_signal, signals, preparing)
                    await host.prepare()
                    nursery.cancel_scope.cancel()
            if stop_signals.is_received():
                return
        async with trio.open_nursery() as auditing:
            auditing.start_soon(self._audit_writer.run)
            async with trio.open_nursery() as serving:
                await serving.start(host.run)
                await self._accept(host, signals)
            auditing.cancel_scope.cancel()

    async def _end_on_signal(self, signals: AsyncIterator[int], preparing: trio.CancelScope) -> None:
        """No client is served yet, so there is nothing to wait for."""
        stop_signals.note(await self._wait_for_stop(signals))
        preparing.cancel()

    async def _accept(self, host: Term | Member, signals: AsyncIterator[int]) -> None:
        """Accept connections until a signal; then stop who serves them."""
        async with trio.open_nursery() as accepting:
            accepting.start_soon(clear_dead_readers, self._lasting.data)
            accepting.start_soon(self._make_backups, host.watch_data)
            for listener, transport in (
                (self._listeners.websocket, WEBSOCKET),
                (self._listeners.http, HTTP),
                (self._listeners.tcp, TCP),
            ):
                accepting.start_soon(accept_all, listener, partial(host.receive, transport))
            if self._listeners.console is not None:
                accepting.start_soon(accept_all, self._listeners.console, host.receive_console)
            if self._listeners.local is not None:
                accepting.start_soon(accept_all, self._listeners.local, host.receive_local)
            await check_data(self._lasting.data)
            self._announce()
            self._monitoring.health.begin_serving()
            self._service_manager.ready()
            received = await self._wait_for_stop(signals)
            self._monitoring.health.phase = Phase.STOPPING
            self._service_manager.notify("STOPPING=1")
            self._stopped_by = signal.Signals(received).name
            _log.info("stopping on %s", self._stopped_by)
            accepting.cancel_scope.cancel()
        self._listeners.close_to_clients()
        host.stop()

    async def _make_backups(self, watch_data: Callable[[], Awaitable[None]]) -> None:
        """Make backups while the data is in place: backups of other data would displace good ones."""
        async with trio.open_nursery() as backing_up:
            backing_up.start_soon(make_backups, self._settings, self._monitoring.backups)
            await watch_data()
            backing_up.cancel_scope.cancel()

    def _announce(self) -> None:
        settings, listeners = self._settings, self._listeners
        durability = settings.durability
        logs.announce(
            f"data: {settings.data_dir.resolve()} (format {schema.FORMAT}; durability {durability.value}: "
            f"{_DURABILITY_MEANING[durability]})"
        )
        if settings.tls_cert is not None:
            logs.announce(
                f"TLS: all ports, with the certificate {settings.tls_cert.resolve()} ({how_to_reload()} reloads it)"
            )
        for transport, listener in (
            ("websocket", listeners.websocket),
            ("http", listeners.http),
            ("tcp", listeners.tcp),
            ("metrics", listeners.metrics),
            ("console", listeners.console),
        ):
            if listener is not None:
                text = f"listening: {transport} {listener.address}"
                logs.announce(text, transport=transport, address=listener.address)
        if settings.tls_cert is None and (names := on_all_addresses(settings)):
            logs.announce(
                f"on all addresses without TLS: {', '.join(names)}; passwords and data cross the network unencrypted: "
                "set NUN_TLS_CERT and NUN_TLS_KEY, or listen on 127.0.0.1"
            )
        console = listeners.console or (listeners.http if settings.console else None)
        if console is not None:
            logs.announce(f"console: {_console_url(console.address, is_encrypted=settings.tls_cert is not None)}")
        self.is_started = True
        self._audit_writer.note("start", OK, version=__version__, process_id=os.getpid(), durability=durability.value)
        logs.announce(f"ready; to stop it: {how_to_stop()}")

    async def _wait_for_stop(self, signals: AsyncIterator[int]) -> int:
        """Wait for the signal that stops the server; reload the certificate on SIGHUP."""
        if stop_signals.take_hang_up():
            self._hang_up()
        async for received in signals:
            if received != signal.SIGHUP:
                return received
            self._hang_up()
        raise AssertionError("signals never end")

    def _hang_up(self) -> None:
        """Reload the certificate on SIGHUP."""
        with self._service_manager.reloading():
            if self._certificate is not None:
                reason = self._certificate.renew()
                self._audit_writer.note("renew-certificate", OK if reason is None else FAILED, reason=reason)
            else:
                _log.info("SIGHUP (a terminal was closed?) has no effect without TLS; the server continues")
