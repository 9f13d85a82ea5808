"""Runs a function as another system user, in a child process: the tests run as root."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SOMEBODY = 54_321
SOMEBODY_ELSE = 54_322
"""Users that no system has: they need no entry anywhere."""


def as_user(user: int, function: Callable[[], str]) -> str:
    """What the function returns there, or the name of the OSError that it raises."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        told = "no answer"
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            told = function()
        except OSError as error:
            told = type(error).__name__
        finally:
            os.write(writer, told.encode())
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answer:
        told = answer.read().decode()
    os.waitpid(child, 0)
    return told
