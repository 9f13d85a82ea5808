"""One watcher among a hundred stops reading while a writer goes on at full speed: nobody else may notice.

Before and after, all of them read: these phases, in the same run, are what the phase with the stopped one is held
against. Checked are the server's memory, which may grow by one outbox at most, and that the stopped one ends with the
newest value and version of each key when it reads again, having seen no version after a newer one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from tools.benchmark import processes, servers
from tools.benchmark.load import value_of, watched_key_name
from tools.benchmark.measure import Figures, Timing, drive, orders_for
from tools.benchmark.runs import MIB, new_folder, say
from tools.benchmark.scenarios import Load
from tools.benchmark.wire import Control, WireError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.benchmark.servers import Server

WATCHERS = 100
WATCHED_KEYS = 100
OUTBOX_BYTES_MAX = 8 * MIB
"""The server's default of NUN_MAX_OUTBOX_SIZE."""
RECEIVE_BUFFER_BYTES = 64 * 1024
"""The kernel's, of the one that stops: what lies there is neither in the server's memory nor the newest."""
SAMPLE_SECONDS = 0.1
READ_AGAIN_SECONDS_MAX = 60.0


class Sample(NamedTuple):
    """The server's private memory at some time."""

    seconds: float
    rss_anon_bytes: int


class Newest(NamedTuple):
    """A key's version and value."""

    version: int
    value: str


@dataclass(slots=True, kw_only=True)
class Phase:
    """An interval with the same clients."""

    name: str
    watchers: int
    figures: Figures
    sets: int
    memory: list[Sample]
    """Seconds from the start of all."""

    @property
    def rss_anon_bytes_max(self) -> int:
        """The most that was held."""
        return max(sample.rss_anon_bytes for sample in self.memory)


@dataclass(slots=True, kw_only=True)
class SlowReader:
    """What came of it."""

    durability: str
    watchers: int = WATCHERS
    watched_keys: int = WATCHED_KEYS
    outbox_bytes_max: int = OUTBOX_BYTES_MAX
    phases: list[Phase] = field(default_factory=list)
    """All read; one stopped; all read."""
    events_received: int = 0
    """By the stopped one when it read again: the others were replaced by newer ones."""
    read_again_seconds: float = 0.0
    complaints: list[str] = field(default_factory=list)

    @property
    def growth_bytes(self) -> int:
        """How much more memory the server held with a stopped reader than before."""
        return self.phases[1].rss_anon_bytes_max - self.phases[0].rss_anon_bytes_max

    def table(self) -> str:
        """All phases, the memory and the verdict."""
        lines = [
            f"Slow reader ({self.durability}; 1 writer at full speed over {self.watched_keys} keys,"
            f" {self.watchers} watchers of all of them)",
            f"{'phase':<16}  {'sets/s':>7}  {'events/s':>9}  {'p50 ms':>8}  {'p99 ms':>8}  {'RssAnon MiB, most':>17}",
        ]
        for phase in self.phases:
            figures = phase.figures
            sets_per_second = figures.operations_per_second / phase.watchers
            lines.append(
                f"{phase.name:<16}  {sets_per_second:>7,.0f}  {figures.operations_per_second:>9,.0f}"
                f"  {figures.p50_ms:>8.3f}  {figures.p99_ms:>8.3f}"
                f"  {phase.rss_anon_bytes_max / MIB:>17.1f}"
            )
        if len(self.phases) > 1:
            lines.append(
                f"memory {self.growth_bytes / MIB:+.1f} MiB with the stopped reader; allowed are"
                f" {self.outbox_bytes_max / MIB:g} MiB"
            )
            lines.append(
                f"of {self.phases[1].sets:,} sets the stopped one received {self.events_received:,} events when it read"
                f" again, in {self.read_again_seconds:.2f} s"
            )
        lines += [f"WRONG: {complaint}" for complaint in self.complaints] or ["all as it should be"]
        return "\n".join(lines)


def run_slow_reader(durability: str, seconds: float, folder: Path) -> SlowReader:
    """Measure: all read for a quarter of the time, one stopped for all of it, all read for a quarter."""
    found = SlowReader(durability=durability)
    say(f"One stopped reader among {WATCHERS}, {durability}: {seconds * 1.5:.0f} s")
    with new_folder(folder) as own, servers.run_pynun(own, durability) as server:
        began = time.monotonic()
        with Control(server.addresses["websocket"]) as control:
            control.ask(f"use-db {servers.DATABASE} {servers.TOKEN}")
            control.set_many(f"set {watched_key_name(number)} {value_of(number)}" for number in range(WATCHED_KEYS))
        found.phases.append(_run_phase("all read", WATCHERS, seconds / 4, server, began))
        with Control(server.addresses["websocket"], receive_buffer_bytes=RECEIVE_BUFFER_BYTES) as stopped:
            stopped.ask(f"use-db {servers.DATABASE} {servers.TOKEN}")
            stopped.ask_all([f"watch {watched_key_name(number)}" for number in range(WATCHED_KEYS)])
            found.phases.append(_run_phase("one does not", WATCHERS - 1, seconds, server, began))
            judge_memory(found)
            read_again(stopped, _newest(server), found)
        found.phases.append(_run_phase("all read again", WATCHERS, seconds / 4, server, began))
    return found


def _run_phase(name: str, watchers: int, seconds: float, server: Server, began: float) -> Phase:
    load = Load(watchers=watchers, watched_keys=WATCHED_KEYS)
    timing = Timing(seconds, warmup_seconds=min(1.0, seconds / 3))
    with _sampling(server, began) as samples:
        figures, sets, _ = drive(server, orders_for(server, load, timing), timing)
    say(f"  {name}: {figures.operations_per_second:,.0f} events/s, p99 {figures.p99_ms:.3f} ms")
    return Phase(name=name, watchers=watchers, figures=figures, sets=sets, memory=samples)


@contextlib.contextmanager
def _sampling(server: Server, began: float) -> Iterator[list[Sample]]:
    """Read the server's memory again and again meanwhile."""
    assert server.pid is not None
    pid, samples, is_over = server.pid, list[Sample](), threading.Event()

    def sample() -> None:
        samples.append(Sample(time.monotonic() - began, processes.memory(pid).rss_anon_bytes))

    def run() -> None:
        while not is_over.wait(SAMPLE_SECONDS):
            sample()

    sample()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield samples
    finally:
        is_over.set()
        thread.join()
        sample()


def _newest(server: Server) -> dict[str, Newest]:
    keys = [watched_key_name(number) for number in range(WATCHED_KEYS)]
    with Control(server.addresses["websocket"]) as control:
        control.ask(f"use-db {servers.DATABASE} {servers.TOKEN}")
        answers = control.ask_all([f"get-safe {key}" for key in keys])
    texts = [messages[0].removeprefix("value-version ") for messages in answers]
    return {key: parse_version(text) for key, text in zip(keys, texts, strict=True)}


def parse_version(text: str) -> Newest:
    """Read `VERSION VALUE`, as both answers and events end."""
    version, _, value = text.rstrip("\n").partition(" ")
    return Newest(int(version), value)


def judge_memory(found: SlowReader) -> None:
    """Complain if the server held more for the stopped reader than one outbox may hold."""
    if found.growth_bytes > found.outbox_bytes_max:
        found.complaints.append(
            f"the server's memory grew by {found.growth_bytes / MIB:.1f} MiB,"
            f" more than an outbox may hold ({found.outbox_bytes_max / MIB:g} MiB)"
        )


def read_again(stopped: Control, newest: dict[str, Newest], found: SlowReader) -> None:
    """Read until everything is as it should be, or nothing comes any more; complain of what is wrong."""
    began = time.monotonic()
    seen: dict[str, Newest] = {}
    try:
        while seen != newest and time.monotonic() < began + READ_AGAIN_SECONDS_MAX:
            word, _, rest = stopped.next_message().partition(" ")
            if word != "changed-version":
                continue
            key, _, text = rest.partition(" ")
            event = parse_version(text)
            if key in seen and event.version <= seen[key].version:
                found.complaints.append(f"{key}: version {event.version} came after {seen[key].version}")
                return
            seen[key] = event
            found.events_received += 1
    except (WireError, TimeoutError) as error:
        found.complaints.append(f"the stopped reader got no more: {error}")
    found.read_again_seconds = time.monotonic() - began
    stale = [key for key in newest if seen.get(key) != newest[key]]
    if stale:
        key = stale[0]
        found.complaints.append(
            f"the stopped reader did not end with the newest of {len(stale)} keys; {key}: {seen.get(key)}"
            f" instead of {newest[key]}"
        )
