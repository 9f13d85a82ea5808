"""Clients of a Nun-db server: `Client` for trio, `AsyncioClient`, and `SyncClient` for programs without `async`.

See docs/python-client.md.
"""

from __future__ import annotations

from pynun.client.asyncio_client import AsyncioClient, AsyncioEvents, AsyncioWatch
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
from pynun.client.reports import DatabaseInfo, DatabaseSize, PermissionCheck, UserInfo, UserPermissions
from pynun.client.sync import SyncClient, SyncEvents, SyncWatch
from pynun.client.values import Json
from pynun.client.watches import ConnectionLost, ConnectionRestored, Event, Events, Watch

__all__ = [
    "AsyncioClient",
    "AsyncioEvents",
    "AsyncioWatch",
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
    "DatabaseInfo",
    "DatabaseSize",
    "Event",
    "Events",
    "Json",
    "NoDatabaseSelected",
    "PermissionCheck",
    "PermissionDenied",
    "ProtocolError",
    "Reply",
    "SyncClient",
    "SyncEvents",
    "SyncWatch",
    "UserInfo",
    "UserPermissions",
    "VersionConflict",
    "Versioned",
    "Watch",
    "open_client",
]
