"""A server finds its place in its cluster before it serves: waits for etcd, checks it, copies data it lacks."""

from __future__ import annotations

import logging
import socket
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from pynun import stop_signals
from pynun.cluster.copying import Copier
from pynun.cluster.etcd.blocking_client import BlockingClient
from pynun.cluster.etcd.checks import check
from pynun.cluster.etcd.client import Client
from pynun.cluster.etcd.errors import EtcdError, UnreachableError
from pynun.cluster.etcd.members import SETTINGS_FIELDS, etcd_members
from pynun.cluster.joining import PatientCaller, enter, hold_name
from pynun.cluster.keys import Keys
from pynun.cluster.link import link_tls
from pynun.cluster.node import Place
from pynun.cluster.note import cluster_of
from pynun.errors import StartError
from pynun.setting_values import Address

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.cluster.etcd.members import Members
    from pynun.server.accepting.listeners import SocketListener
    from pynun.settings import Settings
    from pynun.storage.store import LmdbStore

_CHECK_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.5

_log = logging.getLogger("nun_db")


class Membership(NamedTuple):
    """A node's place in its cluster, found before it serves."""

    cluster_id: str
    place: Place


def join(
    settings: Settings, data: LmdbStore, link: SocketListener, client_address: str, tell: Callable[[str], None]
) -> Membership:
    """Find this node's place. Waits for etcd; raises StartError, SettingsError, and Stopped for a signal.

    `client_address` is that of `Place`; `tell` is told what takes time. Runs in a thread.
    """

    def pause(seconds: float) -> None:
        stop_signals.check()
        time.sleep(seconds)

    tls = None
    if not settings.is_cluster_plain:
        assert settings.cluster_ca is not None
        assert settings.cluster_cert is not None
        assert settings.cluster_key is not None
        tls = link_tls(settings.cluster_ca, settings.cluster_cert, settings.cluster_key)
    keys = Keys(settings.cluster_name)
    name = settings.node_name or socket.gethostname()
    members = etcd_members(*(getattr(settings, field) for field in SETTINGS_FIELDS))
    tell("asking etcd")
    with BlockingClient(members) as client:
        caller = PatientCaller(client, pause)
        _check_etcd(members, settings.lease_seconds, pause)
        cluster_id = enter(data, caller, keys)
        live_lease = hold_name(caller, keys, name)
        copier = Copier(data, caller, keys, members, tls, name, live_lease, tell)
        copier.run()
        if cluster_of(data) not in (None, cluster_id):
            raise StartError("the copied data is of another cluster: do two clusters have the same NUN_CLUSTER_ADDR?")
    return Membership(
        cluster_id,
        Place(
            keys,
            members,
            name,
            _own_address(settings, link),
            tls,
            settings.lease_seconds,
            settings.has_fast_takeover,
            copier.live_lease,
            client_address,
        ),
    )


def _check_etcd(members: Members, lease_seconds: int, pause: Callable[[float], None]) -> None:
    """Wait for etcd, and refuse one that does not fit. Raises StartError."""

    async def ask() -> None:
        async with Client(members) as client:
            await check(client, lease_seconds, _CHECK_SECONDS)

    is_told = False
    while True:
        try:
            trio.run(ask)
        except UnreachableError as error:
            if not is_told:
                is_told = True
                _log.warning("waiting for etcd: %s", error)
        except EtcdError as error:
            raise StartError(f"{error}; see NUN_ETCD and docs/cluster-setup.md") from None
        else:
            return
        pause(_PAUSE_SECONDS)


def _own_address(settings: Settings, link: SocketListener) -> Address:
    """How other nodes reach this one."""
    if settings.cluster_external_address is not None:
        return settings.cluster_external_address
    return Address(socket.gethostname(), int(link.address.rpartition(":")[2]))
