"""TCP: a greeting, then one line is one command (docs/protocol.md section 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from pynun import limits
from pynun.language import messages
from pynun.transports.outbox import TextOutbox
from pynun.transports.reactor import ChunkReader, Outcome
from pynun.transports.sockets import linger

if TYPE_CHECKING:
    import socket

    from pynun.engine.session import Session
    from pynun.transports.service import Service

_GREETING: Final = messages.TCP_GREETING.encode()


async def serve_tcp(connected: socket.socket, service: Service, stopping: trio.Event) -> None:
    """One connection, from its greeting to its end."""
    outbox = TextOutbox(connected, service.flusher, service.outbox_bytes_max)
    session = service.open_session(outbox)
    overflowed = trio.Event()
    outbox.on_overflow = overflowed.set
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when, overflowed, nursery.cancel_scope)
            nursery.start_soon(_cancel_when, stopping, nursery.cancel_scope)
            outbox.send_raw(_GREETING)
            service.flusher.flush()
            await _run_lines(connected, service, session, outbox)
            nursery.cancel_scope.cancel()
        if not overflowed.is_set():
            with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLOSE_SECONDS):
                await outbox.wait_sent()
            await linger(connected)
    finally:
        service.reactor.forget(connected)
        session.close()
        service.flusher.flush()


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _run_lines(connected: socket.socket, service: Service, session: Session, outbox: TextOutbox) -> None:
    """Run lines until the client closes or sends too long a one."""
    reader = _LineReader(connected, outbox, session, service)
    match await reader.read_on():
        case Outcome.END:
            return
        case Outcome.TOO_BIG:
            outbox.refuse((), messages.MESSAGE_TOO_BIG, 0)
        case outcome:
            raise AssertionError(outcome)


class _LineReader(ChunkReader):
    """Cuts lines and runs them."""

    def __init__(self, connected: socket.socket, outbox: TextOutbox, session: Session, service: Service) -> None:
        super().__init__(connected, outbox, service)
        self._execute = session.execute
        self._line_bytes_max = service.message_bytes_max

    def feed(self, data: bytes) -> Outcome:
        rest = self._rest
        if rest:
            rest += data
            if data and b"\n" not in data:  # a long line: looked at again only when its end is there
                return Outcome.TOO_BIG if len(rest) > self._line_bytes_max else Outcome.WAIT
            data = bytes(rest)
            rest.clear()
        outbox, execute = self._outbox, self._execute
        lines = data.split(b"\n")
        last = len(lines) - 1
        for place, line in enumerate(lines):
            if place == last:
                break
            if len(line) > self._line_bytes_max:
                return Outcome.TOO_BIG
            try:
                text = line.decode()
            except UnicodeDecodeError:
                outbox.refuse((), messages.INVALID_UTF8, 0)
                continue
            suspension = execute(text[:-1] if text[-1:] == "\r" else text)
            if suspension is not None:
                self.suspension = suspension
                rest += b"\n".join(lines[place + 1 :])
                return Outcome.SUSPENDED
            if outbox.needs_flush and self._service.is_behind(outbox):
                rest += b"\n".join(lines[place + 1 :])
                return Outcome.FULL
        rest += lines[last]
        if len(rest) > self._line_bytes_max:
            return Outcome.TOO_BIG
        return Outcome.FULL if self._service.committer.is_full else Outcome.WAIT
