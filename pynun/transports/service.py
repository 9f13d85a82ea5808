"""What every transport needs of the server, and the checks that peers are alive.

Two signs show that a peer is alive. Its machine acknowledges data: a closed laptop does not, and its connection is
ended after the idle time, even with data in transit (TCP alone would wait a quarter of an hour). And its program
answers: a silent WebSocket client is pinged. A stopped program on a live machine (a background page, a debugger) gets
several times as long, because it may continue. Its waiting events are conflated meanwhile.

TCP_USER_TIMEOUT would do the first part, but since Linux 4.19 it also ends the connection of a machine that
acknowledges every probe while its program reads nothing.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Protocol, Required, TypedDict, Unpack, runtime_checkable

import trio

from pynun import limits
from pynun.engine.dispatch import CommandSession
from pynun.engine.effects import Drain
from pynun.protocol.messages import WHAT_PROXIES_FORWARD
from pynun.transports.allowed_origins import AllowedOrigins
from pynun.transports.extension_pages import EXTENSION_PAGES
from pynun.transports.input_budget import InputBudget
from pynun.transports.reactor import Batches, Reactor
from pynun.transports.sockets import CHECKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pynun.commit.committer import Committer
    from pynun.engine import events
    from pynun.engine.effects import Answer, Need, Suspension
    from pynun.engine.engine import Engine
    from pynun.engine.peer import Peer
    from pynun.transports.flusher import Flusher
    from pynun.transports.outbox import Outbox
    from pynun.transports.pages import Console, Pages
    from pynun.transports.send_queue import SendQueue

_log = logging.getLogger("nun_db")

_COMPLAINT_SECONDS: Final = 600.0
"""A proxy that takes something out of every handshake is told of so often in the log."""

PROGRAM_PATIENCE: Final = 4
"""A program may be silent for this many idle times."""


class Resolver(Protocol):
    """Supplies the answers that commands wait for."""

    async def answer(self, need: Need) -> Answer:
        """The answer to a need: see `pynun.engine.effects`."""


class Receiver(Protocol):
    """Executes command texts: a session, or a test's substitute."""

    def execute(self, text: str) -> Suspension | None:
        """Run one command; a suspension is driven before the next."""


@runtime_checkable
class Drainable(Protocol):
    """An outbox that can be waited for."""

    async def wait_for_room(self) -> None:
        """Return when less waits for the client than may."""


class CheckedPeer(Protocol):
    """The client of a connection with a session that lasts."""

    @property
    def outbox(self) -> Outbox:
        """Its outbox."""

    def check_alive(self, idle_seconds: float) -> None:
        """Called every `check_seconds`: end the connection if the client is gone."""


class ClientSession(Receiver, Protocol):
    """The session of a connection."""

    def has_logged_in(self) -> bool:
        """Whether the client has shown a secret that is still valid."""

    def close(self) -> None:
        """The client has left. Safe to call twice."""


class Backlog(Batches, Protocol):
    """What commands put their changes into: the committer."""

    @property
    def is_full(self) -> bool:
        """Whether so much waits that readers must wait too."""

    async def wait_for_room(self) -> None:
        """Return when it is not full any more."""


class HostOptions(TypedDict, total=False):
    """Limits of connections; the settings of the same names."""

    message_bytes_max: Required[int]
    outbox_bytes_max: Required[int]
    unfinished_bytes_max: int | None
    network_of: Callable[[str], str]
    handshake_seconds: float
    idle_seconds: float
    allowed_origins: Iterable[str]


class ConnectionHost(ABC):
    """What the transports of connections with a session need, wherever the sessions are."""

    __slots__ = (
        "_complains_at",
        "allowed_origins",
        "committer",
        "counters",
        "flusher",
        "handshake_pages",
        "handshake_seconds",
        "idle_seconds",
        "input_budget",
        "message_bytes_max",
        "outbox_bytes_max",
        "peers",
        "reactor",
        "waits_to_cancel",
    )

    committer: Backlog

    def __init__(
        self,
        committer: Backlog,
        flusher: Flusher,
        may_linger: Callable[[], bool],
        *,
        message_bytes_max: int,
        outbox_bytes_max: int,
        unfinished_bytes_max: int | None = None,
        network_of: Callable[[str], str] = str,
        handshake_seconds: float = 15.0,
        idle_seconds: float = 45.0,
        allowed_origins: Iterable[str] = (),
    ) -> None:
        """`may_linger` is that of `Reactor`."""
        self.committer = committer
        self.flusher = flusher
        self.counters = flusher.counters
        self.reactor = Reactor(flusher, committer, may_linger)
        self.message_bytes_max = message_bytes_max
        self.outbox_bytes_max = outbox_bytes_max
        self.input_budget = InputBudget(
            self.counters, unfinished_bytes_max or limits.UNFINISHED_MESSAGES * message_bytes_max, network_of
        )
        self.handshake_seconds = handshake_seconds
        self.idle_seconds = idle_seconds
        self.allowed_origins = AllowedOrigins(allowed_origins)
        self.handshake_pages: Pages = dict(EXTENSION_PAGES)
        """Those that the WebSocket port answers."""
        self._complains_at = -math.inf
        self.peers: set[CheckedPeer] = set()
        """Of the open connections, for `check_peers`."""
        self.waits_to_cancel: set[trio.CancelScope] = set()
        """The waits of connections that have asked for nothing yet: cancelled when the server stops."""

    @abstractmethod
    def open_session(self, outbox: Any, peer: Any = None) -> ClientSession:  # noqa: ANN401 - each host its own
        """The session of a new connection."""

    @abstractmethod
    async def answer(self, need: Need) -> Answer:
        """The answer to what a command waits for."""

    def note_missing(self, missing: str, address: str) -> None:
        """A WebSocket handshake lacked something that a proxy has most likely taken out; nothing if empty."""
        if missing and trio.current_time() >= self._complains_at:
            self._complains_at = trio.current_time() + _COMPLAINT_SECONDS
            _log.warning(
                "a WebSocket handshake from %s lacks %s: %s",
                address,
                missing,
                WHAT_PROXIES_FORWARD,
            )

    def is_behind(self, outbox: SendQueue) -> bool:
        """Send what has gathered; True if so much is left, for client or disk, that its sender must wait."""
        self.flusher.flush()
        return outbox.is_full or self.committer.is_full

    async def execute_all(self, receiver: Receiver, commands: Iterable[str], outbox: Outbox) -> None:
        """Run many commands one after another, letting others work between slices of them."""
        for number, command in enumerate(commands, 1):
            suspension = receiver.execute(command)
            if suspension is not None:
                await self.drive(suspension)
            if outbox.needs_flush:  # long answers take the loop's time as many commands do
                if self.is_behind(outbox):
                    await outbox.wait_for_room()
                await trio.lowlevel.checkpoint()
            if number % limits.SLICE_COMMANDS == 0:
                self.flusher.flush()
                await trio.lowlevel.checkpoint()
                if self.committer.is_full:
                    await self.committer.wait_for_room()

    async def drive(self, suspension: Suspension) -> None:
        """Drive a suspended command to its reply. Others go on meanwhile."""
        self.flusher.flush()
        try:
            need = next(suspension)
            while True:
                need = suspension.send(await self.answer(need))
        except StopIteration:
            return
        finally:
            suspension.close()


class Service(ConnectionHost):
    """One server, as its transports see it: the engine is here."""

    __slots__ = ("admin_pages", "console", "engine", "pages", "resolver")

    committer: Committer

    def __init__(
        self,
        engine: Engine,
        committer: Committer,
        flusher: Flusher,
        resolver: Resolver,
        **options: Unpack[HostOptions],
    ) -> None:
        super().__init__(committer, flusher, self._may_linger, **options)
        self.engine = engine
        self.resolver = resolver
        self.pages: Pages = self.handshake_pages
        """The HTTP port's own pages."""
        self.admin_pages: Pages = {}
        """Those in whose place the administrator, who has logged in, gets another one."""
        self.console: Console | None = None
        """The HTTP port's web console."""

    def _may_linger(self) -> bool:
        """Whether no answer waits for the committer, which needs trio's loop to go on."""
        view = self.engine.view
        return view.is_relaxed or not view.newest_unwritten

    def open_session(self, outbox: events.Outbox, peer: Peer | None = None) -> CommandSession:
        return CommandSession(self.engine, outbox, peer)

    async def answer(self, need: Need) -> Answer:
        if not isinstance(need, Drain):
            return await self.resolver.answer(need)
        await trio.lowlevel.checkpoint()
        if isinstance(need.outbox, Drainable):
            await need.outbox.wait_for_room()
        return None


def check_seconds(idle_seconds: float) -> float:
    """How often connections are checked. One that was silent between two checks is pinged at the second."""
    return min(idle_seconds / CHECKS, limits.PING_SECONDS / 2)


async def check_peers(service: ConnectionHost) -> None:
    """Check all open connections, for ever."""
    while True:
        await trio.sleep(check_seconds(service.idle_seconds))
        for number, peer in enumerate(list(service.peers), 1):
            if peer in service.peers:
                peer.check_alive(service.idle_seconds)
            if number % limits.PEERS_CHECKED_AT_ONCE == 0:
                service.flusher.flush()
                await trio.lowlevel.checkpoint()
        service.flusher.flush()
