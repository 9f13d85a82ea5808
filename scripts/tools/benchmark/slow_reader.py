"""One watcher among a hundred stops reading while a writer goes on at full speed: nobody else may notice.

Before and after, all of them read: these phases, in the same run, are what the phase with the stopped one is held
against. Checked are the server's memory, which may grow by one outbox at most, and that the stopped one ends with the
newest value and version of each key when it reads again, having seen no version after a newer one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from tools.benchmark import servers
from tools.benchmark.measure import Timing, drive, memory_figures
from tools.benchmark.processes import MeasureError
from tools.benchmark.runs import MIB, new_folder
from tools.benchmark.scenarios import Drive
from tools.benchmark.wire import LOGIN, Control, value_of, watched_key_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.benchmark.scale import Point, ScalePlan
    from tools.benchmark.servers import Server

WATCHERS = 100
WATCHED_KEYS = 100
OUTBOX_MIB_MAX = 8
"""The server's default of NUN_MAX_OUTBOX_SIZE."""
RECEIVE_BUFFER_BYTES = 64 * 1024
"""The kernel's, of the one that stops: what lies there is neither in the server's memory nor the newest."""
SAMPLE_SECONDS = 0.1
READ_AGAIN_SECONDS_MAX = 60.0


def slow_reader(scale: ScalePlan) -> Iterator[Point]:
    """One stopped reader among 100 watchers of 100 keys, 1 writer at full speed: all read, one stopped, all read."""
    names = [watched_key_name(number) for number in range(WATCHED_KEYS)]
    for durability in scale.plan.durabilities:
        with new_folder(scale.plan.folder) as folder, servers.run_pynun(folder, durability) as server:
            seconds, address = scale.plan.timing.seconds, server.addresses["websocket"]
            with Control(address) as control:
                control.ask(LOGIN)
                control.ask_all([f"set {name} {value_of(number)}" for number, name in enumerate(names)])
                before = _phase("all read", WATCHERS, seconds / 4, server)
                yield before
                with Control(address, receive_buffer_bytes=RECEIVE_BUFFER_BYTES) as stopped:
                    stopped.ask(LOGIN)
                    stopped.ask_all([f"watch {name}" for name in names])
                    point = _phase("one stopped", WATCHERS - 1, seconds, server)
                    answers = control.ask_all([f"get-safe {name}" for name in names])
                    newest = [messages[0].removeprefix("value-version ").rstrip("\n") for messages in answers]
                    yield point | read_again(stopped, dict(zip(names, newest, strict=True)))
                    judge_memory(float(before["rss_anon_max_mib"]), float(point["rss_anon_max_mib"]))
                yield _phase("all read again", WATCHERS, seconds / 4, server)


def _phase(name: str, watchers: int, seconds: float, server: Server) -> Point:
    """An interval with the same clients, and the most memory that the server held meanwhile."""
    samples, is_over = [memory_figures(server)["rss_anon_bytes"]], threading.Event()

    def sample() -> None:
        while not is_over.wait(SAMPLE_SECONDS):
            samples.append(memory_figures(server)["rss_anon_bytes"])

    timing = Timing(seconds, warmup_seconds=min(1.0, seconds / 3))
    thread = threading.Thread(target=sample)
    thread.start()
    try:
        loads = Drive(watchers=watchers, watched_keys=WATCHED_KEYS).loads(server)
        figures, sets, _ = drive(server, loads, timing)
    finally:
        is_over.set()
        thread.join()
    return {
        "phase": name,
        "durability": server.durability,
        "sets": sets,
        "events_per_second": figures["operations_per_second"],
        "p50_ms": figures["p50_ms"],
        "p99_ms": figures["p99_ms"],
        "rss_anon_max_mib": max(samples) / MIB,
    }


def judge_memory(before_mib: float, with_stopped_mib: float) -> None:
    """Raises MeasureError if the server held more for the stopped reader than one outbox may hold."""
    if (grown_mib := with_stopped_mib - before_mib) > OUTBOX_MIB_MAX:
        raise MeasureError(f"the server's memory grew by {grown_mib:.1f} MiB, more than an outbox ({OUTBOX_MIB_MAX})")


def read_again(stopped: Control, newest: dict[str, str]) -> Point:
    """Read until each key has its newest `VERSION VALUE`; what was received. Raises MeasureError if it never comes."""
    began, events = time.monotonic(), 0
    seen: dict[str, str] = {}
    with contextlib.suppress(TimeoutError):
        while seen != newest and time.monotonic() < began + READ_AGAIN_SECONDS_MAX:
            word, _, rest = stopped.next_message().rstrip("\n").partition(" ")
            if word == "changed-version":
                key, _, event = rest.partition(" ")
                version, version_before = (int(text.split(" ")[0]) for text in (event, seen.get(key, "-1")))
                if version <= version_before:
                    raise MeasureError(f"{key}: version {version} came after {version_before}")
                seen[key] = event
                events += 1
    if stale := [key for key in newest if seen.get(key) != newest[key]]:
        raise MeasureError(
            f"the stopped reader did not end with the newest of {len(stale)} keys; {stale[0]}: {seen.get(stale[0])}"
            f" instead of {newest[stale[0]]}"
        )
    return {"events_when_read_again": events, "read_again_seconds": time.monotonic() - began}
