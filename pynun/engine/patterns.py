"""Key patterns, as `keys` and permissions use them (docs/protocol.md section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Pattern:
    """`prefix*`, `*suffix` or a substring; scans use `kind` and `text` to be fast."""

    kind: Literal["all", "prefix", "suffix", "substring"]
    text: str = ""

    def matches(self, key: str) -> bool:
        match self.kind:
            case "all":
                return True
            case "prefix":
                return key.startswith(self.text)
            case "suffix":
                return key.endswith(self.text)
            case "substring":
                return self.text in key

    def covers(self, other: Pattern) -> bool:
        """Whether this matches every key that `other` matches."""
        match self.kind, other.kind:
            case "all", _:
                return True
            case _, "all":
                return False
            case "prefix", "prefix":
                return other.text.startswith(self.text)
            case "suffix", "suffix":
                return other.text.endswith(self.text)
            case "substring", _:
                return self.text in other.text
        return False

    def __str__(self) -> str:
        """As it is written."""
        match self.kind:
            case "all":
                return "*"
            case "prefix":
                return f"{self.text}*"
            case "suffix":
                return f"*{self.text}"
            case "substring":
                return self.text


EVERY_KEY: Final = Pattern("all")


def parse_pattern(pattern: str) -> Pattern:
    """Read a pattern: one that ends in `*` is a prefix, one that begins with `*` a suffix, with every `*` removed."""
    text = pattern.replace("*", "")
    if not text:
        return EVERY_KEY
    if pattern.endswith("*"):
        return Pattern("prefix", text)
    if pattern.startswith("*"):
        return Pattern("suffix", text)
    return Pattern("substring", pattern)
