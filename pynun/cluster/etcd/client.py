"""Asks etcd from trio's loop: requests at the same time on connections of their own, and watches."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Any, Final

import trio

from pynun.cluster.etcd import gateway
from pynun.cluster.etcd.blocking_client import PAUSE_SECONDS, TRY_SECONDS
from pynun.cluster.etcd.errors import (
    BusyError,
    CompactedError,
    LoginError,
    UnreachableError,
    reason,
)
from pynun.cluster.etcd.http_messages import Response, ResponseError, ResponseReader, encode, refuse_stream
from pynun.cluster.etcd.members import Turn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType
    from typing import Self

    from pynun.cluster.etcd.gateway import AnswerT, Request, WatchAnswer
    from pynun.cluster.etcd.members import Member, Members

_RECEIVE_BYTES: Final = 256 * 1024
_IDLE_MAX: Final = 4
"""Connections kept for later requests."""

SILENCE_SECONDS: Final = 3.0
"""How long a watch may say nothing before another member is asked to watch. Its range must change more often: the
node's own sign of life is in it."""

FAILURES: Final = (OSError, ssl.SSLError, trio.BrokenResourceError, trio.TooSlowError, ResponseError, BusyError)
"""What a try ends with where the next member is asked."""


class _Connection:
    """One connection to a member."""

    def __init__(self, member: Member, stream: trio.abc.Stream) -> None:
        self.member = member
        self._stream = stream
        self._reader = ResponseReader()

    async def send(self, request: Request[Any], token: str | None) -> None:
        """Send a request."""
        await self._stream.send_all(encode(request, self.member.authority, token))

    async def receive(self) -> Response:
        """Wait for the response, complete."""
        while (response := await self._feed()) is None:
            pass
        return response

    async def receive_lines(self) -> list[bytes]:
        """Wait for the next lines of a stream. Raises EtcdError if it ends."""
        while True:
            response = await self._feed()
            if response is not None:
                lines = [line for line in response.body.split(b"\n") if line]
                if response.status != 200 or not lines:
                    raise BusyError(14, refuse_stream(response).message)
                return lines
            if lines := self._reader.lines():
                return lines

    async def _feed(self) -> Response | None:
        data = await self._stream.receive_some(_RECEIVE_BYTES)
        if not data:
            raise trio.BrokenResourceError("the connection was closed")
        return self._reader.feed(bytes(data))

    async def close(self) -> None:
        """Close it at once."""
        await trio.aclose_forcefully(self._stream)


class Client:
    """For one trio run. A context manager that closes the idle connections."""

    def __init__(self, members: Members, *, try_seconds: float = TRY_SECONDS) -> None:
        self._members = members
        self._try_seconds = try_seconds
        self._turn = Turn(members.members)
        self._idle: list[_Connection] = []
        self._token: str | None = None
        self.trouble: str | None = None
        """Why the newest try got no answer; None if it got one."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True):
            while self._idle:
                await self._idle.pop().close()

    @property
    def members(self) -> tuple[Member, ...]:
        """Those that are asked in turn."""
        return self._members.members

    async def call(self, request: Request[AnswerT], seconds: float) -> AnswerT:
        """Ask, and repeat at the next member, until one answers.

        Raises UnreachableError after so many seconds: what was asked for may have happened or not. So ask only for what
        may be repeated. Raises EtcdError if etcd refuses it.
        """
        deadline = trio.current_time() + seconds
        while (rest := deadline - trio.current_time()) > 0:
            member = self._turn.member
            try:
                answer = await self.ask(member, request, min(rest, self._try_seconds))
            except FAILURES as error:
                await self._failed(member, error, is_cut_short=rest < self._try_seconds)
            else:
                self._turn.succeeded()
                self.trouble = None
                return answer
        raise UnreachableError(f"etcd did not answer in time ({self.trouble or 'no time was left'})")

    async def ask(self, member: Member, request: Request[AnswerT], seconds: float) -> AnswerT:
        """Ask one member, once. Raises OSError and other errors of connections, trio.TooSlowError and EtcdError."""
        with trio.fail_after(seconds):
            try:
                if self._token is not None or self._members.login is None:
                    return await self._answer(member, request, self._token)
            except LoginError:
                if self._members.login is None:
                    raise
            await self._log_in(member)
            return await self._answer(member, request, self._token)

    async def watch(
        self, key: bytes, end: bytes, revision: int, silence_seconds: float = SILENCE_SECONDS
    ) -> AsyncGenerator[WatchAnswer, None]:
        """What changes in a range, from that revision on, for ever; close it (`contextlib.aclosing`) where you end.

        It goes on at the next member where the last one left off, so nothing is missing and nothing comes twice. Empty
        answers come too: when a watch begins, and as etcd's signs of life. Raises CompactedError if the revision is
        gone: then read the range again, and watch from the answer's revision + 1. Raises EtcdError if etcd refuses it.
        """
        while True:
            member = self._turn.member
            try:
                async with contextlib.aclosing(self._watch_at(member, key, end, revision, silence_seconds)) as answers:
                    async for answer in answers:
                        yield answer
                        # Not the answer's own revision, which is ahead of its events while a watch catches up.
                        if answer.events:
                            revision = answer.events[-1].pair.modified + 1
            except LoginError as error:
                if self._members.login is None:
                    raise
                self._token = None
                await self._failed(member, error)
            except FAILURES as error:
                await self._failed(member, error)

    # --- one try -----------------------------------------------------------------------------------------------

    async def _watch_at(
        self, member: Member, key: bytes, end: bytes, revision: int, silence_seconds: float
    ) -> AsyncGenerator[WatchAnswer, None]:
        request = gateway.watch(key, end, revision)
        with trio.fail_after(self._try_seconds):
            if self._token is None and self._members.login is not None:
                await self._log_in(member)
            connection = await self._connect(member)
        try:
            await connection.send(request, self._token)
            while True:
                with trio.fail_after(silence_seconds):
                    lines = await connection.receive_lines()
                for line in lines:
                    answer = gateway.answer_line(request, line)
                    if answer.compacted:
                        raise CompactedError(f"etcd has no changes from before revision {answer.compacted} any more")
                    if answer.cancelled is not None:
                        raise gateway.cancellation(answer.cancelled)
                    yield answer
                self._turn.succeeded()
                self.trouble = None
        finally:
            with trio.CancelScope(shield=True):
                await connection.close()

    async def _log_in(self, member: Member) -> None:
        assert self._members.login is not None
        self._token = await self._answer(member, gateway.log_in(*self._members.login), None)

    async def _answer(self, member: Member, request: Request[AnswerT], token: str | None) -> AnswerT:
        response = await self._exchange(member, request, token)
        return gateway.answer(request, response.status, response.body)

    async def _exchange(self, member: Member, request: Request[Any], token: str | None) -> Response:
        while (connection := self._take(member)) is not None:
            with contextlib.suppress(trio.BrokenResourceError):  # it was closed while idle
                return await self._exchange_on(connection, request, token)
        return await self._exchange_on(await self._connect(member), request, token)

    async def _exchange_on(self, connection: _Connection, request: Request[Any], token: str | None) -> Response:
        is_kept = False
        try:
            await connection.send(request, token)
            response = await connection.receive()
            is_kept = response.is_kept_alive and len(self._idle) < _IDLE_MAX
            return response
        finally:
            if is_kept:
                self._idle.append(connection)
            else:
                with trio.CancelScope(shield=True):
                    await connection.close()

    def _take(self, member: Member) -> _Connection | None:
        for place, connection in enumerate(self._idle):
            if connection.member == member:
                return self._idle.pop(place)
        return None

    async def _connect(self, member: Member) -> _Connection:
        stream: trio.abc.Stream = await trio.open_tcp_stream(member.host, member.port)
        if member.is_tls:
            assert self._members.tls is not None
            tls = trio.SSLStream(stream, self._members.tls, server_hostname=member.host, https_compatible=True)
            try:
                await tls.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            stream = tls
        return _Connection(member, stream)

    async def _failed(self, member: Member, error: Exception, *, is_cut_short: bool = False) -> None:
        is_late = isinstance(error, trio.TooSlowError)
        if self.trouble is None or not (is_late and is_cut_short):  # which tells less than the try before
            self.trouble = f"{member}: {reason(error)}"
        while (connection := self._take(member)) is not None:  # other tasks may do the same meanwhile
            await connection.close()
        if self._turn.failed(member):
            await trio.sleep(PAUSE_SECONDS)
