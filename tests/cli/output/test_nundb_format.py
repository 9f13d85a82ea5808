"""The lines of the original, letter by letter. The quoted texts were printed by a Rust program with `{:?}`."""

from __future__ import annotations

import pytest

from pynun.cli.output.nundb_format import log_line, quoted


@pytest.mark.parametrize(
    ("text", "rust"),
    [
        ("", '""'),
        ("valid auth\n;create-db success\n", r'"valid auth\n;create-db success\n"'),
        ('say "hi"', r'"say \"hi\""'),
        ("it's", '"it\'s"'),
        ("C:\\dir", r'"C:\\dir"'),
        ("a\tb\rc", r'"a\tb\rc"'),
        ("\0", r'"\0"'),
        ("\x1b[31m", r'"\u{1b}[31m"'),
        ("\x7f\x80", r'"\u{7f}\u{80}"'),
        ("ação 日本 🩻", '"ação 日本 🩻"'),
        ("e\u0301", r'"e\u{301}"'),  # a combining accent would join onto what stands before it
        ("\u00a0\u2028\ufeff\u200d", r'"\u{a0}\u{2028}\u{feff}\u{200d}"'),
        ("\u09be\u0903", '"\\u{9be}\u0903"'),  # both join, but only the first is of Grapheme_Extend
        ("\ue000", r'"\u{e000}"'),
    ],
)
def test_a_text_is_quoted_as_rust_does(text: str, rust: str) -> None:
    assert quoted(text) == rust


def test_the_log_line_has_nine_decimals_even_when_they_are_zeros() -> None:
    assert log_line("nundb starting!", 1695591142005972013) == "[2023-09-24T21:32:22.005972013Z nun_db] nundb starting!"
    assert log_line("x", 1695591142000000000) == "[2023-09-24T21:32:22.000000000Z nun_db] x"
