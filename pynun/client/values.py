"""What can be stored as a value: text as it is, and any other JSON value as JSON text."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

Json: TypeAlias = str | int | float | bool | list[Any] | tuple[Any, ...] | dict[str, Any] | None
"""A value of JSON (RFC 8259) as Python has it. A tuple is stored as a list is."""

ParsedJson: TypeAlias = Any
"""What JSON text means: Any, because a program knows better than a type checker what it has stored."""

_SCALARS = (str, int, float, type(None))  # a bool is an int


def value_text(value: Json) -> str:
    """The text that is stored for `value`: a str as it is, anything else as compact JSON.

    JSON text holds no semicolon and no newline, which the protocol could not carry: within a string, the only place
    for them, both can be escaped. Raises TypeError for what JSON has no value for, and ValueError for a number that is
    not finite, and for a list or dict that holds itself or nests too deeply.
    """
    if isinstance(value, str):
        return value
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_refuse)
    except RecursionError:
        raise ValueError("the value nests too deeply for JSON") from None
    except ValueError as error:
        reason = "holds itself" if "Circular" in str(error) else "holds a number that is infinite or NaN"
        raise ValueError(f"the value {reason}, which JSON can't express") from None
    _check_keys(value)
    return text.replace(";", "\\u003b")


def _refuse(part: object) -> object:
    raise TypeError(
        f"a value of type {type(part).__name__} can't be stored; text and JSON values can: str, int, float,"
        " bool, None, list, tuple and dict"
    )


def _check_keys(value: object) -> None:
    """`json.dumps` would turn other keys than text into text, and the value that comes back would be another one."""
    parts = [value]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            for key in part:
                if not isinstance(key, str):
                    raise TypeError(
                        f"the value holds a dict with a key of type {type(key).__name__}; JSON has text only"
                    )
            parts.extend(one for one in part.values() if not isinstance(one, _SCALARS))
        elif isinstance(part, list | tuple):
            parts.extend(one for one in part if not isinstance(one, _SCALARS))


def json_value(text: str | None) -> ParsedJson:
    """What `text` means as JSON; None for an absent value. Raises ValueError if it is not JSON."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("the value is not JSON; read it as text") from None
