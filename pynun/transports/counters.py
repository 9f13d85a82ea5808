"""The counters of the transports, for monitoring: plain numbers, read on request."""

from __future__ import annotations

from collections import Counter

from pynun.histogram import Histogram

TRANSPORTS = ("websocket", "http", "tcp")

DROP_REASONS = ("slow_reader", "gone", "message_too_big", "unfinished_input", "internal_error")
"""Why the server ended a session: its client read too slowly or not at all; its machine or program no longer answers;
it sent more than NUN_MAX_MESSAGE_SIZE; it held most of NUN_MAX_UNFINISHED_SIZE; a bug."""

REFUSAL_REASONS = ("limit", "proxy", "tls", "handshake", "origin")
"""Why a connection never became a session: NUN_MAX_CONNECTIONS; no valid PROXY header; no TLS, or none that came to an
end; no WebSocket handshake, or none in time; a page that NUN_ALLOWED_ORIGINS does not name (of HTTP: each request)."""


class Counters:
    """The counters of one server's transports."""

    __slots__ = ("conflated_events", "dropped", "http_answers", "http_request_seconds", "open", "opened", "refused",
                 "sent", "turn_seconds")  # fmt: skip

    def __init__(self) -> None:
        self.opened = dict.fromkeys(TRANSPORTS, 0)
        """Connections accepted so far."""
        self.open = dict.fromkeys(TRANSPORTS, 0)
        """Open connections."""
        self.dropped = dict.fromkeys(DROP_REASONS, 0)
        self.refused = dict.fromkeys(REFUSAL_REASONS, 0)
        self.sent = 0
        """Replies and events handed to the sockets of WebSocket and TCP clients."""
        self.conflated_events = 0
        """Events replaced by a newer one of the same key before a slow reader got them."""
        self.turn_seconds = Histogram()
        """Duration of a turn of the reactor."""
        self.http_request_seconds = Histogram()
        """From a complete HTTP request until its response is ready."""
        self.http_answers = Counter({200: 0})
        """HTTP answers by status."""
