"""The pages of a data file that are in use: so that a test damages what matters, and not what is free."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

import pytest

from pynun.storage.integrity import page_check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGE_BYTES = mmap.PAGESIZE
"""LMDB's pages are as large as the system's."""


def pages_in_use(file: Path, *, with_values: bool = True) -> list[int]:
    """The numbers of the pages of all trees, in order; with the first page of each value that has some of its own."""
    found: set[int] = set()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_page", "_overflow") if with_values else ("_page",):
            original = getattr(page_check._Pages, name)

            def note(
                pages: page_check._Pages, number: int, more: int, original: Callable[..., object] = original
            ) -> object:
                found.add(number)
                return original(pages, number, more)

            patch.setattr(page_check._Pages, name, note)
        assert page_check.find_damage(file) is None
    return sorted(found)
