"""One row of the table of settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: what can be set, how it is read, and what a person has to know about it."""

    name: str
    """The environment variable."""
    default: str
    """As it would be written; empty: none."""
    parse: Callable[[str], Any]
    """From text to value; raises ValueError whose text completes "accepted: …"."""
    help: str
    unit: str = ""
    effect: bool = True
    """False: accepted, and without effect on a single node."""
    field: str = ""
    """The attribute of `Settings` that holds the value; empty only for settings without effect."""
    option: str = ""
    """The option of the command line that wins over the variable, if there is one."""
    secret: bool = False
    """Its value is never shown, and NAME_FILE may name a file that holds it."""
