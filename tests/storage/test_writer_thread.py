"""The thread that writes batches: what it gives back, that a wait for it can't be cancelled, and that it ends."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from pynun.engine.changes import Batch
from pynun.storage.writer_thread import WriterThread

if TYPE_CHECKING:
    from collections.abc import Callable


def _writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "nun-db writer"]


def test_batches_are_written_in_one_other_thread() -> None:
    seen: list[tuple[int, int, int]] = []

    async def main() -> None:
        writer = WriterThread(lambda batch, count: seen.append((batch.revision, count, threading.get_ident())))
        with writer:
            for revision in (1, 2, 3):
                await writer.write(Batch(revision), revision * 10)

    trio.run(main)
    assert [(revision, count) for revision, count, _ in seen] == [(1, 10), (2, 20), (3, 30)]
    (thread,) = {thread for *_, thread in seen}
    assert thread != threading.get_ident()


def test_what_the_write_raised_is_raised_and_the_next_is_written() -> None:
    def write(batch: Batch, _: int) -> None:
        if batch.revision == 1:
            raise OSError("no room")

    async def main() -> None:
        writer = WriterThread(write)
        with writer:
            with pytest.raises(OSError, match="no room"):
                await writer.write(Batch(1), 0)
            await writer.write(Batch(2), 0)

    trio.run(main)


def test_a_wait_can_not_be_cancelled() -> None:
    """It would leave the committer not knowing whether the batch is on disk."""
    may_end = threading.Event()
    ended: list[int] = []

    def write(batch: Batch, _: int) -> None:
        may_end.wait(10)
        ended.append(batch.revision)

    async def main() -> None:
        writer = WriterThread(write)
        with writer, trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def let_go() -> None:
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
                    may_end.set()

                nursery.start_soon(let_go)
                await writer.write(Batch(7), 0)
                assert ended == [7]

    trio.run(main)
    assert ended == [7]


@pytest.mark.parametrize("leave", [lambda: None, lambda: 1 / 0])
def test_the_thread_ends_with_its_block(leave: Callable[[], object]) -> None:
    before = _writers()

    async def main() -> None:
        writer = WriterThread(lambda _batch, _count: None)
        with writer:
            await writer.write(Batch(1), 0)
            leave()

    with contextlib.suppress(ZeroDivisionError):
        trio.run(main)
    for thread in _writers():
        if thread not in before:
            thread.join(10)
    assert _writers() == before
