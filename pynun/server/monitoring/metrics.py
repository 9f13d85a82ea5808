"""The page /metrics: what the server counts, in the text format of Prometheus (docs/monitoring.md).

Whatever is counted where it must be cheap is a plain number there; here it is read when somebody asks, on the loop,
in a few milliseconds. What needs the system is asked in a thread. No label holds a key, a value or a user, and each
label has a bounded number of values: of databases the largest are named, and the others are one. Names of databases
are for the administrator: who has not logged in is told of all of them as one.
"""

from __future__ import annotations

import heapq
import math
import os
import platform
import shutil
from typing import TYPE_CHECKING, Final, NamedTuple

import trio
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from pynun import __version__, limits
from pynun.engine.commands.table import COMMANDS
from pynun.server.process import logs
from pynun.storage.schema import DATA_FILE
from pynun.transports.counters import TRANSPORTS
from pynun.transports.http.results import ResultsOutbox
from pynun.transports.pages import Page
from pynun.transports.tcp.lines import LineOutbox
from pynun.transports.websocket.frames import FrameOutbox

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from prometheus_client.core import Metric

    from pynun.commit.committer import Committer
    from pynun.histogram import Histogram
    from pynun.server.backup_schedule import BackupFigures
    from pynun.server.login.passwords import Passwords
    from pynun.server.monitoring.database_sizes import DatabaseSizes
    from pynun.server.monitoring.health import Health
    from pynun.storage.store import LmdbStore
    from pynun.transports.service import Service

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

OTHER_DATABASES: Final = "all others"
"""The label of those that are not named: with a space in it, as no database has."""

UNKNOWN_COMMAND: Final = "unknown"
"""The label of everything that is no command, whatever it was."""

_PAUSES: Final = 5
"""Between two pages, so many times as long as making one keeps the loop from all else."""

_TRANSPORT_OF: Final = {FrameOutbox: "websocket", LineOutbox: "tcp", ResultsOutbox: "http"}


class Sources(NamedTuple):
    """What is read."""

    store: LmdbStore
    committer: Committer
    service: Service
    passwords: Passwords
    sizes: DatabaseSizes
    loop_delay_seconds: Histogram
    backups: BackupFigures


class System(NamedTuple):
    """What the system says, asked in a thread; what can't be known is not a number."""

    reason: str | None
    """Why the server is not ready."""
    disk_free_bytes: float = math.nan
    disk_bytes: float = math.nan
    file_bytes: float = math.nan
    allocated_bytes: float = math.nan


def ask_system(folder: Path, reason: str | None) -> System:
    """Look at the disk."""
    try:
        usage = shutil.disk_usage(folder)
        file = os.stat(folder / DATA_FILE)
    except OSError:
        return System(reason)
    return System(reason, usage.free, usage.total, file.st_size, file.st_blocks * 512)


class Metrics:
    """The metrics of one server."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._server = _ServerCollector(sources)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self._server)
        self._registry.register(_ProcessCollector())
        self._turn = trio.Lock()
        self._pages: dict[bool, tuple[float, Page]] = {}
        """By whether it has names: when it was begun, and the page."""
        self._rested_at = -math.inf

    async def page(self, health: Health, *, with_names: bool) -> Page:
        """The page, with names of databases or without.

        Anybody may ask, as often as they like: whoever asks while a page is still to be begun gets that one.
        """
        await self._sources.sizes.want()
        asked_at = trio.current_time()
        async with self._turn:
            begun_at, page = self._pages.get(with_names, (-math.inf, Page(503, b"")))
            if begun_at < asked_at:
                await trio.sleep_until(self._rested_at)
                begun_at = trio.current_time()
                folder = self._sources.store.folder
                reason = await health.reason()
                self._server.serving_since = health.serving_since
                self._server.system = await health.disk.ask(ask_system, folder, reason) or System(reason)
                began = trio.current_time()
                self._server.with_names = with_names
                page = Page(200, generate_latest(self._registry), CONTENT_TYPE)
                ended = trio.current_time()
                self._rested_at = ended + _PAUSES * (ended - began)
                self._pages[with_names] = begun_at, page
            return page


class _ServerCollector(Collector):
    """Reads the server's counters when the registry asks."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.serving_since = 0.0
        self.system: System | None = None
        self.with_names = False

    def _named(self, sizes: Mapping[str, int]) -> list[str]:
        """The names that get series of their own, in order: the largest."""
        most = limits.METRICS_DATABASES_MAX if self.with_names else 0
        return sorted(heapq.nlargest(most, sizes, key=lambda name: (sizes[name], name)))

    def collect(self) -> Iterator[Metric]:
        yield from self._about()
        yield from self._connections()
        yield from self._commands()
        yield from self._times()
        yield from self._writing()
        yield from self._clients()
        yield from self._storage()

    def _about(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "nun_db_build_info", "Always 1; the labels say what runs.", labels=["version", "python"]
        )
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        assert self.system is not None
        yield GaugeMetricFamily(
            "nun_db_ready", "1 when GET /readyz says ok, else 0.", 1 if self.system.reason is None else 0
        )
        yield GaugeMetricFamily(
            "nun_db_serving_since_timestamp_seconds",
            "When clients were served first, after a start that may have taken long (process_start_time_seconds).",
            self.serving_since,
        )

    def _connections(self) -> Iterator[Metric]:
        counters = self._sources.service.counters
        yield _gauges(
            "nun_db_connections", "Connections that are open, by transport.", "transport", counters.open.items()
        )
        yield _counts(
            "nun_db_connections_opened", "Connections accepted, by transport.", "transport", counters.opened.items()
        )
        yield _counts(
            "nun_db_connections_refused",
            "Connections that were not served, by reason: limit (NUN_MAX_CONNECTIONS), tls (none, or not to its end),"
            " proxy (no valid PROXY header), handshake (no WebSocket, or not in time), origin (NUN_ALLOWED_ORIGINS).",
            "reason",
            counters.refused.items(),
        )
        databases = self._sources.service.engine.databases_in_use()
        sessions = GaugeMetricFamily(
            "nun_db_sessions",
            f"Sessions that have a database selected, by database and transport; the"
            f" {limits.METRICS_DATABASES_MAX} databases with the most, and '{OTHER_DATABASES}'.",
            labels=["database", "transport"],
        )
        sizes = {database.name: len(database.sessions) for database in databases}
        named = self._named(sizes)
        numbers = {(name, transport): 0 for name in (*named, OTHER_DATABASES) for transport in TRANSPORTS}
        watches = 0
        for database in databases:
            name = database.name if database.name in named else OTHER_DATABASES
            for session in database.sessions:
                watches += len(session.watches)
                transport = _TRANSPORT_OF.get(type(session.outbox))
                if transport is not None:
                    numbers[name, transport] += 1
        for labels, number in numbers.items():
            sessions.add_metric(labels, number)
        yield sessions
        yield GaugeMetricFamily("nun_db_watches", "Keys that sessions watch; a key counts for each of them.", watches)

    def _commands(self) -> Iterator[Metric]:
        counters = self._sources.service.engine.counters
        commands = CounterMetricFamily(
            "nun_db_commands",
            "Commands answered, by name and outcome (ok, or refused with an error); all that is no command is"
            f" '{UNKNOWN_COMMAND}'.",
            labels=["command", "outcome"],
        )
        for row in COMMANDS:
            commands.add_metric([row.name, "ok"], counters.done[row.place])
            commands.add_metric([row.name, "refused"], counters.refused[row.place])
        commands.add_metric([UNKNOWN_COMMAND, "refused"], counters.unknown)
        yield commands
        yield _counts(
            "nun_db_failed_logins",
            "Wrong passwords and tokens: admin (auth), database (use-db).",
            "kind",
            counters.failed_logins.items(),
        )
        answers = self._sources.service.counters.http_answers
        yield _counts(
            "nun_db_http_answers",
            "Answers on the HTTP port, by status.",
            "status",
            ((str(status), number) for status, number in sorted(answers.items())),
        )

    def _times(self) -> Iterator[Metric]:
        sources = self._sources
        counters = sources.service.counters
        yield _histogram(
            "nun_db_turn_seconds",
            "How long the server worked at a stretch on what had arrived by WebSocket and TCP: read it, ran the"
            " commands, sent the answers that wait for nothing. A command waits for one such turn, at most two.",
            counters.turn_seconds,
        )
        yield _histogram(
            "nun_db_loop_delay_seconds",
            "How much later than asked a task of the server went on, measured once a second: what every client waits"
            " in addition.",
            sources.loop_delay_seconds,
        )
        yield _histogram(
            "nun_db_durable_seconds",
            "From the first change of a batch until the batch was on disk: with NUN_DURABILITY=always the longest that"
            " an answer in it waited.",
            sources.committer.durable_seconds,
        )
        yield _histogram(
            "nun_db_http_request_seconds",
            "From a complete HTTP request of commands to its answer, the disk included.",
            counters.http_request_seconds,
        )
        yield _histogram(
            "nun_db_password_seconds",
            "How long commands waited for a password or token to be checked or hashed; those that were checked before"
            " wait for nothing and are not counted.",
            sources.passwords.check_seconds,
        )

    def _writing(self) -> Iterator[Metric]:
        committer = self._sources.committer
        view = self._sources.service.engine.view
        yield _histogram(
            "nun_db_commit_seconds",
            "How long writing a batch of changes to the disk took, the sync included.",
            committer.commit_seconds,
        )
        yield _histogram(
            "nun_db_commit_entries", "How many changed keys a batch had that was written.", committer.commit_entries
        )
        yield GaugeMetricFamily(
            "nun_db_log_entries",
            "Keys whose newest entry is in the log, and not in the data yet.",
            self._sources.store.logged_entries,
        )
        yield _histogram(
            "nun_db_checkpoint_seconds",
            "How long moving a slice of the log into the data took, the sync included: changes of that moment wait so"
            " much longer.",
            committer.checkpoint_seconds,
        )
        yield CounterMetricFamily(
            "nun_db_commit_failures", "Batches that could not be written: no room.", committer.failures
        )
        batches = [batch for batch in (view.batch, view.writing) if batch is not None]
        yield GaugeMetricFamily(
            "nun_db_commit_queue_entries",
            "Changed keys that are not on disk yet.",
            sum(len(batch.entries) for batch in batches),
        )
        yield GaugeMetricFamily(
            "nun_db_commit_queue_bytes",
            "About how many bytes these are.",
            sum(batch.bytes_estimated for batch in batches),
        )

    def _clients(self) -> Iterator[Metric]:
        service = self._sources.service
        outboxes = [peer.outbox for peer in service.peers]
        waiting = [outbox.waiting_bytes for outbox in outboxes]
        yield GaugeMetricFamily("nun_db_outbox_bytes", "What waits for all clients to read it.", sum(waiting))
        yield GaugeMetricFamily(
            "nun_db_outbox_largest_bytes",
            "What waits for the slowest client; at NUN_MAX_OUTBOX_SIZE it is disconnected.",
            max(waiting, default=0),
        )
        yield GaugeMetricFamily(
            "nun_db_stalled_clients",
            "Clients that do not read as fast as they are sent to, now.",
            sum(outbox.is_stalled for outbox in outboxes),
        )
        yield GaugeMetricFamily(
            "nun_db_unfinished_input_bytes",
            "What is held of messages and requests that are not complete or wait (NUN_MAX_UNFINISHED_SIZE).",
            service.input_budget.bytes,
        )
        yield CounterMetricFamily(
            "nun_db_conflated_events",
            "Events that a newer one of the same key replaced before a slow client read them.",
            service.counters.conflated_events,
        )
        yield _counts(
            "nun_db_dropped_sessions",
            "Sessions that the server ended, by reason: slow_reader (read too slowly), gone (answers nothing any more),"
            " message_too_big, unfinished_input (NUN_MAX_UNFINISHED_SIZE), internal_error.",
            "reason",
            service.counters.dropped.items(),
        )

        yield CounterMetricFamily(
            "nun_db_log_lines_dropped",
            "Lines of the log that were not written: nobody read standard output, or it could not be written.",
            logs.dropped_lines(),
        )

    def _storage(self) -> Iterator[Metric]:
        store, sizes, system = self._sources.store, self._sources.sizes, self.system
        assert system is not None
        yield GaugeMetricFamily(
            "nun_db_stored_entries",
            "Keys on disk, of all databases and the server's own; without new ones that are only in the log.",
            store.entries,
        )
        yield GaugeMetricFamily("nun_db_databases", "Databases, $admin included.", len(sizes.by_name))
        keys = GaugeMetricFamily(
            "nun_db_database_keys",
            f"Keys on disk; the {limits.METRICS_DATABASES_MAX} largest databases, and '{OTHER_DATABASES}'.",
            labels=["database"],
        )
        stored = GaugeMetricFamily(
            "nun_db_database_bytes",
            "Bytes of these keys and their values, without what the file adds.",
            labels=["database"],
        )
        named = self._named({name: size.stored_bytes for name, size in sizes.by_name.items()})
        others = [size for name, size in sizes.by_name.items() if name not in named]
        for name in named:
            keys.add_metric([name], sizes.by_name[name].keys)
            stored.add_metric([name], sizes.by_name[name].stored_bytes)
        keys.add_metric([OTHER_DATABASES], sum(size.keys for size in others))
        stored.add_metric([OTHER_DATABASES], sum(size.stored_bytes for size in others))
        yield keys
        yield stored
        yield GaugeMetricFamily(
            "nun_db_databases_measured_timestamp_seconds",
            "When the three before this were measured, at most once a minute; 0: not yet.",
            sizes.measured_at,
        )
        yield GaugeMetricFamily("nun_db_data_file_bytes", "The size of the data file.", system.file_bytes)
        yield GaugeMetricFamily("nun_db_data_used_bytes", "How far the data file has been used.", store.used_bytes)
        yield GaugeMetricFamily(
            "nun_db_data_disk_bytes", "What the data file takes on the disk.", system.allocated_bytes
        )
        yield GaugeMetricFamily(
            "nun_db_disk_free_bytes", "What is free on the disk of the data.", system.disk_free_bytes
        )
        yield GaugeMetricFamily("nun_db_disk_bytes", "How large the disk of the data is.", system.disk_bytes)
        backups = self._sources.backups
        yield GaugeMetricFamily(
            "nun_db_last_backup_timestamp_seconds",
            "When the newest backup of the schedule (NUN_BACKUP_DIR) was begun; 0: none, or no schedule.",
            backups.newest_at,
        )
        yield CounterMetricFamily(
            "nun_db_backup_failures",
            "Backups of the schedule that were not made when they were due, each try counted.",
            backups.failures,
        )


class _ProcessCollector(Collector):
    """The process, by the library's own collector. A new one each time: each keeps the clock of its beginning."""

    def collect(self) -> Iterable[Metric]:
        return ProcessCollector(registry=None).collect()


def _counts(name: str, meaning: str, label: str, numbers: Iterable[tuple[str, int]]) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=[label])
    for value, number in numbers:
        family.add_metric([value], number)
    return family


def _gauges(name: str, meaning: str, label: str, numbers: Iterable[tuple[str, int]]) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for value, number in numbers:
        family.add_metric([value], number)
    return family


def _histogram(name: str, meaning: str, values: Histogram) -> Metric:
    family = HistogramMetricFamily(name, meaning, labels=[])
    family.add_metric([], buckets=list(values.cumulative()), sum_value=values.total)
    return family
