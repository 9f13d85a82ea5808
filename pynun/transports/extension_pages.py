"""Serve the extension for the OHIF viewer, on the HTTP and the WebSocket port: `GET /ohif/sync.js` and its modules.

A viewer elsewhere imports it, so any page may read it; it holds nothing secret.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from pynun.ohif.files import load_files
from pynun.transports.pages import CORS_FIELD, Page, entity_tag

if TYPE_CHECKING:
    from pynun.transports.pages import Pages

_FIELDS: Final = (
    CORS_FIELD + b"Cross-Origin-Resource-Policy: cross-origin\r\n"
    # A new version is seen at the next load of the viewer.
    b"Cache-Control: no-cache\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
)


def _page(content: bytes) -> Page:
    return Page(200, content, b"text/javascript; charset=utf-8", _FIELDS, entity_tag(content))


async def _answer(page: Page) -> Page:
    return page


EXTENSION_PAGES: Final[Pages] = {
    f"/ohif/{name}".encode(): partial(_answer, _page(content)) for name, content in load_files().items()
}
"""The page of each module. Read with this module: a server that is no longer root may not be able to."""
