"""Whether the peer of a connection is still there.

Two signs. Its machine acknowledges what we send: a closed laptop does not, and after the idle time its connection is
given up, also if data for it is on the way (where TCP alone would wait for a quarter of an hour). And its program
answers: a WebSocket client that is silent is pinged. A program that stands still on a machine that is there (a page in
the background, a debugger) gets several times as long, for it may go on; what waits for it is conflated meanwhile.

TCP_USER_TIMEOUT would do the first part, but since Linux 4.19 it also ends the connection of a machine that
acknowledges every probe while its program reads nothing.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final, Protocol

import trio

from pynun import limits

if TYPE_CHECKING:
    from pynun.transports.outbox import Outbox
    from pynun.transports.service import Service

CHECKS: Final = 3
"""Checks within the idle time, at least."""

PROGRAM_PATIENCE: Final = 4
"""A program may be silent for so many times the idle time."""

# The head of struct tcp_info (linux/tcp.h): eight bytes, then words of four.
_HEAD: Final = struct.Struct("=8B13I")
_ESTABLISHED: Final = 1  # the first byte is the state (tcp_states.h)
_RETRANSMITS, _PROBES, _LAST_ACK_RECEIVED_MS = 2, 3, 8 + 12


class Peer(Protocol):
    """A connection that is checked."""

    @property
    def outbox(self) -> Outbox:
        """What waits for its client."""

    def check_alive(self, idle_seconds: float) -> None:
        """Called every `check_seconds`: end the connection if its peer is gone."""


def check_seconds(idle_seconds: float) -> float:
    """How often connections are checked. One that was silent between two checks is pinged at the second."""
    return min(idle_seconds / CHECKS, limits.PING_SECONDS / 2)


def is_machine_gone(connected: socket.socket, idle_seconds: float) -> bool:
    """Whether what was sent, or a probe, has gone unacknowledged for most of the idle time."""
    try:
        info = _HEAD.unpack(connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _HEAD.size))
    except OSError:
        return False  # closed meanwhile; whoever reads from it knows
    is_unanswered = info[_RETRANSMITS] > 0 or info[_PROBES] > 0
    patience_ms = idle_seconds * 1000 * (CHECKS - 1) / CHECKS
    return bool(is_unanswered and info[_LAST_ACK_RECEIVED_MS] >= patience_ms)


def has_hung_up(connected: socket.socket) -> bool:
    """Whether the peer has ended or reset the connection, whatever of it is still unread."""
    try:
        return connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED
    except OSError:
        return connected.fileno() < 0  # closed here, or no TCP


async def check_peers(service: Service) -> None:
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
