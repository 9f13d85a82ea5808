"""The second phase: the server is killed at random moments under load, and started again on the same folder.

After each start everything acknowledged must be there, with its version, and no half of a change (`tools.clients.lives`
says how that is checked), and what was there from earlier lives must be as it was. Some are killed again while they
start, some stop cleanly. At each start the server is looked at: however often it was killed, it must not hold more.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from tools.clients.lives import Life
from tools.clients.load import States, read_states
from tools.clients.rough_clients import KeyWatcher
from tools.soak.run import CONFLICTS, DATABASE, LossError

if TYPE_CHECKING:
    from tools.soak.run import Run

PHASE: Final = "kills"
REMEMBERED_LIVES: Final = 5
"""So many lives back it is looked whether all is as it was; older ones' keys are removed."""

CLEAN_SHARE: Final = 0.1
STARTING_SHARE: Final = 0.15


def run_kills(run: Run, kills: int, seconds: float) -> None:
    """Kill so often, spread over so many seconds (longer if it takes longer). Raises at what must not be."""
    began = time.monotonic()
    figures = run.figures
    remembered: deque[tuple[int, States]] = deque()
    overhead_seconds = 1.0
    while figures.kills < kills:
        seed = run.chance.randrange(1 << 30)
        left = max(began + seconds - time.monotonic(), 0.0) / (kills - figures.kills)
        load_seconds = run.chance.uniform(0.01, max(2 * (left - overhead_seconds), 0.3))
        life_began = time.monotonic()
        is_clean = run.chance.random() < CLEAN_SHARE
        try:
            states = _live(run, seed, load_seconds, is_clean=is_clean)
            for earlier, settled in remembered:
                if read_states(run.server, DATABASE, list(settled)) != settled:
                    raise LossError(f"values of the life with seed {earlier} changed later")
        except BaseException as error:
            error.add_note(f"in the life with seed {seed}, after {figures.kills} kills")
            raise
        remembered.append((seed, states))
        if len(remembered) > REMEMBERED_LIVES:
            _forget(run, remembered.popleft()[0])
        run.wait_until_quiet(None)
        seen = run.sample(PHASE, "rest")
        overhead_seconds = 0.8 * overhead_seconds + 0.2 * (time.monotonic() - life_began - load_seconds)
        if not figures.kills % 10 and not is_clean:
            run.say(
                f"{figures.kills} kills, {figures.acknowledged:,} changes acknowledged, all there; started in "
                f"{run.server.start_seconds:.2f} s, {seen.rss_anon_bytes / 1e6:.1f} MB private, "
                f"{seen.descriptors} descriptors, {seen.data_bytes / 1e6:.1f} MB of data"
            )


def _live(run: Run, seed: int, load_seconds: float, *, is_clean: bool) -> States:
    """One life, its end, the next start, and the check."""
    server, figures = run.server, run.figures
    life = Life(server, DATABASE, CONFLICTS, seed)
    watchers = [
        KeyWatcher(server, DATABASE, life.keys, seed + number, transport=transport, pause_seconds=pause)
        for number, (transport, pause) in enumerate([("websocket", 0.05), ("tcp", 5.0)])
    ]
    for watcher in watchers:
        watcher.start()
    # The moment of the kill is the point; there is no event to wait for.
    threading.Event().wait(load_seconds)
    if is_clean:
        code = server.stop()
        if code:
            raise LossError(f"exit code {code} at a clean stop:\n{server.log_text()[-2000:]}")
        figures.clean_restarts += 1
    else:
        server.kill()
        figures.kills += 1
    life.finish()
    for watcher in watchers:
        watcher.finish(None)
    if run.chance.random() < STARTING_SHARE:
        server.kill_while_starting(run.chance.uniform(0.0, 1.5 * server.start_seconds))
        figures.kills_while_starting += 1
    server.start()
    figures.start_seconds_max = max(figures.start_seconds_max, server.start_seconds)
    figures.acknowledged += life.acknowledged
    figures.events += sum(watcher.events for watcher in watchers)
    figures.cuts += life.cutter.cuts
    figures.connections += life.cutter.cuts + len(watchers) + len(life.writers) + len(life.readers) + 2
    return life.check()


def _forget(run: Run, seed: int) -> None:
    for name in ("websocket", "tcp", "http", "conflicts", "cut"):
        run.remove_all(f"{name}-{seed}-")
