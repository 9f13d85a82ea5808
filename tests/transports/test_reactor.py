"""How long the reactor looks for more data before it lets others run."""

from __future__ import annotations

import select
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
import trio
import trio.testing

from pynun.transports.connection_reader import ChunkReader, Outcome
from pynun.transports.reactor import Reactor
from tests.engine.world import World
from tests.transports.service_bench import open_service, socket_pair

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from pynun.transports.outbox import Outbox
    from pynun.transports.service import Service


class Late:
    """An epoll set in which a socket becomes ready only when it was asked for some times."""

    def __init__(self, client: socket.socket) -> None:
        self._real = select.epoll()
        self._client = client
        self.polls = 0
        self.fileno, self.register, self.unregister = self._real.fileno, self._real.register, self._real.unregister

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """What is ready; at the third time more has come."""
        self.polls += 1
        if self.polls == 3:
            self._client.send(b"second")
        return self._real.poll(timeout, most)


class Keeper(ChunkReader):
    """Keeps what arrives; `leaves` says that its own task has to go on."""

    def __init__(self, connected: socket.socket, service: Service) -> None:
        super().__init__(connected, cast("Outbox", SimpleNamespace()), service)
        self.heard: list[bytes] = []
        self.leaves = False

    def feed(self, data: bytes) -> Outcome:
        """Keep it."""
        self.heard.append(data)
        return Outcome.MORE if self.leaves else Outcome.WAIT


@pytest.fixture(name="ends")
def _ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket_pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def _turn(ends: tuple[socket.socket, socket.socket], *, may_linger: bool, leaves: bool = False) -> list[bytes]:
    """What is heard in one turn of a reactor, of two messages that come one after the other."""
    ours, theirs = ends

    async def main() -> list[bytes]:
        async with open_service() as service:
            reactor = Reactor(service.flusher, service.committer, lambda: may_linger)
            late = Late(theirs)
            reactor._epoll = late  # type: ignore[assignment]
            keeper = Keeper(ours, service)
            keeper.leaves = leaves
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reactor.wait, keeper)
                await trio.testing.wait_all_tasks_blocked()
                late.polls = 0
                theirs.send(b"first")
                reactor._serve_ready()
                heard = list(keeper.heard)
                nursery.cancel_scope.cancel()
            return heard

    return trio.run(main)


def test_what_comes_just_after_is_served_in_the_same_turn(ends: tuple[socket.socket, socket.socket]) -> None:
    assert _turn(ends, may_linger=True) == [b"first", b"second"]


def test_when_somebody_waits_for_another_task_it_does_not_look_again(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    assert _turn(ends, may_linger=False) == [b"first"]


def test_when_a_reader_s_own_task_has_to_go_on_it_does_not_look_again(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    assert _turn(ends, may_linger=True, leaves=True) == [b"first"]


def test_looking_again_ends_soon(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = ends

    async def main() -> float:
        async with open_service() as service:
            reactor = Reactor(service.flusher, service.committer, lambda: True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reactor.wait, Keeper(ours, service))
                await trio.testing.wait_all_tasks_blocked()
                fastest = 1.0
                for _ in range(50):
                    began = time.perf_counter()
                    reactor._serve_ready()
                    fastest = min(fastest, time.perf_counter() - began)
                nursery.cancel_scope.cancel()
            return fastest

    assert trio.run(main) < 0.005


@pytest.mark.parametrize("is_relaxed", [False, True])
def test_the_committer_is_not_kept_waiting(is_relaxed: bool) -> None:
    async def main() -> None:
        world = World(is_relaxed=is_relaxed)
        admin = world.admin("create-db d pwd", "use-db d pwd")
        async with open_service(world) as service:
            assert service._may_linger()
            admin.ask("set k v")
            assert service._may_linger() is is_relaxed
            await trio.testing.wait_all_tasks_blocked(0.2)
            assert service._may_linger()

    trio.run(main)


def test_the_task_is_woken_for_what_a_failing_turn_leaves(ends: tuple[socket.socket, socket.socket]) -> None:
    async def main() -> None:
        world = World()
        admin = world.admin("create-db d pwd", "use-db d pwd")
        async with open_service(world) as service:
            await trio.testing.wait_all_tasks_blocked(0.2)
            reactor = service.reactor

            class Broken:
                def poll(self, _timeout: float, _count: int) -> list[tuple[int, int]]:
                    admin.ask("set k v")
                    raise OSError("epoll failed")

            whole, reactor._epoll = reactor._epoll, Broken()  # type: ignore[assignment]
            with pytest.raises(OSError, match="epoll failed"):
                reactor._serve_ready()
            reactor._epoll = whole
            with trio.fail_after(20):
                while world.view.newest_unwritten:  # noqa: ASYNC110 - what is waited for is in another thread
                    await trio.sleep(0.001)

    trio.run(main)
