"""New connections to the owner for this node's clients: whether they come about, and why not."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

import trio

from pynun.cluster.link import RELAY, Hello, dial, tls_trouble, why_unreached

if TYPE_CHECKING:
    import socket

    from pynun.cluster.link import LinkTls
    from pynun.setting_values import Address

DIAL_SECONDS: Final = 2.0

_FAILING_SECONDS: Final = 2.0
"""Connections may fail for so long before clients count as not served: another node takes over, a cable was pulled."""

_TRY_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0

_log = logging.getLogger("nun_db")


class OwnerDialler:
    """Of one node."""

    def __init__(self, tls: LinkTls | None, node: str) -> None:
        self._tls = tls
        self._node = node
        self._owner = ""
        self._address: Address | None = None
        self._failing_since: float | None = None
        self._failure = ""
        self._is_tls_failure = False
        self._told: set[str] = set()  # since a connection came about

    def point_to(self, owner: str, address: Address | None) -> None:
        """From now on the owner of that name is there; None: there is none, or it is this node."""
        self._owner = owner
        if address != self._address:
            self._address = address
            self._forget()

    def _forget(self) -> None:
        self._failing_since, self._failure, self._is_tls_failure = None, "", False
        self._told.clear()

    async def dial(self, address: Address, hello: Hello) -> socket.socket:
        """Connect to an owner. Raises OSError."""
        try:
            with trio.fail_after(DIAL_SECONDS):
                connected = await dial(address, self._tls, hello)
        except (OSError, trio.TooSlowError) as error:
            why = why_unreached(error)
            _log.debug("the owner at %s can't be reached: %s", address, why)
            if address == self._address:
                self._note_failure(why, is_tls=tls_trouble(error) is not None)
            raise OSError(why) from error
        if address == self._address:
            self._note_success()
        return connected

    def why_failing(self) -> str:
        """Why connections have failed for some seconds; empty if they have not."""
        if self._failing_since is None or trio.current_time() < self._failing_since + _FAILING_SECONDS:
            return ""
        return self._failure

    async def keep_trying(self) -> None:
        """Try every few seconds whether the owner takes new connections, for ever.

        A link may outlive that: HTTP requests, and a link that is made anew, need them.
        """
        while True:
            await trio.sleep(_TRY_SECONDS if self._failing_since is None else _RETRY_SECONDS)
            if self._address is not None:
                with contextlib.suppress(OSError):
                    (await self.dial(self._address, Hello(RELAY, self._node))).close()

    def _note_failure(self, why: str, *, is_tls: bool) -> None:
        if self._failing_since is None:
            self._failing_since = trio.current_time()
        if is_tls or not self._is_tls_failure:  # what is told of a certificate may be lost with the connection
            self._failure, self._is_tls_failure = why, is_tls
        why = self._failure
        if why not in self._told and (is_tls or self.why_failing()):
            self._told.add(why)
            _log.warning(
                "node %s, which owns the data, can't be reached at %s, and clients of this node can't be served: %s;"
                " nun-db cluster check on both machines says more",
                self._owner,
                self._address,
                why,
            )

    def _note_success(self) -> None:
        if self._told:
            _log.info("node %s, which owns the data, can be reached again", self._owner)
        self._forget()
