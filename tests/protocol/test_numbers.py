"""Numbers as the original reads them (docs/protocol.md section 4)."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pynun.protocol.numbers import INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, parse_integer
from tests.properties.effort import effort


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("1", 1),
        ("-1", -1),
        ("+1", 1),
        ("-0", 0),
        ("007", 7),
        ("-" + "0" * 100 + "7", -7),
        ("+" + "0" * 10_000 + "7", 7),  # int() takes no more than 4300 digits
        ("0" * 10_000, 0),
        ("9223372036854775807", INT64_MAX),
        ("-9223372036854775808", INT64_MIN),
    ],
)
def test_a_sign_and_digits_are_a_number(text: str, number: int) -> None:
    assert parse_integer(text) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", "+", "-", "--1", "+-1", "- 1", " 1", "1 ", "1.0", "1e3", "0x1", "1_000", "1,000", "x", "1x", "\0", "1\0"),
        *("٣", "\uff11", "²", "Ⅷ"),  # digits of other scripts, some of which int() would take
        *("9223372036854775808", "-9223372036854775809", "9" * 10_000),
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert parse_integer(text) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [("2147483647", INT32_MAX), ("2147483648", None), ("-2147483648", INT32_MIN), ("-2147483649", None)],
)
def test_a_width_is_kept_to(text: str, number: int | None) -> None:
    assert parse_integer(text, INT32_MIN, INT32_MAX) == number


@given(text=st.from_regex(r"[+-]?[0-9]{1,25}", fullmatch=True) | st.text(max_size=8) | st.integers().map(str))
@example("-" + "0" * 30)
@effort(500)
def test_a_text_is_a_number_just_when_it_spells_one_within_64_bits(text: str) -> None:
    spells_one = re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII) is not None
    expected = int(text) if spells_one and INT64_MIN <= int(text) <= INT64_MAX else None
    assert parse_integer(text) == expected
