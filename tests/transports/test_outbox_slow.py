"""A client that reads slowly, or not at all (docs/protocol.md section 9): newest values, bounded memory, the end."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from pynun import limits
from tests.properties.effort import effort
from tests.transports.outbox_bench import BYTES_MAX, SOCKET_BYTES, OutboxBench, run

CONFLATED_FROM = BYTES_MAX // 4
"""Bytes that wait before events of the same key replace each other."""


def stall_beyond(bench: OutboxBench, bytes_waiting: int = CONFLATED_FROM) -> bytes:
    """Let so much wait that events are conflated; what waits."""
    filling = bench.stall()
    reply = b"reply that waits %b\n" % (b"." * bytes_waiting)
    bench.outbox.send_raw(reply)
    return filling + reply


def lines(data: bytes) -> list[str]:
    """Lines, without those that only fill."""
    return [line for line in data.decode().splitlines() if not line.startswith(("filling", "reply that waits"))]


# --- conflation ------------------------------------------------------------------------------------------------


def test_a_slow_reader_gets_the_newest_value_of_each_key() -> None:
    async def test(bench: OutboxBench) -> None:
        stall_beyond(bench)
        for number in range(1000):
            bench.event(f"k{number % 3}", f"k{number % 3}={number}")
        assert lines(await bench.read_all()) == ["k1=997", "k2=998", "k0=999"]
        assert bench.outbox.conflated_events == 997

    run(test)


def test_an_event_stands_where_its_newest_value_came() -> None:
    async def test(bench: OutboxBench) -> None:
        stall_beyond(bench)
        bench.event("a", "a=1")
        bench.outbox.reply("between\n", 0)
        bench.event("b", "b=1")
        bench.event("a", "a=2")
        bench.outbox.reply("behind\n", 0)
        assert lines(await bench.read_all()) == ["between", "ok ", "b=1", "a=2", "behind", "ok "]

    run(test)


def test_replies_are_never_dropped() -> None:
    async def test(bench: OutboxBench) -> None:
        stall_beyond(bench)
        for number in range(200):
            bench.outbox.reply(f"reply {number}\n", 0)
            bench.event("k", f"k={number}")
        told = lines(await bench.read_all())
        assert [line for line in told if line.startswith("reply")] == [f"reply {number}" for number in range(200)]
        assert [line for line in told if line.startswith("k=")] == ["k=199"]

    run(test)


def test_events_of_no_key_are_never_conflated() -> None:
    async def test(bench: OutboxBench) -> None:
        stall_beyond(bench)
        for number in range(20):
            bench.event(None, f"conflict {number}")
        assert lines(await bench.read_all()) == [f"conflict {number}" for number in range(20)]

    run(test)


def test_a_reader_that_keeps_up_gets_every_value() -> None:
    async def test(bench: OutboxBench) -> None:
        received = b""
        for number in range(500):
            bench.event("k", f"k={number} {'.' * 100}")
            bench.flusher.flush()
            received += bench.read()
        assert len(lines(received)) == 500
        assert bench.outbox.conflated_events == 0

    run(test)


def test_much_that_gathers_before_it_is_sent_is_not_conflated() -> None:
    async def test(bench: OutboxBench) -> None:
        for number in range(500):
            bench.event("k", f"k={number} {'.' * 100}")
        assert len(lines(await bench.read_all())) == 0
        bench.flusher.flush()
        assert len(lines(await bench.read_all())) == 500
        assert bench.outbox.conflated_events == 0

    run(test, bytes_max=100_000)


def test_little_that_waits_is_not_conflated() -> None:
    async def test(bench: OutboxBench) -> None:
        bench.stall()
        for number in range(100):
            bench.event("k", f"k={number}")
        assert lines(await bench.read_all()) == [f"k={number}" for number in range(100)]

    run(test)


def test_a_reader_that_has_caught_up_gets_every_value_again() -> None:
    async def test(bench: OutboxBench) -> None:
        stall_beyond(bench)
        bench.event("k", "k=old")
        bench.event("k", "k=new")
        assert lines(await bench.read_all()) == ["k=new"]
        for number in range(3):
            bench.event("k", f"k={number}")
        bench.flusher.flush()
        assert lines(await bench.read_all()) == ["k=0", "k=1", "k=2"]

    run(test)


def test_events_that_waited_for_the_disk_are_conflated_too() -> None:
    async def test(bench: OutboxBench) -> None:
        stall_beyond(bench)
        for number in range(50):
            bench.event("k", f"k={number}", bench.change())
            bench.event("j", f"j={number}", bench.change())
        bench.begin_commit()
        bench.finish_commit()
        assert lines(await bench.read_all()) == ["k=49", "j=49"]

    run(test)


def test_one_batch_of_more_than_the_limit_is_conflated_and_ends_nobody() -> None:
    async def test(bench: OutboxBench) -> None:
        bench.stall()
        revision = bench.change()
        length = BYTES_MAX // 4
        for number in range(12):
            bench.event("k", f"{number} {'x' * length}", revision)
        bench.begin_commit()
        for number in range(12, 24):  # held for the next batch meanwhile
            bench.event("k", f"{number} {'x' * length}", bench.change())
        bench.finish_commit()
        bench.begin_commit()
        bench.finish_commit()
        received = await bench.read_all()
        assert bench.overflows == 0
        assert received.endswith(b"\n23 %b\n" % (b"x" * length))

    run(test)


def test_hours_of_events_take_no_more_memory_than_their_newest_values() -> None:
    async def test(bench: OutboxBench) -> None:
        stall_beyond(bench)
        for number in range(30_000):
            bench.event(f"k{number % 10}", f"k{number % 10}={number} {'.' * 200}")
            assert not bench.outbox.is_full
        assert bench.overflows == 0
        received = await bench.read_all()
        assert len(received) < BYTES_MAX
        assert [line.split(" ")[0] for line in lines(received)] == [
            f"k{number % 10}={number}" for number in range(29_990, 30_000)
        ]

    run(test)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abcr"), st.integers(1, 400), st.sampled_from((0, 0, 0, 1, 5000))), max_size=60
    )
)
@effort(80)
def test_however_slow_the_last_value_of_each_key_is_its_newest_and_none_steps_back(
    steps: list[tuple[str, int, int]],
) -> None:
    async def test(bench: OutboxBench) -> None:
        received = b""
        expected_replies: list[str] = []
        newest: dict[str, int] = {}
        for number, (name, length, bytes_read) in enumerate(steps * 4):
            if name == "r":
                bench.outbox.reply(f"reply={number} {'.' * length}\n", 0)
                expected_replies.append(f"reply={number}")
            else:
                bench.event(name, f"{name}={number} {'.' * length}")
                newest[name] = number
            bench.flusher.flush()
            if bytes_read:
                received += bench.read(bytes_read)
                await wait_all_tasks_blocked()
        received += await bench.read_all()
        assert not bench.overflows
        told = [line.split(" ")[0] for line in received.decode().splitlines() if "=" in line]
        assert [line for line in told if line.startswith("reply")] == expected_replies
        values = {name: [int(line[2:]) for line in told if line.startswith(f"{name}=")] for name in newest}
        for name, numbers in values.items():
            assert numbers == sorted(numbers)
            assert numbers[-1] == newest[name]

    run(test, bytes_max=1 << 20)


# --- overflow --------------------------------------------------------------------------------------------------


def test_too_many_events_of_different_keys_end_it_once() -> None:
    async def test(bench: OutboxBench) -> None:
        filling = bench.stall()
        for number in range(1000):
            bench.event(f"k{number}", f"k{number}={'.' * 100}")
        assert bench.overflows == 1
        bench.outbox.reply("nothing more\n", 0)
        bench.outbox.reply("nothing more\n", bench.change())
        bench.event("k", "nothing more")
        bench.begin_commit()
        bench.finish_commit()
        bench.outbox.send_last(b"the reason\n")
        assert await bench.read_all() == filling + b"the reason\n"
        assert bench.overflows == 1

    run(test)


def test_what_waited_for_the_disk_may_be_too_much_too() -> None:
    async def test(bench: OutboxBench) -> None:
        filling = bench.stall()
        revision = bench.change()
        for number in range(1000):
            bench.event(f"k{number}", f"k{number}={'.' * 100}", revision)
        bench.outbox.reply("behind\n", revision)
        assert bench.overflows == 0
        bench.begin_commit()
        bench.finish_commit()
        assert bench.overflows == 1
        assert await bench.read_all() == filling

    run(test)


def test_who_asks_for_too_much_and_reads_nothing_is_disconnected_after_a_while() -> None:
    async def test(bench: OutboxBench) -> None:
        bench.outbox.reply("x" * BYTES_MAX * 2, 0)
        began = trio.current_time()
        await bench.outbox.wait_for_room()
        assert trio.current_time() - began == pytest.approx(limits.STALLED_SECONDS)
        assert bench.overflows == 1
        await bench.outbox.wait_for_room()
        assert bench.overflows == 1

    run(test, clock=MockClock(autojump_threshold=0.01))


def test_who_reads_a_little_now_and_then_is_waited_for() -> None:
    async def test(bench: OutboxBench) -> None:
        bench.outbox.reply("x" * BYTES_MAX * 2, 0)
        received = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.outbox.wait_for_room)
            while not received or nursery.child_tasks:
                await trio.sleep(limits.STALLED_SECONDS * 0.9)
                received += bench.read(2 * SOCKET_BYTES)  # so much that the kernel takes more: unix(7) waits for that
                await wait_all_tasks_blocked()
        assert bench.overflows == 0
        assert trio.current_time() > 3 * limits.STALLED_SECONDS
        received += await bench.read_all()
        assert received == b"x" * BYTES_MAX * 2 + b"ok \n"

    run(test, clock=MockClock(autojump_threshold=0.01))


def test_there_is_room_while_little_waits() -> None:
    async def test(bench: OutboxBench) -> None:
        bench.outbox.reply("x", 0)
        with trio.fail_after(0):
            await bench.outbox.wait_for_room()
        assert bench.read() == b"xok \n"  # and what had gathered has been sent

    run(test, clock=MockClock())


def test_two_who_wait_for_room_both_go_on_when_there_is_some() -> None:
    async def test(bench: OutboxBench) -> None:
        bench.outbox.reply("x" * BYTES_MAX * 2, 0)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(bench.outbox.wait_for_room)
            await wait_all_tasks_blocked()
            await bench.read_all()
        assert trio.current_time() == began

    run(test, clock=MockClock(autojump_threshold=0.05))


def test_a_flood_of_replies_says_that_it_should_be_sent_ahead() -> None:
    async def test(bench: OutboxBench) -> None:
        states = [bench.outbox.needs_flush]
        bench.outbox.reply("x" * limits.FLUSH_BYTES, 0)
        states.append(bench.outbox.needs_flush)
        assert states == [False, True]
        assert not bench.outbox.is_full

    run(test, bytes_max=1 << 20)


def test_the_last_word_of_a_complete_outbox_is_the_last() -> None:
    async def test(bench: OutboxBench) -> None:
        bench.outbox.reply("held\n", bench.change())
        bench.outbox.complete(b"close\n")
        bench.outbox.reply("more\n", 0)
        bench.event("k", "more")
        bench.outbox.send_raw(b"more\n")
        bench.begin_commit()
        bench.finish_commit()
        assert bench.read() == b"held\nok \nclose\n"
        await bench.outbox.wait_sent()

    run(test)
