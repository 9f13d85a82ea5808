"""What both phases of a run share: the server, its databases, the figures, and how much time there is."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tools.clients.exact_clients import TcpClient, http_post
from tools.clients.sessions import TOKEN, create_database, select
from tools.soak.samples import Sample, descriptor_count, take_sample

if TYPE_CHECKING:
    import random

    from tools.clients.server import Server
    from tools.soak.samples import Moment

DATABASE: Final = "soak"
CONFLICTS: Final = "soakconflicts"
QUIET_SECONDS_MAX: Final = 20.0
CLOSED_SECONDS_MAX: Final = 3.0
STABLE_SECONDS: Final = 0.3
_ONE_CONNECTION: Final = "empty;value 1\n"


class LossError(Exception):
    """The server lost something, did half of it, or answered wrongly; the text says what and when."""


@dataclass(slots=True)
class Figures:
    """What the run has done so far."""

    acknowledged: int = 0
    connections: int = 0
    events: int = 0
    events_left_out: int = 0
    """Those that slow readers did not get, because a newer one of the same key came before they read."""
    cuts: int = 0
    kills: int = 0
    kills_while_starting: int = 0
    clean_restarts: int = 0
    start_seconds_max: float = 0.0
    samples: list[Sample] = field(default_factory=list)


class Run:
    """One run on one server."""

    def __init__(self, server: Server, chance: random.Random) -> None:
        self.server = server
        self.chance = chance
        self.figures = Figures()
        self.began = time.monotonic()

    def prepare(self) -> None:
        """Make the databases."""
        create_database(self.server, DATABASE)
        create_database(self.server, CONFLICTS, strategy="arbiter", then="snapshot")

    def say(self, text: str) -> None:
        """Tell how far it is."""
        print(f"[{time.monotonic() - self.began:7.1f} s] {text}", file=sys.stderr, flush=True)

    def sample(self, phase: str, moment: Moment) -> Sample:
        """Look at the server, and keep what is seen."""
        data_file = self.server.data_dir / "data.mdb"
        found = take_sample(self.server.pid, data_file, phase=phase, moment=moment, began=self.began)
        self.figures.samples.append(found)
        return found

    def remove_all(self, prefix: str) -> None:
        """Remove the keys of both databases that begin with a prefix, and their conflicts: the data must not grow."""
        for database in (DATABASE, CONFLICTS):
            with TcpClient(self.server.tcp) as client:
                select(client, database)
                commands = []
                for record in _list(client, f"$conflicts_{prefix}*"):
                    key, _, identifier = record.removeprefix("$conflicts_").rpartition("_")
                    commands += [f"resolve {identifier} {database} {key} 0 -", f"remove {record}"]
                commands += [f"remove {key}" for key in _list(client, f"{prefix}*")]
                for start in range(0, len(commands), 200):
                    part = [*commands[start : start + 200]]
                    client.send_bytes("".join(f"{command}\n" for command in part).encode())
                    answers = client.take(len(part))
                    if set(answers) - {"ok \n"}:
                        raise LossError(f"keys could not be removed: {sorted(set(answers))}")
                if left := _list(client, f"{prefix}*"):
                    raise LossError(f"keys are there that were removed: {left[:5]}")

    def wait_until_quiet(self, descriptors_max: int | None = None) -> None:
        """Wait until nobody is connected any more: `$connections` says so, and no descriptor is closed any more.

        `descriptors_max`: how many there were before; waited for, and if it stays more, the samples will show it.
        """
        deadline = time.monotonic() + QUIET_SECONDS_MAX
        while (told := http_post(self.server.http, f"use-db {DATABASE} {TOKEN};get $connections")) != _ONE_CONNECTION:
            if time.monotonic() > deadline:
                raise LossError(f"all connections but the one that asks are closed, and $connections says {told!r}")
            time.sleep(0.05)
        # A socket is closed a moment after its session.
        before, since = -1, time.monotonic()
        deadline = since + CLOSED_SECONDS_MAX
        while (now := time.monotonic()) < deadline:
            count = descriptor_count(self.server.pid)
            if count != before:
                before, since = count, now
            elif now - since > STABLE_SECONDS and (descriptors_max is None or count <= descriptors_max):
                return
            time.sleep(0.02)


def _list(client: TcpClient, pattern: str) -> list[str]:
    answer = client.ask(f"keys {pattern}")[0]
    return answer.removeprefix("keys ").rstrip("\n").split(",")[1:]
