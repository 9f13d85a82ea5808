"""What the transports count for whoever watches the server: plain numbers that only grow, read when somebody asks."""

from __future__ import annotations

from collections import Counter

from pynun.histogram import Histogram

TRANSPORTS = ("websocket", "http", "tcp")

DROP_REASONS = ("slow_reader", "gone", "message_too_big", "unfinished_input", "internal_error")
"""Why the server ended a session: its client read too slowly, or not at all; its machine or program does not answer any
more; it sent more than NUN_MAX_MESSAGE_SIZE; it held most of NUN_MAX_UNFINISHED_SIZE; a fault of ours."""

REFUSAL_REASONS = ("limit", "proxy", "tls", "handshake", "origin")
"""Why a connection never became a session: NUN_MAX_CONNECTIONS; no valid PROXY header; no TLS, or none that came to an
end; no WebSocket handshake, or none in time; a page that NUN_ALLOWED_ORIGINS does not name (of HTTP: each request)."""


class Counters:
    """The counters of one server's transports."""

    __slots__ = ("conflated_events", "dropped", "http_answers", "http_request_seconds", "open", "opened", "refused",
                 "turn_seconds")  # fmt: skip

    def __init__(self) -> None:
        self.opened = dict.fromkeys(TRANSPORTS, 0)
        """Connections accepted so far."""
        self.open = dict.fromkeys(TRANSPORTS, 0)
        """Connections that are open now."""
        self.dropped = dict.fromkeys(DROP_REASONS, 0)
        self.refused = dict.fromkeys(REFUSAL_REASONS, 0)
        self.conflated_events = 0
        """Events that a newer one of the same key replaced before a slow reader got them."""
        self.turn_seconds = Histogram()
        """How long the reactor worked at a stretch on what had arrived."""
        self.http_request_seconds = Histogram()
        """From a complete HTTP request to its answer being made."""
        self.http_answers = Counter({200: 0})
        """HTTP answers by status."""
