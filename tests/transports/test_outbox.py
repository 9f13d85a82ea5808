"""The queue to one client: order, waiting for the disk, lost batches, half-sent data, broken sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pynun.engine.events import Event
from pynun.transports.tcp.lines import LineOutbox
from pynun.transports.websocket.frames import FrameOutbox, text_frame
from tests.properties.effort import effort
from tests.transports.outbox_bench import OutboxBench, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pynun.engine.events import Result

LOST = "error not stored: why \n"


# --- order -----------------------------------------------------------------------------------------------------


def test_what_goes_in_leaves_in_the_same_order_by_one_send() -> None:
    async def test(bench: OutboxBench) -> None:
        bench.outbox.reply("one\n", 0)
        bench.event("k", "two")
        bench.outbox.refuse(("three\n",), "four", 0)
        bench.outbox.send_raw(b"five\n")
        bench.outbox.reply(None, 0)
        assert bench.read() == b""
        bench.flusher.flush()
        assert bench.read() == b"one\nok \ntwo\nthree\nerror four \nfive\nok \n"

    run(test)


@pytest.mark.parametrize("waits", [False, True])
def test_others_are_told_of_a_change_before_its_author_is(waits: bool) -> None:
    async def test(bench: OutboxBench) -> None:
        other = LineOutbox(bench.ours, bench.flusher, 1000)  # by the same socket, which shows who was first
        revision = bench.change()
        bench.event("k", "to the author", revision * waits)
        other.event(Event("k", ("to another\n",), revision * waits))
        bench.outbox.reply(None, revision * waits)
        bench.flusher.flush()
        if waits:
            assert bench.read() == b""
            bench.begin_commit()
            bench.finish_commit()
        assert bench.read() == b"to another\nto the author\nok \n"
        bench.event("k", "again")
        other.reply(None, 0)
        bench.flusher.flush()
        assert bench.read() == b"again\nok \n"

    run(test)


def test_everything_behind_what_waits_for_the_disk_waits_too() -> None:
    async def test(bench: OutboxBench) -> None:
        revision = bench.change()
        bench.outbox.reply("before\n", 0)
        bench.outbox.reply("waits\n", revision)
        bench.event("k", "event")
        bench.outbox.reply("behind\n", 0)
        bench.outbox.send_raw(b"raw\n")
        bench.flusher.flush()
        assert bench.read() == b"before\nok \n"
        bench.begin_commit()
        bench.flusher.flush()
        assert bench.read() == b""
        bench.finish_commit()
        assert bench.read() == b"waits\nok \nevent\nbehind\nok \nraw\n"
        bench.outbox.reply("later\n", 0)
        bench.flusher.flush()
        assert bench.read() == b"later\nok \n"

    run(test)


def test_two_batches_are_released_one_after_the_other() -> None:
    async def test(bench: OutboxBench) -> None:
        bench.outbox.reply("first\n", bench.change())
        bench.begin_commit()
        bench.outbox.reply("second\n", bench.change())
        bench.finish_commit()
        assert bench.read() == b"first\nok \n"
        bench.begin_commit()
        bench.finish_commit()
        assert bench.read() == b"second\nok \n"

    run(test)


def test_an_event_waits_for_its_batch() -> None:
    async def test(bench: OutboxBench) -> None:
        bench.event("k", "event", bench.change())
        bench.flusher.flush()
        assert bench.read() == b""
        bench.begin_commit()
        bench.finish_commit()
        assert bench.read() == b"event\n"

    run(test)


def test_what_depends_on_a_batch_that_is_on_disk_by_now_leaves_at_once() -> None:
    async def test(bench: OutboxBench) -> None:
        revision = bench.change()
        bench.begin_commit()
        bench.finish_commit()
        bench.outbox.reply("late\n", revision)
        bench.flusher.flush()
        assert bench.read() == b"late\nok \n"
        bench.outbox.reply("waits\n", bench.change())
        bench.outbox.reply("late\n", revision)
        bench.flusher.flush()
        assert bench.read() == b""
        bench.begin_commit()
        bench.finish_commit()
        assert bench.read() == b"waits\nok \nlate\nok \n"

    run(test)


# --- lost batches ----------------------------------------------------------------------------------------------


def test_replies_of_a_lost_batch_become_errors_and_its_events_never_were() -> None:
    async def test(bench: OutboxBench) -> None:
        revision = bench.change()
        bench.outbox.reply("lost\n", revision)
        bench.event("k", "lost", revision)
        bench.outbox.refuse(("lost\n",), "lost", revision)
        bench.outbox.reply("kept\n", 0)
        bench.event("k", "kept")
        bench.lose()
        assert bench.read().decode() == f"{LOST}{LOST}kept\nok \nkept\n"
        await bench.outbox.wait_sent()  # and nothing is thought to wait

    run(test)


def test_both_batches_are_lost_in_their_order() -> None:
    async def test(bench: OutboxBench) -> None:
        bench.outbox.reply("first\n", bench.change())
        bench.outbox.reply("kept\n", 0)
        bench.begin_commit()
        bench.outbox.reply("second\n", bench.change())
        bench.outbox.reply("kept too\n", 0)
        bench.lose()
        assert bench.read().decode() == f"{LOST}kept\nok \n{LOST}kept too\nok \n"

    run(test)


def test_what_is_said_after_a_loss_waits_for_the_next_batch() -> None:
    async def test(bench: OutboxBench) -> None:
        bench.outbox.reply("lost\n", bench.change())
        bench.lose()
        bench.outbox.reply("next\n", bench.change())
        bench.begin_commit()
        bench.finish_commit()
        assert bench.read().decode() == f"{LOST}next\nok \n"

    run(test)


def test_a_reply_about_what_is_on_disk_is_kept_though_it_waits_behind_what_is_lost() -> None:
    async def test(bench: OutboxBench) -> None:
        written = bench.change()
        bench.begin_commit()
        bench.outbox.reply("lost\n", bench.change())
        bench.outbox.reply("about the batch being written\n", written)
        bench.finish_commit()
        bench.lose()
        assert bench.read().decode() == f"{LOST}about the batch being written\nok \n"

    run(test)


def test_a_reply_about_what_is_lost_is_an_error_though_it_waits_behind_the_next_batch() -> None:
    async def test(bench: OutboxBench) -> None:
        written = bench.change()
        bench.begin_commit()
        bench.outbox.reply("lost\n", bench.change())
        bench.outbox.reply("about the batch being written\n", written)
        bench.lose()
        assert bench.read().decode() == f"{LOST}{LOST}"

    run(test)


class _Model:
    """What leaves, by the simplest rule: an item waits for its batch and for all items before it."""

    def __init__(self) -> None:
        self.items: list[tuple[str, str, int]] = []  # kind, text, revision
        self.durable = 0
        self.lost: set[int] = set()

    def told(self) -> str:
        """Everything that may have left by now."""
        told = ""
        for kind, text, revision in self.items:
            if revision in self.lost:
                told += LOST if kind == "reply" else ""
            elif revision > self.durable:
                break
            else:
                told += f"{text}\nok \n" if kind == "reply" else f"{text}\n"
        return told


_steps = st.lists(
    st.sampled_from(("reply", "reply of writing", "reply of filling", "event", "change", "begin", "finish", "lose")),
    max_size=25,
)


@given(steps=_steps)
@effort(250)
def test_whatever_happens_everything_leaves_once_in_order_and_nothing_too_early(steps: list[str]) -> None:
    async def test(bench: OutboxBench) -> None:
        model = _Model()
        told = ""
        for number, step in enumerate([*steps, "finish", "begin", "finish"]):
            _take_step(bench, model, step, str(number))
            bench.flusher.flush()
            told += bench.read().decode()
            assert told == model.told(), step
        await bench.outbox.wait_sent()

    run(test)


def _take_step(bench: OutboxBench, model: _Model, step: str, text: str) -> None:
    view = bench.view
    match step:
        case "reply of writing" if view.writing is not None:
            revision = view.writing.revision
        case "reply" | "reply of writing":
            revision = 0
        case "reply of filling":
            revision = view.newest_unwritten
        case "event":
            revision = bench.change()
            model.items.append(("event", text, revision))
            bench.event("k", text, revision)
            return
        case "change":
            bench.change()
            return
        case "begin":
            if view.writing is None:
                bench.begin_commit()
            return
        case "finish":
            if view.writing is not None:
                model.durable = view.writing.revision
                bench.finish_commit()
            return
        case _:
            model.lost |= {batch.revision for batch in (view.writing, view.batch) if batch is not None}
            bench.lose()
            return
    model.items.append(("reply", text, revision))
    bench.outbox.reply(f"{text}\n", revision)


# --- half-sent data --------------------------------------------------------------------------------------------


def test_what_the_kernel_does_not_take_leaves_when_it_does() -> None:
    async def test(bench: OutboxBench) -> None:
        filling = bench.stall()
        for number in range(100):
            bench.outbox.reply(f"reply {number}\n", 0)
        bench.flusher.flush()
        expected = filling + b"".join(b"reply %d\nok \n" % number for number in range(100))
        assert await bench.read_all() == expected
        assert not bench.outbox.is_stalled
        bench.outbox.reply(None, 0)
        bench.flusher.flush()
        assert bench.read() == b"ok \n"

    run(test)


@given(
    reads=st.lists(st.integers(1, 3000), max_size=30), lengths=st.lists(st.integers(1, 9000), min_size=1, max_size=12)
)
@effort(60)
def test_a_client_that_reads_in_little_pieces_gets_every_byte(reads: list[int], lengths: list[int]) -> None:
    async def test(bench: OutboxBench) -> None:
        expected, received = b"", b""
        for number, length in enumerate(lengths):
            line = b"%d" % (number % 10) * length + b"\n"
            bench.outbox.send_raw(line)
            bench.flusher.flush()
            expected += line
            for bytes_max in reads[number :: len(lengths)]:
                received += bench.read(bytes_max)
                await trio.testing.wait_all_tasks_blocked()
        received += await bench.read_all()
        assert received == expected

    run(test, bytes_max=1 << 20)


def test_who_waits_for_everything_to_be_sent_waits_for_just_that() -> None:
    async def test(bench: OutboxBench) -> None:
        await bench.outbox.wait_sent()  # nothing to send
        revision = bench.change()
        bench.outbox.reply("held\n", revision)
        async with trio.open_nursery() as nursery:
            sent = trio.Event()

            async def wait() -> None:
                await bench.outbox.wait_sent()
                sent.set()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert not sent.is_set()
            bench.begin_commit()
            bench.finish_commit()
            await sent.wait()
        assert bench.read() == b"held\nok \n"

    run(test)


def test_who_waits_for_what_is_half_sent_goes_on_when_it_has_left() -> None:
    async def test(bench: OutboxBench) -> None:
        bench.stall()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.outbox.wait_sent)
            with trio.fail_after(20):
                await bench.read_all()
                await trio.testing.wait_all_tasks_blocked()
                assert not nursery.child_tasks
            nursery.cancel_scope.cancel()

    run(test)


# --- the end ---------------------------------------------------------------------------------------------------


def test_a_broken_socket_takes_nothing_more_and_keeps_nobody_waiting() -> None:
    async def test(bench: OutboxBench) -> None:
        bench.theirs.close()
        bench.outbox.reply("to nobody\n", 0)
        bench.flusher.flush()
        assert bench.outbox.is_broken
        bench.outbox.reply("to nobody\n", bench.change())
        bench.event("k", "to nobody")
        bench.flusher.flush()
        await bench.outbox.wait_sent()
        await bench.outbox.wait_for_room()
        bench.begin_commit()
        bench.finish_commit()
        assert bench.overflows == 0

    run(test)


def test_a_socket_that_breaks_while_it_is_full_frees_who_waits() -> None:
    async def test(bench: OutboxBench) -> None:
        bench.stall()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.outbox.wait_sent)
            await trio.testing.wait_all_tasks_blocked()
            bench.theirs.close()
        assert bench.outbox.is_broken

    run(test)


def test_what_was_held_for_a_client_that_is_gone_is_forgotten() -> None:
    async def test(bench: OutboxBench) -> None:
        bench.outbox.reply("held\n", bench.change())
        bench.outbox.discard()
        bench.begin_commit()
        bench.finish_commit()
        bench.outbox.reply("more\n", 0)
        bench.flusher.flush()
        assert bench.read() == b""
        await bench.outbox.wait_for_room()

    run(test)


# --- what it is written in -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "texts"),
    [(None, []), ("one\n", ["one\n"]), ("é🙂\n".encode(), ["é🙂\n"]), (["one\n", "two"], ["one\n", "two"]), ([], [])],
)
def test_a_reply_is_its_messages_and_ok(result: Result, texts: list[str]) -> None:
    async def test(bench: OutboxBench) -> None:
        for outbox, encode in (
            (LineOutbox(bench.ours, bench.flusher, 1000), str.encode),
            (FrameOutbox(bench.ours, bench.flusher, 1000), lambda text: text_frame(text.encode())),
        ):
            outbox.reply(result, 0)
            bench.flusher.flush()
            assert bench.read() == b"".join(encode(text) for text in (*texts, "ok \n"))

    run(test)


@pytest.mark.parametrize("own", [(), ("permission denied\n",)])
def test_a_refusal_is_its_messages_and_an_error(own: Sequence[str]) -> None:
    async def test(bench: OutboxBench) -> None:
        outbox = FrameOutbox(bench.ours, bench.flusher, 1000)
        outbox.refuse(own, "why", 0)
        bench.flusher.flush()
        assert bench.read() == b"".join(text_frame(text.encode()) for text in (*own, "error why \n"))

    run(test)


def test_an_event_is_written_once_for_all_who_hear_it() -> None:
    async def test(bench: OutboxBench) -> None:
        event = Event("k", ("changed k é\n", "changed-version k 0 é\n"), 0)
        frames = [FrameOutbox(bench.ours, bench.flusher, 1000) for _ in range(2)]
        lines = [LineOutbox(bench.ours, bench.flusher, 1000) for _ in range(2)]
        for outbox in (*frames, *lines):
            outbox.event(event)
        written = event.frames, event.lines
        bench.flusher.flush()
        assert (
            bench.read()
            == 2 * b"".join(text_frame(text.encode()) for text in event.texts) + 2 * "".join(event.texts).encode()
        )
        frames[0].event(event)
        lines[0].event(event)
        assert (event.frames, event.lines) == written
        assert event.frames is written[0]
        assert event.lines is written[1]

    run(test)
