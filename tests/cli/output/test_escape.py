"""Text of others is shown without what would control the terminal."""

from __future__ import annotations

import pytest

from pynun.cli.output.escape import escaped, printable


@pytest.mark.parametrize(
    ("text", "on_lines", "on_one_line"),
    [
        ("plain ação 🩻", "plain ação 🩻", "plain ação 🩻"),
        ("two\n\tlines", "two\n\tlines", r"two\n\tlines"),
        ("esc\x1b[2J", r"esc\x1b[2J", r"esc\x1b[2J"),
        ("bell\x07\r", r"bell\x07\r", r"bell\x07\r"),
        ("C1 \x9b31m", r"C1 \x9b31m", r"C1 \x9b31m"),
        ("turned \u202e", r"turned \u202e", r"turned \u202e"),
    ],
)
def test_what_controls_a_terminal_is_escaped(text: str, on_lines: str, on_one_line: str) -> None:
    assert printable(text) == on_lines
    assert escaped(text) == on_one_line
