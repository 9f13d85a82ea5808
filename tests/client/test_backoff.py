"""The waits between attempts to reconnect."""

from __future__ import annotations

from pynun.client.backoff import Backoff


def test_delays_double_from_a_tenth_of_a_second_up_to_two_seconds() -> None:
    backoff = Backoff(lambda: 0.0)
    assert [backoff.next_delay_s() for _ in range(7)] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_jitter_takes_up_to_a_half_away() -> None:
    jitter = iter([0.0, 0.5, 0.999, 0.999, 0.999, 0.999])
    backoff = Backoff(lambda: next(jitter))
    delays = [backoff.next_delay_s() for _ in range(6)]
    assert delays[:2] == [0.1, 0.2 * 0.75]
    assert 1.0 < delays[-1] < 1.01


def test_reset_begins_again() -> None:
    backoff = Backoff(lambda: 0.0)
    for _ in range(5):
        backoff.next_delay_s()
    backoff.reset()
    assert backoff.next_delay_s() == 0.1
