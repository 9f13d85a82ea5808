"""The settings that every host of connections obeys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.server.accepting.client_networks import client_network
from pynun.transports.service import HostOptions

if TYPE_CHECKING:
    from pynun.settings import Settings


def host_options(settings: Settings) -> HostOptions:
    """The limits of connections that are set."""
    return HostOptions(
        message_bytes_max=settings.message_bytes_max,
        outbox_bytes_max=settings.outbox_bytes_max,
        unfinished_bytes_max=settings.unfinished_bytes_max,
        network_of=client_network,
        handshake_seconds=settings.handshake_seconds,
        idle_seconds=settings.idle_seconds,
        allowed_origins=settings.allowed_origins,
    )
