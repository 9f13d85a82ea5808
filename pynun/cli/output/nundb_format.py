"""The original's two lines, exactly: its log line, and a reply as a Rust string.

Source: docs/protocol.md section 6; the escapes are those of Rust's `{:?}` for `str`.
"""

from __future__ import annotations

import time

# Rust also escapes what joins onto the character before it (Grapheme_Extend), lest it join onto the quote. These are
# its members outside the categories Mn and Me: Other_Grapheme_Extend of Unicode's PropList.
_OTHER_EXTENDING = frozenset(
    chr(code)
    for first, last in (
        (0x09BE, 0x09BE), (0x09D7, 0x09D7), (0x0B3E, 0x0B3E), (0x0B57, 0x0B57), (0x0BBE, 0x0BBE), (0x0BD7, 0x0BD7),
        (0x0CC0, 0x0CC0), (0x0CC2, 0x0CC2), (0x0CC7, 0x0CC8), (0x0CCA, 0x0CCB), (0x0CD5, 0x0CD6), (0x0D3E, 0x0D3E),
        (0x0D57, 0x0D57), (0x0DCF, 0x0DCF), (0x0DDF, 0x0DDF), (0x1715, 0x1715), (0x1734, 0x1734), (0x1B35, 0x1B35),
        (0x1B3B, 0x1B3B), (0x1B3D, 0x1B3D), (0x1B43, 0x1B44), (0x1BAA, 0x1BAA), (0x1BF2, 0x1BF3), (0x200C, 0x200C),
        (0x302E, 0x302F), (0xA953, 0xA953), (0xA9C0, 0xA9C0), (0xFF9E, 0xFF9F), (0x111C0, 0x111C0),
        (0x11235, 0x11235), (0x1133E, 0x1133E), (0x1134D, 0x1134D), (0x11357, 0x11357), (0x114B0, 0x114B0),
        (0x114BD, 0x114BD), (0x115AF, 0x115AF), (0x116B6, 0x116B6), (0x11930, 0x11930), (0x1193D, 0x1193D),
        (0x11F41, 0x11F41), (0x16FF0, 0x16FF1), (0x1D165, 0x1D166), (0x1D16D, 0x1D172), (0xE0020, 0xE007F),
    )
    for code in range(first, last + 1)
)  # fmt: skip

_ESCAPES = {"\0": r"\0", "\t": r"\t", "\n": r"\n", "\r": r"\r", '"': r"\"", "\\": r"\\"}


def log_line(message: str, time_ns: int | None = None) -> str:
    """A line of the original's log, in UTC with nine decimals: `[2023-09-24T21:32:22.005972013Z nun_db] MESSAGE`."""
    seconds, nanoseconds = divmod(time.time_ns() if time_ns is None else time_ns, 1_000_000_000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"[{stamp}.{nanoseconds:09d}Z nun_db] {message}"


def quoted(text: str) -> str:
    """The text in double quotes, escaped as Rust shows a string to a programmer."""
    if text.isascii():
        return '"' + "".join(map(_escaped_ascii, text)) + '"'
    import unicodedata  # rarely needed, and not free to load

    def escaped(character: str) -> str:
        if character.isascii():
            return _escaped_ascii(character)
        extends = unicodedata.category(character) in ("Mn", "Me") or character in _OTHER_EXTENDING
        return character if character.isprintable() and not extends else f"\\u{{{ord(character):x}}}"

    return '"' + "".join(map(escaped, text)) + '"'


def _escaped_ascii(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    return character if character.isprintable() else f"\\u{{{ord(character):x}}}"
