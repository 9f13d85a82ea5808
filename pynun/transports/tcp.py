"""TCP: a greeting, then one line is one command (docs/protocol.md section 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from pynun import limits
from pynun.language import messages
from pynun.transports.outbox import TextOutbox
from pynun.transports.sockets import linger, receive

if TYPE_CHECKING:
    import socket

    from pynun.engine.session import Session
    from pynun.transports.service import Service

_GREETING: Final = messages.TCP_GREETING.encode()


async def serve_tcp(socket: socket.socket, service: Service, stopping: trio.Event) -> None:
    """One connection, from its greeting to its end."""
    outbox = TextOutbox(socket, service.flusher, service.outbox_bytes_max)
    session = service.open_session(outbox)
    overflowed = trio.Event()
    outbox.on_overflow = overflowed.set
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when, overflowed, nursery.cancel_scope)
            nursery.start_soon(_cancel_when, stopping, nursery.cancel_scope)
            outbox.send_raw(_GREETING)
            service.flusher.flush()
            await _run_lines(socket, service, session, outbox)
            nursery.cancel_scope.cancel()
        if not overflowed.is_set():
            with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLOSE_SECONDS):
                await outbox.wait_sent()
            await linger(socket)
    finally:
        session.close()
        service.flusher.flush()


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _run_lines(socket: socket.socket, service: Service, session: Session, outbox: TextOutbox) -> None:
    """Run lines until the client closes or sends too long a one."""
    rest = bytearray()
    flusher, committer, execute = service.flusher, service.committer, session.execute
    line_bytes_max = service.message_bytes_max
    while True:
        try:
            received = await receive(socket)
        except OSError:
            return
        if not received:
            return
        end = received.rfind(b"\n") + 1
        if not end:
            rest += received
            if len(rest) > line_bytes_max:
                outbox.refuse((), messages.MESSAGE_TOO_BIG, 0)
                return
            continue
        lines = (bytes(rest) + received[:end] if rest else received[:end]).split(b"\n")
        rest.clear()
        rest += received[end:]
        lines.pop()  # what follows the last newline: nothing
        for line in lines:
            if len(line) > line_bytes_max:
                outbox.refuse((), messages.MESSAGE_TOO_BIG, 0)
                return
            try:
                text = line.decode()
            except UnicodeDecodeError:
                outbox.refuse((), messages.INVALID_UTF8, 0)
                continue
            suspension = execute(text[:-1] if text[-1:] == "\r" else text)
            if suspension is not None:
                await service.settle(suspension)
            if outbox.needs_flush:
                await outbox.wait_for_room()
        flusher.flush()
        if committer.is_full:
            await committer.wait_for_room()
