"""`nun-db top`: what a server does, on the whole terminal, renewed each second, until q or Ctrl-C.

Rates are differences between two looks. Whatever ends it, the terminal is left as it was.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from typing import TYPE_CHECKING, NamedTuple

import typer

from pynun.cli.commands.status import at_owner, database_lines, has_engine, keys_of
from pynun.cli.errors import NoConnectionError, UsageError
from pynun.cli.output.escape import printable
from pynun.cli.output.numbers import count, duration, rate, size
from pynun.cli.remote.credentials import optional_login
from pynun.cli.remote.http_request import parse_target
from pynun.cli.remote.metrics import Health, Metrics, ask_health, ask_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from pynun.cli.options import Connection
    from pynun.cli.remote.http_request import Login, Target

_PERIOD_SECONDS = 1.0
_TIMEOUT_SECONDS = 5
_COMMANDS_SHOWN = 6

_ENTER = "\x1b[?1049h\x1b[?25l"  # another screen, without a cursor (xterm)
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def top(context: typer.Context) -> None:
    """Show what a running server does, live, until q or Ctrl-C.

    No password is needed; the administrator's login adds the names of databases.
    """
    given: Connection = context.obj
    target = parse_target(given.http_url(), given.authority)
    _run_top(target, optional_login(given, target.url))


class Look(NamedTuple):
    """What the server said at one time."""

    at: float
    """Seconds of a clock that only goes forward."""
    health: Health
    metrics: Metrics


def _run_top(target: Target, login: Login | None) -> None:
    """Show it until q or Ctrl-C.

    Raises UsageError without a terminal, NoConnectionError if there is no first look, and LoginRefusedError: it would
    be a wrong password each second.
    """
    if not sys.stdout.isatty():
        raise UsageError("top needs a terminal; for a single report use: nun-db status")
    before = _look(target, login)
    with contextlib.suppress(KeyboardInterrupt, OSError), _terminal_taken():  # OSError: the terminal is gone
        _show(target, before, before, "")
        while not _is_quit_within(_PERIOD_SECONDS):
            try:
                now = _look(target, login)
            except NoConnectionError as error:
                _show(target, before, before, f"{error}; trying again")
                continue
            _show(target, before, now, "")
            before = now


def _look(target: Target, login: Login | None) -> Look:
    health = ask_health(target, _TIMEOUT_SECONDS)
    metrics = ask_metrics(target, _TIMEOUT_SECONDS, login)
    if isinstance(metrics, str):
        raise UsageError(f"there is nothing to show: {metrics}")
    return Look(time.monotonic(), health, metrics)


def _show(target: Target, before: Look, now: Look, trouble: str) -> None:
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    lines = screen(target.url, before, now, trouble, rows)
    shown = (printable(line)[: columns - 1] for line in lines[: rows - 1])
    _write(_HOME + "".join(f"{line}{_CLEAR_LINE}\r\n" for line in shown) + _CLEAR_BELOW)


def _write(text: str) -> None:
    """At once, and not twice when a signal comes between. Raises OSError."""
    data = text.encode(sys.stdout.encoding, "backslashreplace")
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


def screen(url: str, before: Look, now: Look, trouble: str, rows: int) -> list[str]:
    """The lines of one screen."""
    metrics, seconds = now.metrics, max(now.at - before.at, 1e-9)

    def a_second(name: str, **labels: str) -> float:
        return max(0.0, metrics.total(name, **labels) - before.metrics.total(name, **labels)) / seconds

    def mean(name: str) -> str:
        number = a_second(f"{name}_count")
        return duration(a_second(f"{name}_sum") / number if number else float("nan"))

    total = metrics.total
    state = trouble or ("ready" if now.health.is_ready else f"NOT READY: {now.health.reason}")
    connections = "  ".join(
        f"{transport} {count(number)}" for transport, number in metrics.by("nun_db_connections", "transport").items()
    )
    is_engine = has_engine(metrics)
    sessions = (
        f"sessions {count(total('nun_db_sessions'))}   watches {count(total('nun_db_watches'))}"
        if is_engine
        else f"sessions {at_owner(metrics)}"
    )
    commands = [
        f"commands/s   {rate(a_second('nun_db_commands_total'))}"
        f"   refused {rate(a_second('nun_db_commands_total', outcome='refused'))}"
        f"   failed logins {rate(a_second('nun_db_failed_logins_total'))}"
        f"   at a stretch {mean('nun_db_turn_seconds')}",
        f"commits/s    {rate(a_second('nun_db_commit_seconds_count'))}"
        f"   keys/s {rate(a_second('nun_db_commit_entries_sum'))}   time {mean('nun_db_commit_seconds')}"
        f"   to disk {mean('nun_db_durable_seconds')}   waiting {count(total('nun_db_commit_queue_entries'))}",
    ]
    busiest = [
        f"{'command':<24} {'a second':>10} {'so far':>15}",
        *_command_lines(before.metrics, metrics, seconds),
        "",
    ]
    lines = [
        f"nun-db {metrics.label('nun_db_build_info', 'version')} at {url}   {time.strftime('%H:%M:%S')}   q quits",
        state,
        "",
        f"connections  {connections}   {sessions}",
        *(commands if is_engine else []),
        f"clients      waiting {size(total('nun_db_outbox_bytes'))}"
        f"   slow {count(total('nun_db_stalled_clients'))}"
        f"   conflated/s {rate(a_second('nun_db_conflated_events_total'))}"
        f"   dropped {count(total('nun_db_dropped_sessions_total'))}",
        f"process      CPU {100 * a_second('process_cpu_seconds_total'):.0f} %"
        f"   memory {size(total('process_resident_memory_bytes'))}   files {count(total('process_open_fds'))}",
        f"data         {keys_of(metrics)}   file {size(total('nun_db_data_file_bytes'))}"
        f"   free {size(total('nun_db_disk_free_bytes'))} of {size(total('nun_db_disk_bytes'))}",
        "",
        *(busiest if is_engine else []),
    ]
    return lines + database_lines(metrics, max(1, rows - 3 - len(lines)))


def _command_lines(before: Metrics, metrics: Metrics, seconds: float) -> Iterator[str]:
    so_far = metrics.by("nun_db_commands_total", "command")
    earlier = before.by("nun_db_commands_total", "command")
    rates = {name: max(0.0, number - earlier.get(name, 0.0)) / seconds for name, number in so_far.items()}
    busiest = sorted(so_far, key=lambda name: (-rates[name], -so_far[name], name))[:_COMMANDS_SHOWN]
    for name in busiest:
        if so_far[name]:
            yield f"{name:<24} {rate(rates[name]):>10} {count(so_far[name]):>15}"


def _is_quit_within(seconds: float) -> bool:
    """Whether q is typed within that time; without a terminal to type on, just the time."""
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return False
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        readable, _, _ = select.select([sys.stdin], [], [], left)
        if readable:
            typed = os.read(sys.stdin.fileno(), 1024)
            if not typed or b"q" in typed.lower():
                return True
    return False


@contextlib.contextmanager
def _terminal_taken() -> Iterator[None]:
    """The terminal's other screen, keys as they are typed; as before at the end, also of SIGTERM and SIGHUP."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signals = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    typed_on = sys.stdin.fileno() if sys.stdin.isatty() else None
    mode = None if typed_on is None else termios.tcgetattr(typed_on)
    try:
        if typed_on is not None:
            tty.setcbreak(typed_on)
        _write(_ENTER)
        yield
    finally:
        with contextlib.suppress(OSError):
            _write(_LEAVE)
        if typed_on is not None and mode is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(typed_on, termios.TCSADRAIN, mode)
        for number, handler in signals.items():
            signal.signal(number, handler)
