"""Serve /metrics in the text format of Prometheus (docs/monitoring.md).

Hot code counts in plain numbers. A scrape reads them on the loop, in a few milliseconds, and asks the OS in a thread.
No label holds a key, a value or a user, and each has a bounded number of values: only the largest databases are named.
Only the administrator sees the names of databases; without a login all count as one.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import os
import platform
import shutil
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

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
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from prometheus_client.core import Metric

    from pynun.commit.committer import Committer
    from pynun.engine.engine import Engine
    from pynun.engine.overlay import Batch
    from pynun.histogram import Histogram
    from pynun.server.backup_schedule import BackupFigures
    from pynun.server.login.passwords import Passwords
    from pynun.server.monitoring.cluster_figures import ClusterFigures
    from pynun.server.monitoring.database_sizes import DatabaseSizes
    from pynun.server.monitoring.health import Health
    from pynun.storage.store import LmdbStore
    from pynun.transports.outbox import Outbox
    from pynun.transports.service import ConnectionHost, Service

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

OTHER_DATABASES: Final = "all others"
"""The label of unnamed databases. No database name has a space."""

UNKNOWN_COMMAND: Final = "unknown"
"""The label of everything that is not a command."""

_PAUSES: Final = 5
"""A pause after each page: this many times as long as making the page blocked the loop."""

_Source = TypeVar("_Source")

_TRANSPORT_OF: Final = {FrameOutbox: "websocket", LineOutbox: "tcp", ResultsOutbox: "http"}


class Sources(NamedTuple):
    """The parts of the server that metrics are read from, as they are now."""

    store: LmdbStore
    passwords: Passwords
    sizes: DatabaseSizes
    loop_delay_seconds: Histogram
    backups: BackupFigures
    hosts: Sequence[ConnectionHost]
    """What serves clients, at least one. They count together."""
    service: Service | None
    """The one of them that has the engine, while this process decides about the data."""
    committer: Committer | None
    cluster: ClusterFigures | None
    """Of a node of a cluster."""


class _AbsentError(Exception):
    """This process has nothing now that the metric tells of: it is left out."""


class System(NamedTuple):
    """Facts from the OS, read in a thread; NaN where unknown."""

    reason: str | None
    """Why the server is not ready."""
    disk_free_bytes: float = math.nan
    disk_bytes: float = math.nan
    file_bytes: float = math.nan
    allocated_bytes: float = math.nan


def ask_system(folder: Path, reason: str | None) -> System:
    """Read the facts about the disk."""
    try:
        usage = shutil.disk_usage(folder)
        file = os.stat(folder / DATA_FILE)
    except OSError:
        return System(reason)
    return System(reason, usage.free, usage.total, file.st_size, file.st_blocks * 512)


class _Reading(Collector):
    """The values of one page: the sources, and values that several metrics share."""

    def __init__(self, sources: Sources, system: System, serving_since: float, *, with_names: bool) -> None:
        self._sources = sources
        self.system = system
        self.serving_since = serving_since
        self.store, self.passwords, self.sizes, self.loop_delay_seconds, self.backups, self.hosts, *_ = sources
        self.counters = self.hosts[0].counters
        self._names_max = limits.METRICS_DATABASES_MAX if with_names else 0

    def collect(self) -> Iterator[Metric]:
        for row in (*_METRICS, *CLUSTER_METRICS):
            with contextlib.suppress(_AbsentError):
                yield row.metric(self)

    @property
    def engine(self) -> Engine:
        return _present(self._sources.service).engine

    @property
    def committer(self) -> Committer:
        return _present(self._sources.committer)

    @property
    def cluster(self) -> ClusterFigures:
        return _present(self._sources.cluster)

    def _named(self, sizes: Mapping[str, int]) -> list[str]:
        """The names of the largest databases, sorted; each gets its own series."""
        return sorted(heapq.nlargest(self._names_max, sizes, key=lambda name: (sizes[name], name)))

    @cached_property
    def batches(self) -> list[Batch]:
        """The changes that are not on disk."""
        view = self.engine.view
        return [batch for batch in (view.batch, view.writing) if batch is not None]

    @cached_property
    def outboxes(self) -> list[Outbox]:
        """Of all WebSocket and TCP sessions."""
        return [peer.outbox for host in self.hosts for peer in host.peers]

    def answered(self) -> Iterator[tuple[tuple[str, str], int]]:
        """By name and outcome."""
        counters = self.engine.counters
        for row in COMMANDS:
            yield (row.name, "ok"), counters.done[row.place]
            yield (row.name, "refused"), counters.refused[row.place]
        yield (UNKNOWN_COMMAND, "refused"), counters.unknown

    def sessions(self) -> Iterable[tuple[tuple[str, str], int]]:
        """By database and transport."""
        databases = self.engine.databases_in_use()
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
        databases = self.engine.databases_in_use()
        return sum(len(session.watches) for database in databases for session in database.sessions)

    @cached_property
    def database_sizes(self) -> dict[str, Size]:
        """Of the largest databases, and the total of all others."""
        sizes = self.sizes.by_name
        named = self._named({name: size.stored_bytes for name, size in sizes.items()})
        others = [size for name, size in sizes.items() if name not in named]
        rest = Size(sum(size.keys for size in others), sum(size.stored_bytes for size in others))
        return {**{name: sizes[name] for name in named}, OTHER_DATABASES: rest}


def _present(source: _Source | None) -> _Source:
    if source is None:
        raise _AbsentError
    return source


class Row(NamedTuple):
    """One metric."""

    family: type[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]
    name: str
    help: str
    get: Callable[[_Reading], Any]
    """Returns a number or Histogram; with labels, pairs of their value (or values) and a number."""
    labels: tuple[str, ...]

    def metric(self, reading: _Reading) -> Metric:
        """The metric in the library's form."""
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


def _counter(name: str, help: str, get: Callable[[_Reading], Any], *labels: str) -> Row:
    return Row(CounterMetricFamily, name, help, get, labels)


def _gauge(name: str, help: str, get: Callable[[_Reading], Any], *labels: str) -> Row:
    return Row(GaugeMetricFamily, name, help, get, labels)


def _histogram(name: str, help: str, get: Callable[[_Reading], Histogram]) -> Row:
    return Row(HistogramMetricFamily, name, help, get, ())


# fmt: off
_METRICS: Final = (
    _gauge("nun_db_build_info", "Always 1; the labels give the versions.",
        lambda _now: [((__version__, platform.python_version()), 1)], "version", "python"),
    _gauge("nun_db_ready", "1 if GET /readyz answers ok, else 0.", lambda now: 1 if now.system.reason is None else 0),
    _gauge("nun_db_serving_since_timestamp_seconds", "When the server began to serve clients. An import at the"
        " start can delay it (see process_start_time_seconds).", lambda now: now.serving_since),
    _gauge("nun_db_connections", "Open connections, by transport.",
        lambda now: now.counters.open.items(), "transport"),
    _counter("nun_db_connections_opened", "Connections accepted, by transport.",
        lambda now: now.counters.opened.items(), "transport"),
    _counter("nun_db_connections_refused", "Refused connections, by reason: limit (NUN_MAX_CONNECTIONS), tls (no"
        " TLS, or a failed handshake), proxy (no valid PROXY header), handshake (no valid WebSocket handshake in time),"
        " origin (NUN_ALLOWED_ORIGINS).", lambda now: now.counters.refused.items(), "reason"),
    _gauge("nun_db_sessions", "Sessions with a selected database, by database and transport: the"
        f" {limits.METRICS_DATABASES_MAX} databases with the most sessions, and '{OTHER_DATABASES}'.",
        lambda now: now.sessions(), "database", "transport"),
    _gauge("nun_db_watches", "Watched keys; a key counts once for each session that watches it.",
        lambda now: now.watches()),
    _counter("nun_db_commands", "Answered commands, by name and outcome (ok, or refused with an error). Everything"
        f" that is not a command counts as '{UNKNOWN_COMMAND}'.", lambda now: now.answered(), "command", "outcome"),
    _counter("nun_db_failed_logins", "Wrong passwords and tokens: admin (auth), database (use-db).",
        lambda now: now.engine.counters.failed_logins.items(), "kind"),
    _counter("nun_db_http_answers", "Responses on the HTTP port, by status.",
        lambda now: [(str(status), number) for status, number in sorted(now.counters.http_answers.items())], "status"),
    _histogram("nun_db_turn_seconds", "Duration of a turn: the server reads what arrived, runs the commands and sends"
        " the answers that need not wait for the disk. A command waits for one turn, at most two.",
        lambda now: now.counters.turn_seconds),
    _histogram("nun_db_loop_delay_seconds", "How late a timer of the server fires, measured once a second. Every client"
        " waits this much longer.", lambda now: now.loop_delay_seconds),
    _histogram("nun_db_durable_seconds", "From the first change of a batch until the batch is on disk. With"
        " NUN_DURABILITY=always, no answer of the batch waits longer.", lambda now: now.committer.durable_seconds),
    _histogram("nun_db_http_request_seconds", "From a complete HTTP request with commands to its response, disk writes"
        " included.", lambda now: now.counters.http_request_seconds),
    _histogram("nun_db_password_seconds", "How long commands waited until a password or token was checked or hashed."
        " Secrets that were verified before need no wait and are not counted.",
        lambda now: now.passwords.check_seconds),
    _histogram("nun_db_commit_seconds", "Duration of writing a batch of changes to disk, sync included.",
        lambda now: now.committer.commit_seconds),
    _histogram("nun_db_commit_entries", "Changed keys in each written batch.",
        lambda now: now.committer.commit_entries),
    _gauge("nun_db_log_entries", "Keys whose newest entry is in the log and not yet in the data.",
        lambda now: now.store.logged_entries),
    _gauge("nun_db_log_files", "Log files with changes that are not yet in the data. At 7 of 8, changes wait until it"
        " has them.", lambda now: now.store.log_files),
    _histogram("nun_db_checkpoint_seconds", "Duration of moving a slice of the log into the data, sync"
        " included. Batches that are not written by the thread that serves clients wait this much longer.",
        lambda now: now.committer.checkpoint_seconds),
    _counter("nun_db_loop_commits", "Batches for which the thread that serves clients waited for the disk (NUN_SYNC)."
        " They count in nun_db_commit_seconds too.", lambda now: now.committer.loop_commits),
    _counter("nun_db_commit_failures", "Batches that could not be written, usually because the disk was full.",
        lambda now: now.committer.failures),
    _gauge("nun_db_commit_queue_entries", "Changed keys that are not yet on disk.",
        lambda now: sum(len(batch.entries) for batch in now.batches)),
    _gauge("nun_db_commit_queue_bytes", "Approximate size of these changes.",
        lambda now: sum(batch.bytes_estimated for batch in now.batches)),
    _gauge("nun_db_outbox_bytes", "Output that waits for all clients to read it.",
        lambda now: sum(outbox.waiting_bytes for outbox in now.outboxes)),
    _gauge("nun_db_outbox_largest_bytes", "Output that waits for the slowest client. At NUN_MAX_OUTBOX_SIZE"
        " the server disconnects it.", lambda now: max((outbox.waiting_bytes for outbox in now.outboxes), default=0)),
    _gauge("nun_db_stalled_clients", "Clients that currently read more slowly than the server sends.",
        lambda now: sum(outbox.is_stalled for outbox in now.outboxes)),
    _gauge("nun_db_unfinished_input_bytes", "Memory for messages and requests that are incomplete or wait"
        " (NUN_MAX_UNFINISHED_SIZE).", lambda now: sum(host.input_budget.bytes for host in now.hosts)),
    _counter("nun_db_conflated_events", "Events replaced by a newer one of the same key before a slow client read"
        " them.", lambda now: now.counters.conflated_events),
    _counter("nun_db_dropped_sessions", "Sessions that the server ended, by reason: slow_reader (read too slowly),"
        " gone (no longer answers), message_too_big, unfinished_input (NUN_MAX_UNFINISHED_SIZE),"
        " internal_error.", lambda now: now.counters.dropped.items(), "reason"),
    _counter("nun_db_log_lines_dropped", "Log lines that were dropped because nobody read standard output or it could"
        " not be written.", lambda _now: logs.dropped_lines()),
    _gauge("nun_db_stored_entries", "Keys in the data, of all databases and the server itself, without new keys that"
        " are only in the log.", lambda now: now.store.entries),
    _gauge("nun_db_databases", "Number of databases, $admin included.", lambda now: len(now.sizes.by_name)),
    _gauge("nun_db_database_keys", f"Keys on disk, with those of users, permissions and tokens: the"
        f" {limits.METRICS_DATABASES_MAX} largest databases, and '{OTHER_DATABASES}'.",
        lambda now: [(name, size.keys) for name, size in now.database_sizes.items()], "database"),
    _gauge("nun_db_database_bytes", "Bytes of these keys and their values, as in `db-size`.",
        lambda now: [(name, size.stored_bytes) for name, size in now.database_sizes.items()], "database"),
    _gauge("nun_db_databases_measured_timestamp_seconds", "When the three metrics above were measured, at most once a"
        " minute; 0 before the first time.", lambda now: now.sizes.measured_at),
    _gauge("nun_db_data_file_bytes", "Size of the data file.", lambda now: now.system.file_bytes),
    _gauge("nun_db_data_used_bytes", "Size of the data file's used part, with pages that are free again.",
        lambda now: now.store.used_bytes),
    _gauge("nun_db_data_disk_bytes", "Disk space that the data file occupies.", lambda now: now.system.allocated_bytes),
    _gauge("nun_db_disk_free_bytes", "Free space on the disk of the data.", lambda now: now.system.disk_free_bytes),
    _gauge("nun_db_disk_bytes", "Size of the disk of the data.", lambda now: now.system.disk_bytes),
    _gauge("nun_db_last_backup_timestamp_seconds", "When the newest scheduled backup (NUN_BACKUP_DIR) was"
        " started; 0 without a backup or a schedule.", lambda now: now.backups.newest_at),
    _counter("nun_db_backup_failures", "Failed attempts to make a scheduled backup.", lambda now: now.backups.failures),
)

CLUSTER_METRICS: Final = (
    _gauge("nun_db_cluster_owner", "1 if this node owns the data, else 0.", lambda now: int(now.cluster.is_owner)),
    _gauge("nun_db_cluster_nodes", "Nodes that were ever part of the cluster, by what they are: owner, following, away"
        " (no sign of life).", lambda now: now.cluster.nodes.items(), "role"),
    _gauge("nun_db_cluster_batch", "Number of the newest batch of changes in this node's data, the same at all nodes.",
        lambda now: now.cluster.batch),
    _gauge("nun_db_cluster_batches_behind", "Batches that this node knows of and has not got in its data.",
        lambda now: now.cluster.batches_behind),
    _gauge("nun_db_cluster_behind_seconds", "For how long it has known of some of these; 0 if it is not behind.",
        lambda now: now.cluster.behind_seconds),
    _gauge("nun_db_cluster_etcd_answered_timestamp_seconds", "When etcd last answered this node.",
        lambda now: now.cluster.etcd_answered_at),
    _gauge("nun_db_cluster_edge_clients", "WebSocket and TCP clients of this node whose sessions are at the owner.",
        lambda now: now.cluster.edge_clients),
    _gauge("nun_db_cluster_linked_clients", "At the owner: sessions of clients of other nodes, by node.",
        lambda now: now.cluster.linked_clients.items(), "node"),
    _counter("nun_db_cluster_terms", "How often this node became owner.", lambda now: now.cluster.terms),
    _counter("nun_db_cluster_lost_terms", "How often this node ceased to be owner without wanting to: its lease ended,"
        " etcd refused a change, its disk failed. Its clients were disconnected.", lambda now: now.cluster.lost_terms),
    _histogram("nun_db_cluster_accept_seconds", "Duration until etcd accepted a batch of changes, repeated tries"
        " included. nun_db_commit_seconds has this time and that of the own disk.",
        lambda now: now.cluster.accept_seconds),
    _counter("nun_db_cluster_copies", "Copies of its data that this node has sent to others.",
        lambda now: now.cluster.copies),
)
# fmt: on


class Metrics:
    """The metrics of one server."""

    def __init__(self, sizes: DatabaseSizes, sources: Callable[[], Sources]) -> None:
        self._sizes = sizes
        self._sources = sources
        self._turn = trio.Lock()
        self._pages: dict[bool, tuple[float, Page]] = {}
        """By `with_names`: the time when the page was started, and the page."""
        self._rested_at = -math.inf

    async def page(self, health: Health, *, with_names: bool) -> Page:
        """The page, with or without names of databases.

        Requests that arrive before the next page is started share that page, so frequent requests cost little.
        """
        await self._sizes.want()
        asked_at = trio.current_time()
        async with self._turn:
            begun_at, page = self._pages.get(with_names, (-math.inf, Page(503, b"")))
            if begun_at < asked_at:
                await trio.sleep_until(self._rested_at)
                begun_at = trio.current_time()
                folder = self._sources().store.folder
                reason = await health.reason()
                system = await health.disk.ask(ask_system, folder, reason) or System(reason)
                began = trio.current_time()
                registry = CollectorRegistry(auto_describe=False)
                registry.register(_Reading(self._sources(), system, health.serving_since, with_names=with_names))
                ProcessCollector(registry=registry)  # a new one each time: it keeps the clock of its start
                page = Page(200, generate_latest(registry), CONTENT_TYPE)
                ended = trio.current_time()
                self._rested_at = ended + _PAUSES * (ended - began)
                self._pages[with_names] = begun_at, page
            return page
