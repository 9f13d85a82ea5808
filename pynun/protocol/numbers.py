"""Numbers as the original reads them: an optional sign and ASCII digits within a fixed width, nothing else."""

from __future__ import annotations

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
UINT64_MAX = 2**64 - 1

_UINT64_DIGITS = len(str(UINT64_MAX))


def parse_integer(text: str, low: int = INT64_MIN, high: int = INT64_MAX) -> int | None:
    """The integer that `text` spells, or None if it spells none within [low, high].

    Stricter than `int()`: no spaces, underscores or digits of other scripts, which the original refuses too.
    """
    if not is_integer(text):
        return None
    digits = text.lstrip("+-").lstrip("0")
    if len(digits) > _UINT64_DIGITS:  # not left to int(), which refuses thousands of digits, zeros among them
        return None
    number = int(digits or "0")
    if text[0] == "-":
        number = -number
    return number if low <= number <= high else None


def parse_unsigned(text: str) -> int | None:
    """The number of 64 bits without a minus that `text` spells, or None."""
    return None if text[:1] == "-" else parse_integer(text, 0, UINT64_MAX)


def is_integer(text: str) -> bool:
    """Whether `text` spells an integer of any size."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    return digits.isascii() and digits.isdigit()
