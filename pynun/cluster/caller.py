"""What a thread needs of a client of etcd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.cluster.etcd.gateway import AnswerT, Request


class Caller(Protocol):
    """`pynun.cluster.etcd.blocking_client.BlockingClient`, or a test's etcd."""

    def call(self, request: Request[AnswerT], until: Callable[[], float], /) -> AnswerT:
        """Ask until etcd answers. Raises UnreachableError after that moment, and EtcdError."""
