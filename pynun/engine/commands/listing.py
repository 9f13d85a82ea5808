"""Answers in pages, for answers that programs read: bounded however much there is, and never long at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from pynun.engine.scans import scan_slices
from pynun.protocol import messages

if TYPE_CHECKING:
    from collections.abc import Generator

    from pynun.engine.effects import Answer, Need
    from pynun.engine.session import Session

PAGE_ROWS: Final = 500
"""Rows of one answer: well under a millisecond, and under 100 KiB. What follows is asked for with the last name."""


_UNSENDABLE: Final = re.compile(r"[%;\s\x00-\x1f\x7f-\x9f]")
"""What a transport would take for the end of a command, drop, or trim; and what escapes it (RFC 3986 section 2.1)."""


def place_behind(name: str) -> str:
    """The AFTER that continues behind a name: the name, percent-encoded where a command can't contain it."""
    return _UNSENDABLE.sub(lambda found: quote(found[0], safe=""), name)


def names_after(session: Session, prefix: bytes, beginning: str, after: str) -> Generator[Need, Answer, list[str]]:
    """The names behind a beginning of stored keys, in order, without the beginning, behind a place (`place_behind`).

    Raises Refusal if there are more of them than a listing may hold.
    """
    after = unquote(after)
    view, most = session.view, session.engine.context.keys_max
    while True:
        losses = view.losses
        engine = session.engine
        with engine.listing_budget.open() as listing:
            found = yield from scan_slices(
                engine.view, prefix, beginning.encode(), count_max=most, after=after.encode(), listing=listing
            )
        if len(found) > most:
            raise messages.too_many_keys(most)
        if view.losses == losses:  # else it lists what was lost meanwhile, and is made again
            return [name for key in found if (name := key.decode()[len(beginning) :]) > after]
