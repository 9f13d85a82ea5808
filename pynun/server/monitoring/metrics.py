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
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import trio
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from pynun import __version__, limits
from pynun.engine.commands.table import COMMANDS
from pynun.server.monitoring.database_sizes import Size
from pynun.server.process import logs
from pynun.storage.schema import DATA_FILE
from pynun.transports.counters import TRANSPORTS
from pynun.transports.http.results import ResultsOutbox
from pynun.transports.pages import Page
from pynun.transports.tcp.lines import LineOutbox
from pynun.transports.websocket.frames import FrameOutbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from prometheus_client.core import Metric

    from pynun.commit.committer import Committer
    from pynun.engine.overlay import Batch
    from pynun.histogram import Histogram
    from pynun.server.backup_schedule import BackupFigures
    from pynun.server.login.passwords import Passwords
    from pynun.server.monitoring.database_sizes import DatabaseSizes
    from pynun.server.monitoring.health import Health
    from pynun.storage.store import LmdbStore
    from pynun.transports.outbox import Outbox
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


class _Reading(Collector):
    """What one page shows: the sources, and what several metrics are made of."""

    def __init__(self, sources: Sources, system: System, serving_since: float, *, with_names: bool) -> None:
        self.system = system
        self.serving_since = serving_since
        self.store, self.committer, self.service, self.passwords, self.sizes, self.loop_delay_seconds, self.backups = (
            sources
        )
        self.commands = self.service.engine.counters
        self.counters = self.service.counters
        self._names_max = limits.METRICS_DATABASES_MAX if with_names else 0

    def collect(self) -> Iterator[Metric]:
        return (row.metric(self) for row in _METRICS)

    def _named(self, sizes: Mapping[str, int]) -> list[str]:
        """The names that get series of their own, in order: the largest."""
        return sorted(heapq.nlargest(self._names_max, sizes, key=lambda name: (sizes[name], name)))

    @cached_property
    def batches(self) -> list[Batch]:
        """The changes that are not on disk."""
        view = self.service.engine.view
        return [batch for batch in (view.batch, view.writing) if batch is not None]

    @cached_property
    def outboxes(self) -> list[Outbox]:
        """Of all sessions that last."""
        return [peer.outbox for peer in self.service.peers]

    def answered(self) -> Iterator[tuple[tuple[str, str], int]]:
        """By name and outcome."""
        for row in COMMANDS:
            yield (row.name, "ok"), self.commands.done[row.place]
            yield (row.name, "refused"), self.commands.refused[row.place]
        yield (UNKNOWN_COMMAND, "refused"), self.commands.unknown

    def sessions(self) -> Iterable[tuple[tuple[str, str], int]]:
        """By database and transport."""
        databases = self.service.engine.databases_in_use()
        named = self._named({database.name: len(database.sessions) for database in databases})
        numbers = {(name, transport): 0 for name in (*named, OTHER_DATABASES) for transport in TRANSPORTS}
        for database in databases:
            name = database.name if database.name in named else OTHER_DATABASES
            for session in database.sessions:
                transport = _TRANSPORT_OF.get(type(session.outbox))
                if transport is not None:
                    numbers[name, transport] += 1
        return numbers.items()

    def watches(self) -> int:
        """Of all sessions."""
        databases = self.service.engine.databases_in_use()
        return sum(len(session.watches) for database in databases for session in database.sessions)

    @cached_property
    def database_sizes(self) -> dict[str, Size]:
        """Of the largest databases, and of all others together."""
        sizes = self.sizes.by_name
        named = self._named({name: size.stored_bytes for name, size in sizes.items()})
        others = [size for name, size in sizes.items() if name not in named]
        rest = Size(sum(size.keys for size in others), sum(size.stored_bytes for size in others))
        return {**{name: sizes[name] for name in named}, OTHER_DATABASES: rest}


class _Row(NamedTuple):
    """One metric."""

    family: type[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]
    name: str
    help: str
    get: Callable[[_Reading], Any]
    """Its number or Histogram; with labels, pairs of their value (several: values) and a number."""
    labels: tuple[str, ...]

    def metric(self, reading: _Reading) -> Metric:
        """The metric as the library wants it."""
        family = self.family(self.name, self.help, labels=self.labels)
        found = self.get(reading)
        if isinstance(family, HistogramMetricFamily):
            family.add_metric([], buckets=list(found.cumulative()), sum_value=found.total)
        elif not self.labels:
            family.add_metric([], found)
        else:
            for values, number in found:
                family.add_metric([values] if isinstance(values, str) else values, number)
        return family


def _counter(name: str, help: str, get: Callable[[_Reading], Any], *labels: str) -> _Row:
    return _Row(CounterMetricFamily, name, help, get, labels)


def _gauge(name: str, help: str, get: Callable[[_Reading], Any], *labels: str) -> _Row:
    return _Row(GaugeMetricFamily, name, help, get, labels)


def _histogram(name: str, help: str, get: Callable[[_Reading], Histogram]) -> _Row:
    return _Row(HistogramMetricFamily, name, help, get, ())


# fmt: off
_METRICS: Final = (
    _gauge("nun_db_build_info", "Always 1; the labels say what runs.",
        lambda _now: [((__version__, platform.python_version()), 1)], "version", "python"),
    _gauge("nun_db_ready", "1 when GET /readyz says ok, else 0.", lambda now: 1 if now.system.reason is None else 0),
    _gauge("nun_db_serving_since_timestamp_seconds", "When clients were served first, after a start that may have"
        " taken long (process_start_time_seconds).", lambda now: now.serving_since),
    _gauge("nun_db_connections", "Connections that are open, by transport.",
        lambda now: now.counters.open.items(), "transport"),
    _counter("nun_db_connections_opened", "Connections accepted, by transport.",
        lambda now: now.counters.opened.items(), "transport"),
    _counter("nun_db_connections_refused", "Connections that were not served, by reason: limit (NUN_MAX_CONNECTIONS),"
        " tls (none, or not to its end), proxy (no valid PROXY header), handshake (no WebSocket, or not in time),"
        " origin (NUN_ALLOWED_ORIGINS).", lambda now: now.counters.refused.items(), "reason"),
    _gauge("nun_db_sessions", "Sessions that have a database selected, by database and transport; the"
        f" {limits.METRICS_DATABASES_MAX} databases with the most, and '{OTHER_DATABASES}'.",
        lambda now: now.sessions(), "database", "transport"),
    _gauge("nun_db_watches", "Keys that sessions watch; a key counts for each of them.", lambda now: now.watches()),
    _counter("nun_db_commands", "Commands answered, by name and outcome (ok, or refused with an error); all that is"
        f" no command is '{UNKNOWN_COMMAND}'.", lambda now: now.answered(), "command", "outcome"),
    _counter("nun_db_failed_logins", "Wrong passwords and tokens: admin (auth), database (use-db).",
        lambda now: now.commands.failed_logins.items(), "kind"),
    _counter("nun_db_http_answers", "Answers on the HTTP port, by status.",
        lambda now: [(str(status), number) for status, number in sorted(now.counters.http_answers.items())], "status"),
    _histogram("nun_db_turn_seconds", "How long the server worked at a stretch on what had arrived by WebSocket and"
        " TCP: read it, ran the commands, sent the answers that wait for nothing. A command waits for one such turn,"
        " at most two.", lambda now: now.counters.turn_seconds),
    _histogram("nun_db_loop_delay_seconds", "How much later than asked a task of the server went on, measured once a"
        " second: what every client waits in addition.", lambda now: now.loop_delay_seconds),
    _histogram("nun_db_durable_seconds", "From the first change of a batch until the batch was on disk: with"
        " NUN_DURABILITY=always the longest that an answer in it waited.", lambda now: now.committer.durable_seconds),
    _histogram("nun_db_http_request_seconds", "From a complete HTTP request of commands to its answer, the disk"
        " included.", lambda now: now.counters.http_request_seconds),
    _histogram("nun_db_password_seconds", "How long commands waited for a password or token to be checked or hashed;"
        " those that were checked before wait for nothing and are not counted.",
        lambda now: now.passwords.check_seconds),
    _histogram("nun_db_commit_seconds", "How long writing a batch of changes to the disk took, the sync included.",
        lambda now: now.committer.commit_seconds),
    _histogram("nun_db_commit_entries", "How many changed keys a batch had that was written.",
        lambda now: now.committer.commit_entries),
    _gauge("nun_db_log_entries", "Keys whose newest entry is in the log, and not in the data yet.",
        lambda now: now.store.logged_entries),
    _histogram("nun_db_checkpoint_seconds", "How long moving a slice of the log into the data took, the sync"
        " included: changes of that moment wait so much longer.", lambda now: now.committer.checkpoint_seconds),
    _counter("nun_db_commit_failures", "Batches that could not be written: no room.",
        lambda now: now.committer.failures),
    _gauge("nun_db_commit_queue_entries", "Changed keys that are not on disk yet.",
        lambda now: sum(len(batch.entries) for batch in now.batches)),
    _gauge("nun_db_commit_queue_bytes", "About how many bytes these are.",
        lambda now: sum(batch.bytes_estimated for batch in now.batches)),
    _gauge("nun_db_outbox_bytes", "What waits for all clients to read it.",
        lambda now: sum(outbox.waiting_bytes for outbox in now.outboxes)),
    _gauge("nun_db_outbox_largest_bytes", "What waits for the slowest client; at NUN_MAX_OUTBOX_SIZE it is"
        " disconnected.", lambda now: max((outbox.waiting_bytes for outbox in now.outboxes), default=0)),
    _gauge("nun_db_stalled_clients", "Clients that do not read as fast as they are sent to, now.",
        lambda now: sum(outbox.is_stalled for outbox in now.outboxes)),
    _gauge("nun_db_unfinished_input_bytes", "What is held of messages and requests that are not complete or wait"
        " (NUN_MAX_UNFINISHED_SIZE).", lambda now: now.service.input_budget.bytes),
    _counter("nun_db_conflated_events", "Events that a newer one of the same key replaced before a slow client read"
        " them.", lambda now: now.counters.conflated_events),
    _counter("nun_db_dropped_sessions", "Sessions that the server ended, by reason: slow_reader (read too slowly),"
        " gone (answers nothing any more), message_too_big, unfinished_input (NUN_MAX_UNFINISHED_SIZE),"
        " internal_error.", lambda now: now.counters.dropped.items(), "reason"),
    _counter("nun_db_log_lines_dropped", "Lines of the log that were not written: nobody read standard output, or it"
        " could not be written.", lambda _now: logs.dropped_lines()),
    _gauge("nun_db_stored_entries", "Keys on disk, of all databases and the server's own; without new ones that are"
        " only in the log.", lambda now: now.store.entries),
    _gauge("nun_db_databases", "Databases, $admin included.", lambda now: len(now.sizes.by_name)),
    _gauge("nun_db_database_keys", f"Keys on disk; the {limits.METRICS_DATABASES_MAX} largest databases, and"
        f" '{OTHER_DATABASES}'.",
        lambda now: [(name, size.keys) for name, size in now.database_sizes.items()], "database"),
    _gauge("nun_db_database_bytes", "Bytes of these keys and their values, without what the file adds.",
        lambda now: [(name, size.stored_bytes) for name, size in now.database_sizes.items()], "database"),
    _gauge("nun_db_databases_measured_timestamp_seconds", "When the three before this were measured, at most once a"
        " minute; 0: not yet.", lambda now: now.sizes.measured_at),
    _gauge("nun_db_data_file_bytes", "The size of the data file.", lambda now: now.system.file_bytes),
    _gauge("nun_db_data_used_bytes", "How far the data file has been used.", lambda now: now.store.used_bytes),
    _gauge("nun_db_data_disk_bytes", "What the data file takes on the disk.", lambda now: now.system.allocated_bytes),
    _gauge("nun_db_disk_free_bytes", "What is free on the disk of the data.", lambda now: now.system.disk_free_bytes),
    _gauge("nun_db_disk_bytes", "How large the disk of the data is.", lambda now: now.system.disk_bytes),
    _gauge("nun_db_last_backup_timestamp_seconds", "When the newest backup of the schedule (NUN_BACKUP_DIR) was"
        " begun; 0: none, or no schedule.", lambda now: now.backups.newest_at),
    _counter("nun_db_backup_failures", "Backups of the schedule that were not made when they were due, each try"
        " counted.", lambda now: now.backups.failures),
)
# fmt: on


class Metrics:
    """The metrics of one server."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
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
                system = await health.disk.ask(ask_system, folder, reason) or System(reason)
                began = trio.current_time()
                registry = CollectorRegistry(auto_describe=False)
                registry.register(_Reading(self._sources, system, health.serving_since, with_names=with_names))
                ProcessCollector(registry=registry)  # a new one each time: each keeps the clock of its beginning
                page = Page(200, generate_latest(registry), CONTENT_TYPE)
                ended = trio.current_time()
                self._rested_at = ended + _PAUSES * (ended - began)
                self._pages[with_names] = begun_at, page
            return page
