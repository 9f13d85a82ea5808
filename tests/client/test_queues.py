"""The bounded queue of a watcher: nothing lost while the consumer keeps up, the newest of each key when it does not."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pynun.client.queues import ConflatingQueue
from tests.client.peer import trio_test


async def take_all(queue: ConflatingQueue[str]) -> list[str]:
    return [await queue.get() for _ in range(len(queue))]


@trio_test
async def test_consumer_that_keeps_up_gets_everything_in_order() -> None:
    queue: ConflatingQueue[str] = ConflatingQueue(items_max=3)
    for round_number in range(100):
        items = [f"{key}{round_number}" for key in "aab"]
        for item in items:
            queue.put(item[0], item)
        assert await take_all(queue) == items


@trio_test
async def test_slow_consumer_gets_the_newest_of_each_key() -> None:
    queue: ConflatingQueue[str] = ConflatingQueue(items_max=3)
    for item in ("a1", "b1", "a2", "b2", "a3", "c1"):
        queue.put(item[0], item)
    assert await take_all(queue) == ["b2", "a3", "c1"]


@trio_test
async def test_queue_that_was_caught_up_with_conflates_no_more() -> None:
    queue: ConflatingQueue[str] = ConflatingQueue(items_max=2)
    for number in range(10):
        queue.put("a", f"a{number}")
    assert await take_all(queue) == ["a9"]
    queue.put("a", "a10")
    queue.put("a", "a11")
    assert await take_all(queue) == ["a10", "a11"]


@trio_test
async def test_long_values_conflate_before_the_number_of_items_does() -> None:
    queue: ConflatingQueue[str] = ConflatingQueue(characters_max=100)
    queue.put("a", "a1", 60)
    queue.put("a", "a2", 60)
    assert await take_all(queue) == ["a2"]


@trio_test
async def test_length_is_bounded_by_the_keys_however_many_changes_come() -> None:
    queue: ConflatingQueue[str] = ConflatingQueue(items_max=10)
    for number in range(10_000):
        queue.put(str(number % 20), str(number))
        assert len(queue) <= 20
    assert await take_all(queue) == [str(number) for number in range(9_980, 10_000)]


@trio_test
async def test_end_comes_after_what_had_been_put() -> None:
    queue: ConflatingQueue[str] = ConflatingQueue()
    queue.put("a", "a1")
    queue.close()
    queue.put("a", "a2")
    assert await queue.get() == "a1"
    with pytest.raises(StopAsyncIteration):
        await queue.get()


@trio_test
async def test_waiting_consumers_are_all_told_of_the_end() -> None:
    queue: ConflatingQueue[str] = ConflatingQueue()
    ended = []

    async def consume(number: int) -> None:
        with pytest.raises(ZeroDivisionError):
            await queue.get()
        ended.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(consume, number)
        await trio.testing.wait_all_tasks_blocked()
        queue.close(ZeroDivisionError())
    assert sorted(ended) == [0, 1, 2]


@trio_test
async def test_cancelled_consumer_loses_no_item() -> None:
    queue: ConflatingQueue[str] = ConflatingQueue()
    with trio.move_on_after(0):
        await queue.get()
    queue.put("a", "a1")
    with trio.move_on_after(0) as scope:
        await queue.get()
    assert scope.cancelled_caught
    assert await queue.get() == "a1"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.booleans())), st.integers(1, 5))
def test_last_item_of_every_key_arrives_last_and_the_order_within_a_key_holds(
    steps: list[tuple[str, int, bool]], items_max: int
) -> None:
    async def main() -> None:
        queue: ConflatingQueue[tuple[str, int]] = ConflatingQueue(items_max)
        got: list[tuple[str, int]] = []
        for number, (key, _, takes) in enumerate(steps):
            queue.put(key, (key, number))
            if takes:
                got.append(await queue.get())
        got += [await queue.get() for _ in range(len(queue))]
        for wanted in {key for key, _, _ in steps}:
            numbers = [number for key, number in got if key == wanted]
            assert numbers == sorted(set(numbers))
            assert numbers[-1] == max(number for number, (key, _, _) in enumerate(steps) if key == wanted)

    trio.run(main)
