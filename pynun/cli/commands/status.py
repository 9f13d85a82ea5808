"""`nun-db status`: whether a server is ready and what it does, for a person or as JSON.

The exit code says the most important: 0 ready, 1 not ready, 4 no answer.
"""

from __future__ import annotations

import json
import math
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from pynun.cli.errors import ExitCode
from pynun.cli.options import TIMEOUT_SECONDS_DEFAULT, Timeout
from pynun.cli.output.escape import prepare_output, printable_for, shown_name
from pynun.cli.output.numbers import count, duration, size
from pynun.cli.output.standard_streams import Unwritten
from pynun.cli.remote.credentials import optional_login
from pynun.cli.remote.http_request import parse_target
from pynun.cli.remote.metrics import Health, LoginRefusedError, Metrics, ask_health, ask_metrics

if TYPE_CHECKING:
    from pynun.cli.options import Connection
    from pynun.cli.remote.http_request import Login, Target

_DATABASES_SHOWN = 20
_START_SECONDS_USUAL = 10.0
_NAME_CHARACTERS_MAX = 36


app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for scripts.")] = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Show whether a running server is ready, and what it does.

    Exit code: 0 ready, 1 not ready, 4 no answer. No password is needed; the administrator's login adds the names of
    databases.
    """
    given: Connection = context.obj
    target = parse_target(given.http_url(), given.authority)
    login = optional_login(given, target.url)
    code = _run_status(target, login, timeout, as_json)
    raise typer.Exit(code)


def _run_status(target: Target, login: Login | None, timeout_seconds: int, as_json: bool) -> int:
    """Print the status and return the exit code. Raises CommandError.

    A login is for names of databases only: if it is refused, that is told, and all else is shown.
    """
    health = ask_health(target, timeout_seconds)
    try:
        metrics = ask_metrics(target, timeout_seconds, login)
    except LoginRefusedError as error:
        print(f"nun-db: {error}", file=sys.stderr)
        metrics = ask_metrics(target, timeout_seconds, None)
    if as_json:
        text = as_object(target.url, health, metrics)
    else:
        text = "\n".join(printable_for(sys.stdout, line) for line in as_lines(target.url, health, metrics))
    prepare_output()
    unwritten = Unwritten()
    with unwritten.kept():
        print(text, flush=True)
    unwritten.tell()
    return 0 if health.is_ready else ExitCode.REFUSED


def as_object(url: str, health: Health, metrics: Metrics | str) -> str:
    """One JSON object; `metrics` has a list of labels and values for each name, and is null where there are none."""
    samples_of = None
    if isinstance(metrics, Metrics):
        samples_of = {
            name: [{"labels": sample.labels, "value": _number(sample.value)} for sample in samples]
            for name, samples in metrics.samples.items()
        }
    found = {"url": url, "ready": health.is_ready, "reason": health.reason or None, "metrics": samples_of}
    return json.dumps(found if health.node is None else found | {"node": health.node})


def _number(value: float) -> float | int | None:
    """As JSON has it: without infinities and what is not a number."""
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else value


def as_lines(url: str, health: Health, metrics: Metrics | str) -> list[str]:
    """The lines for a person."""
    state = "ready" if health.is_ready else f"NOT READY: {health.reason}"
    if isinstance(metrics, str):
        return [f"{url}: {state}", *_cluster(health), f"no figures: {metrics}"]
    version = metrics.label("nun_db_build_info", "version")
    return [
        f"{url}: {state}, version {version}{_age(metrics)}",
        "",
        *_cluster(health),
        *summary(metrics),
        "",
        *database_lines(metrics),
        *_counted(metrics),
    ]


def _age(metrics: Metrics) -> str:
    """How long clients have been served, and how long the start took if it was longer than one without an import."""
    since = metrics.total("nun_db_serving_since_timestamp_seconds")
    if not since:
        return ""
    start_seconds = since - metrics.total("process_start_time_seconds")
    start = f", after a start of {duration(start_seconds)}" if start_seconds > _START_SECONDS_USUAL else ""
    return f", serving for {duration(max(0.0, time.time() - since))}{start}"


def summary(metrics: Metrics) -> list[str]:
    """What the server does, a line for each side of it."""
    total = metrics.total
    connections = "  ".join(
        f"{transport} {count(number)}" for transport, number in metrics.by("nun_db_connections", "transport").items()
    )
    return [
        _line("connections", f"{connections}; {count(total('nun_db_connections_refused_total'))} refused so far"),
        *(_engine(metrics) if has_engine(metrics) else [_line("sessions", at_owner(metrics))]),
        _line(
            "slow clients",
            f"{count(total('nun_db_stalled_clients'))}, {size(total('nun_db_outbox_bytes'))} wait;"
            f" {count(total('nun_db_conflated_events_total'))} events conflated,"
            f" {count(total('nun_db_dropped_sessions_total'))} sessions dropped",
        ),
        *(_commits(metrics) if has_engine(metrics) else []),
        _line(
            "mean times",
            f"turn {_mean(metrics, 'turn')}, HTTP {_mean(metrics, 'http_request')},"
            f" to disk {_mean(metrics, 'durable')}, password {_mean(metrics, 'password')}",
        ),
        _line(
            "data",
            f"{count(total('nun_db_databases'))} databases, {keys_of(metrics)}, file"
            f" {size(total('nun_db_data_file_bytes'))}; {size(total('nun_db_disk_free_bytes'))} of"
            f" {size(total('nun_db_disk_bytes'))} free",
        ),
        *_backups(metrics),
        _line(
            "process",
            f"{size(total('process_resident_memory_bytes'))} memory,"
            f" {duration(total('process_cpu_seconds_total'))} CPU, {count(total('process_open_fds'))} of"
            f" {count(total('process_max_fds'))} files",
        ),
    ]


def has_engine(metrics: Metrics) -> bool:
    """Whether the server runs the commands itself; a node of a cluster that follows does not."""
    return "nun_db_commands_total" in metrics.samples


def at_owner(metrics: Metrics) -> str:
    """What stands in the place of sessions then."""
    return f"{count(metrics.total('nun_db_cluster_edge_clients'))} at the node that owns the data"


def _engine(metrics: Metrics) -> list[str]:
    total = metrics.total
    refused = total("nun_db_commands_total", outcome="refused")
    return [
        _line("sessions", f"{count(total('nun_db_sessions'))}, {count(total('nun_db_watches'))} keys watched"),
        _line(
            "commands",
            f"{count(total('nun_db_commands_total'))}, of which {count(refused)} refused;"
            f" {count(total('nun_db_failed_logins_total'))} failed logins",
        ),
    ]


def _commits(metrics: Metrics) -> list[str]:
    total = metrics.total
    commits = total("nun_db_commit_seconds_count")
    entries = total("nun_db_commit_entries_sum") / commits if commits else 0.0
    return [
        _line(
            "commits",
            f"{count(commits)} of {entries:.1f} keys in {_mean(metrics, 'commit')} on average;"
            f" {count(total('nun_db_commit_failures_total'))} failed",
        )
    ]


def _cluster(health: Health) -> list[str]:
    """A node's place in its cluster; nothing for a single server."""
    node = health.node
    if node is None:
        return []
    own = f"{node['node']}, {node['role'] or 'starting'}{_since(node['since'])}"
    if node["behind"]:
        own += f", {count(node['behind'])} batches behind"
    owner = (
        "no node owns the data" if node["owner"] is None else f"owned by {node['owner']}{_since(node['owner_since'])}"
    )
    return [
        _line("node", own),
        _line("cluster", f"{owner}; {count(node['following'])} following, {count(node['away'])} away"),
        _line("etcd", f"answered {duration(node['etcd_answered_seconds_ago'])} ago"),
    ]


def _since(seconds: float | None) -> str:
    return "" if seconds is None else f" for {duration(max(0.0, time.time() - seconds))}"


def keys_of(metrics: Metrics) -> str:
    """How many keys there are: the sum of the databases, or, if the server does not name them, what the file has."""
    if "nun_db_database_keys" in metrics.samples:
        return f"{count(metrics.total('nun_db_database_keys'))} keys"
    return f"{count(metrics.total('nun_db_stored_entries'))} keys and notes of the server"


def _counted(metrics: Metrics) -> list[str]:
    """What the table counts, and when it was counted."""
    measured = metrics.total("nun_db_databases_measured_timestamp_seconds")
    if not measured:
        return []
    return [
        f"Keys: with those of users, permissions and tokens; counted {duration(max(0.0, time.time() - measured))} ago"
    ]


def _mean(metrics: Metrics, what: str) -> str:
    """How long something took on average since the start of the process."""
    number = metrics.total(f"nun_db_{what}_seconds_count")
    return duration(metrics.total(f"nun_db_{what}_seconds_sum") / number if number else math.nan)


def _backups(metrics: Metrics) -> list[str]:
    """A line about the backups on a schedule; none where there is no schedule."""
    newest = metrics.total("nun_db_last_backup_timestamp_seconds")
    failures = metrics.total("nun_db_backup_failures_total")
    if not newest and not failures:
        return []
    age = f"the newest was begun {duration(max(0.0, time.time() - newest))} ago" if newest else "none"
    return [_line("backups", f"{age}; {count(failures)} failed")]


def _line(name: str, text: str) -> str:
    return f"{name:<13}{text}"


def database_lines(metrics: Metrics, most: int = _DATABASES_SHOWN) -> list[str]:
    """A table of the databases with the most sessions and bytes."""
    keys = metrics.by("nun_db_database_keys", "database")
    stored = metrics.by("nun_db_database_bytes", "database")
    sessions = metrics.by("nun_db_sessions", "database")
    names = sorted({*keys, *sessions}, key=lambda name: (-sessions.get(name, 0.0), -stored.get(name, 0.0), name))
    shown = [name for name in names if " " not in name or keys.get(name) or sessions.get(name)]
    lines = [f"{'database':<{_NAME_CHARACTERS_MAX}} {'sessions':>9} {'keys':>12} {'bytes':>12}"]
    for name in shown[:most]:
        name_shown = shown_name(name)
        short = name_shown if len(name_shown) <= _NAME_CHARACTERS_MAX else name_shown[: _NAME_CHARACTERS_MAX - 1] + "…"
        lines.append(
            f"{short:<{_NAME_CHARACTERS_MAX}} {count(sessions.get(name, 0)):>9} {count(keys.get(name, 0)):>12}"
            f" {size(stored.get(name, 0)):>12}"
        )
    if len(shown) > most:
        lines.append(f"({len(shown) - most} more)")
    return lines
