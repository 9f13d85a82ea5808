"""Notices at once when the process of the owner is gone: its connection ends, and further ones are refused."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

import trio

from pynun.cluster.link import LIFE, Hello, dial, is_refused, why_unreached
from pynun.transports.sockets import receive

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.cluster.keys import Owner
    from pynun.cluster.link import LinkTls

_CONNECT_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 0.3
_REFUSALS: Final = 2
"""After its connection has ended, the owner's process is gone if so many further ones are refused."""

_REFUSAL_PAUSE_SECONDS: Final = 0.02

_log = logging.getLogger("nun_db")


class OwnerWatch:
    """Holds a connection to another node that is owner."""

    def __init__(
        self, find_owner: Callable[[], Owner | None], tls: LinkTls | None, node: str, on_gone: Callable[[Owner], None]
    ) -> None:
        """`find_owner` gives that other node; `node` is this one."""
        self._find_owner = find_owner
        self._tls = tls
        self._node = node
        self._on_gone = on_gone
        self._changed = trio.Event()
        self._linked: tuple[Owner, trio.CancelScope] | None = None

    @property
    def is_linked(self) -> bool:
        """Whether there is a connection."""
        return self._linked is not None

    def note_change(self) -> None:
        """There may be another owner, or none."""
        self._changed.set()
        self._changed = trio.Event()
        if self._linked is not None and self._linked[0] != self._find_owner():
            self._linked[1].cancel()

    async def run(self) -> None:
        """Watch, until cancelled."""
        gone = 0  # the lease of such an owner, until another is seen
        while True:
            owner = self._find_owner()
            if owner is None or owner.lease == gone:
                await self._changed.wait()
            elif await self._is_gone(owner):
                gone = owner.lease
                _log.warning("the process of the owner %s is gone", owner.node)
                self._on_gone(owner)

    async def _is_gone(self, owner: Owner) -> bool:
        """Whether, after a connection to the owner has ended, nobody listens there any more; False at any other end."""
        refusals = 0
        while refusals < _REFUSALS:
            try:
                with trio.fail_after(_CONNECT_SECONDS):
                    connected = await dial(owner.link, self._tls, Hello(LIFE, self._node))
            except (OSError, trio.TooSlowError) as error:
                if not isinstance(error, OSError) or not is_refused(error):
                    _log.debug("the owner %s can't be reached: %s", owner.node, why_unreached(error))
                    await trio.sleep(_RETRY_SECONDS)
                    return False
                refusals += 1
                await trio.sleep(_REFUSAL_PAUSE_SECONDS)
                continue
            refusals = 0
            began = trio.current_time()
            with trio.CancelScope() as scope:
                self._linked = owner, scope
                try:
                    with contextlib.suppress(OSError):
                        while await receive(connected):
                            pass
                finally:
                    self._linked = None
                    connected.close()
            if self._find_owner() != owner:
                return False
            if trio.current_time() < began + _RETRY_SECONDS:  # it does not accept this node's certificate
                await trio.sleep(_RETRY_SECONDS)
        return True
