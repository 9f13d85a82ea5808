"""Viewers to open: page servers of the demo with released viewers, and a room of a server of the test's own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from pynun.demo.page_server import PageServer
from pynun.demo.viewer_site import ViewerSite
from pynun.setting_values import Address
from tests.system.ohif.viewers import viewer
from tools.clients.exact_clients import http_post
from tools.clients.server import Server, new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASE = "features-of-db"
KEY = "client-lesson"


class ViewerRoom(NamedTuple):
    """Where viewers are opened, and the server of their room."""

    urls: dict[str, str]
    """Each viewer's address by its version, with a `/` at its end."""
    paths: list[str]
    """The studies, below such an address."""
    server: Server


@contextlib.contextmanager
def viewer_room(*versions: str, **environment: str) -> Iterator[ViewerRoom]:
    """Viewers whose configuration names the tutorial's user, and a server with that user, a student and a pupil."""
    folders = {version: viewer(version) for version in versions}
    with new_folder() as folder, contextlib.ExitStack() as closing:
        server = closing.enter_context(Server(folder / "dbs", environment=environment))
        http_post(
            server.http,
            f"auth {server.credentials}; create-db {DATABASE} {DATABASE}-pwd; use {DATABASE} {DATABASE}-pwd; "
            "create-user client client-pwd; set-permissions client r *|rwx client-*; "
            "create-user student student-pwd; set-permissions student r *; "
            "create-user pupil pupil-pwd; set-permissions pupil r *|rw client-lesson-person-*,client-lesson-pointer-*,"
            "client-lesson-people",
        )
        settings = {"db": DATABASE, "user": "client", "token": "client-pwd", "key": KEY}
        sites = {version: ViewerSite(there, settings, server.websocket.port) for version, there in folders.items()}
        urls = {}
        for version, site in sites.items():
            pages = PageServer(Address("127.0.0.1", 0), is_port_optional=False)
            pages.serve(site)
            closing.callback(pages.close)
            urls[version] = f"http://{pages.address}/"
        yield ViewerRoom(urls, sites[versions[0]].paths, server)
