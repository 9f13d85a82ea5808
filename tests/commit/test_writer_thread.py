"""The thread that writes batches: what it gives back, that a wait for it can't be cancelled, and that it ends."""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from pynun.commit.writer_thread import WriterThread

if TYPE_CHECKING:
    from collections.abc import Callable


def _writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "nun-db writer"]


def test_batches_are_written_in_one_other_thread() -> None:
    seen: list[tuple[int, int]] = []

    def note(revision: int) -> None:
        seen.append((revision, threading.get_ident()))

    async def main() -> None:
        writer = WriterThread()
        with writer:
            for revision in (1, 2, 3):
                await writer.run(partial(note, revision))

    trio.run(main)
    assert [revision for revision, _ in seen] == [1, 2, 3]
    (thread,) = {thread for _, thread in seen}
    assert thread != threading.get_ident()


def test_what_the_write_raised_is_raised_and_the_next_is_written() -> None:
    seen: list[int] = []

    def fail() -> None:
        raise OSError("no room")

    async def main() -> None:
        writer = WriterThread()
        with writer:
            with pytest.raises(OSError, match="no room"):
                await writer.run(fail)
            await writer.run(lambda: seen.append(2))

    trio.run(main)
    assert seen == [2]


def test_a_wait_can_not_be_cancelled() -> None:
    """It would leave the committer not knowing whether the batch is on disk."""
    may_end = threading.Event()
    ended: list[int] = []

    def write() -> None:
        may_end.wait(10)
        ended.append(7)

    async def main() -> None:
        writer = WriterThread()
        with writer, trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def let_go() -> None:
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
                    may_end.set()

                nursery.start_soon(let_go)
                await writer.run(write)
                assert ended == [7]

    trio.run(main)
    assert ended == [7]


@pytest.mark.parametrize("leave", [lambda: None, lambda: 1 / 0])
def test_the_thread_ends_with_its_block(leave: Callable[[], object]) -> None:
    before = _writers()

    async def main() -> None:
        writer = WriterThread()
        with writer:
            await writer.run(lambda: None)
            leave()

    with contextlib.suppress(ZeroDivisionError):
        trio.run(main)
    for thread in _writers():
        if thread not in before:
            thread.join(10)
    assert set(_writers()) <= set(before)
