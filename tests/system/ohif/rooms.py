"""Viewers to open: the page server of the demo with a released viewer, and a room of a server of the test's own."""

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
    """Where a viewer is opened, and the server of its room."""

    version: str
    url: str
    """The viewer's address, with a `/` at its end."""
    paths: list[str]
    """Its studies, below that address."""
    server: Server


@contextlib.contextmanager
def viewer_room(version: str) -> Iterator[ViewerRoom]:
    """A viewer whose configuration names the tutorial's user, and a server with that user and a student."""
    folder_of_viewer = viewer(version)
    with new_folder() as folder, Server(folder / "dbs") as server:
        http_post(
            server.http,
            f"auth {server.credentials}; create-db {DATABASE} {DATABASE}-pwd; use {DATABASE} {DATABASE}-pwd; "
            "create-user client client-pwd; set-permissions client r *|rwx client-*; "
            "create-user student student-pwd; set-permissions student r *; "
            "create-user pupil pupil-pwd; set-permissions pupil r *|rw client-lesson-person-*,client-lesson-pointer-*,"
            "client-lesson-people",
        )
        settings = {"db": DATABASE, "user": "client", "token": "client-pwd", "key": KEY}
        site = ViewerSite(folder_of_viewer, settings, server.websocket.port)
        pages = PageServer(Address("127.0.0.1", 0), is_port_optional=False)
        pages.serve(site)
        try:
            yield ViewerRoom(version, f"http://{pages.address}/", site.paths, server)
        finally:
            pages.close()
