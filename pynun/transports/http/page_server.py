"""Serve the server's pages where no commands run: on the metrics port, during a long start, before a handshake."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import trio

from pynun import limits
from pynun.transports.http.request_reader import Request, RequestReader
from pynun.transports.http.responses import page_response, refuse
from pynun.transports.pages import IF_NONE_MATCH, Page, path_of
from pynun.transports.sockets import linger, receive, send

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from pynun.transports.pages import Pages

ASKS_FOR_WEBSOCKET: Final = re.compile(rb"\nupgrade[ \t]*:[^\n]*websocket", re.IGNORECASE)
_TAGS: Final = re.compile(rb"\n%b[ \t]*:([^\n]*)" % IF_NONE_MATCH, re.IGNORECASE)

_NO_PAGE: Final = Page(404, b"this port answers GET /livez, /readyz, /healthz and /metrics, and runs no commands\n")


async def serve_pages(
    connected: socket.socket,
    pages: Pages,
    request_seconds: float,
    otherwise: Callable[[], Awaitable[Page]] | None = None,
    wait_until: Callable[[float], AbstractContextManager[trio.CancelScope]] = trio.move_on_at,
) -> None:
    """One connection of a port that serves only pages and runs no commands.

    A request has a time limit from its first byte (the first request, from the start); a response has the same, and
    more if it is long. Any other request gets the page of `otherwise`, and the connection ends. Waits for the client
    run in `wait_until`, which may end them and the connection.
    """
    reader = RequestReader(0)
    deadline = trio.current_time() + request_seconds
    try:
        while True:
            with wait_until(deadline) as waiting:
                begun = 0
                while not reader.complete and reader.refusal is None:
                    if reader.is_partial and reader.begun != begun:
                        begun = reader.begun
                        waiting.deadline = min(waiting.deadline, trio.current_time() + request_seconds)
                    data = await receive(connected)
                    if not data:
                        return
                    reader.feed(data)
            if waiting.cancelled_caught:
                return
            while reader.complete:
                request = reader.complete.popleft()
                make_page = pages.get(path_of(request.page))
                if make_page is None and otherwise is not None:
                    make_page, request = otherwise, request._replace(is_kept_alive=False)
                page = _NO_PAGE if make_page is None else await make_page()
                answer = page_response(page, request)
                seconds = request_seconds + len(answer) / limits.HTTP_BYTES_PER_SECOND_MIN
                with wait_until(trio.current_time() + seconds) as sending:
                    await send(connected, answer)
                if sending.cancelled_caught:
                    return
                if not request.is_kept_alive:
                    await linger(connected)
                    return
            if reader.refusal is not None:
                status, text = reader.refusal
                if status == 413 and otherwise is not None:
                    status, body, *_ = await otherwise()
                    text = body.decode()
                await refuse(connected, status, text)
                return
            deadline = trio.current_time() + limits.HTTP_IDLE_SECONDS
    except OSError:
        return  # the client is gone


async def page_answer(pages: Pages, head: bytes) -> bytes | None:
    """The response to a request for a page, the last on its connection; None for other requests and any WebSocket
    handshake.
    """
    make_page = page_asked_for(pages, head)
    if make_page is None:
        return None
    tags = _TAGS.search(head)
    headers = () if tags is None else ((IF_NONE_MATCH, tags[1]),)
    is_bodiless = head.startswith(b"HEAD ")
    return page_response(await make_page(), Request(b"", False, False, is_bodiless=is_bodiless, headers=headers))


def page_asked_for(pages: Pages, head: bytes) -> Callable[[], Awaitable[Page]] | None:
    """What makes the page that a request asks for; None as for `page_answer`."""
    method, _, rest = head.partition(b" ")
    make_page = pages.get(path_of(rest.partition(b" ")[0])) if method in (b"GET", b"HEAD") else None
    return None if ASKS_FOR_WEBSOCKET.search(head) else make_page
