"""How the values of settings are read: each function takes the text and returns the value, or raises ValueError.

The text of the ValueError completes "accepted: …".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def whole_number(smallest: int, largest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not smallest <= int(text) <= largest:
            raise ValueError(f"a whole number from {smallest} to {largest}")
        return int(text)

    return parse


def word(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"{', '.join(words[:-1])} or {words[-1]}")
        return text.lower()

    return parse


def user_name(text: str) -> str:
    if re.search(r"[ ;\r\n]", text):
        raise ValueError("a name without spaces, semicolons and line breaks (no client could send it)")
    return text


def password(text: str) -> str:
    if "\n" in text or "\r" in text:
        raise ValueError("text without line breaks (no client could send it)")
    return text


def folder(text: str) -> Path:
    if "\0" in text:
        raise ValueError("the path of a folder")
    return Path(text)


def file(text: str) -> Path:
    if "\0" in text:
        raise ValueError("the path of a file")
    return Path(text)


def host_and_port_text(text: str) -> str:
    """An address as others see it: kept as text, for only clients resolve it."""
    if re.search(r"\s", text):
        raise ValueError("HOST:PORT")
    return text


def comma_separated(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def origins(text: str) -> tuple[str, ...]:
    """Origins as browsers send them (RFC 6454 section 6.2): in lower case, without the scheme's usual port."""
    found: list[str] = []
    for part in comma_separated(text):
        match = re.fullmatch(r"(https?)://([^\s/:,@?#]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", part.lower())
        if match is None:
            raise ValueError("https://HOST or https://HOST:PORT (or http), without a path; several separated by commas")
        scheme, host, port = match.groups()
        is_usual = port is None or int(port) == (443 if scheme == "https" else 80)
        found.append(f"{scheme}://{host}" if is_usual else f"{scheme}://{host}:{int(port)}")
    return tuple(found)


def text(text: str) -> str:
    return text
