"""Clients of a Nun-db server: `Client` for trio, `SyncClient` for everything else. See docs/python-client.md."""

from __future__ import annotations

from pynun.client.client import Client, ClientOptions, open_client
from pynun.client.errors import (
    AuthenticationError,
    ClientError,
    CommandError,
    CommandTimeout,
    ConnectionClosed,
    ConnectionFailed,
    NoDatabaseSelected,
    PermissionDenied,
    ProtocolError,
    VersionConflict,
)
from pynun.client.frames import ChangeEvent, Conflict, Reply, Versioned
from pynun.client.sync import SyncClient, SyncEvents, SyncWatch
from pynun.client.watches import ConnectionLost, ConnectionRestored, Event, Events, Watch

__all__ = [
    "AuthenticationError",
    "ChangeEvent",
    "Client",
    "ClientError",
    "ClientOptions",
    "CommandError",
    "CommandTimeout",
    "Conflict",
    "ConnectionClosed",
    "ConnectionFailed",
    "ConnectionLost",
    "ConnectionRestored",
    "Event",
    "Events",
    "NoDatabaseSelected",
    "PermissionDenied",
    "ProtocolError",
    "Reply",
    "SyncClient",
    "SyncEvents",
    "SyncWatch",
    "VersionConflict",
    "Versioned",
    "Watch",
    "open_client",
]
