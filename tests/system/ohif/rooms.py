"""Viewers to open: page servers of the demo with released viewers, and a room of a server of the test's own."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from pynun.demo.page_server import PageServer
from pynun.demo.viewer_site import ViewerSite
from pynun.setting_values import Address
from tests.system.ohif.viewers import viewer
from tools.clients.exact_clients import WebSocketClient, http_post
from tools.clients.server import Server, new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASE = "features-of-db"
KEY = "client-lesson"


class ViewerPages(NamedTuple):
    """Where viewers are opened."""

    urls: list[str]
    """Each viewer's address, with a `/` at its end."""
    paths: list[str]
    """The studies, below such an address."""


def create_users(server: Server) -> None:
    """Create the room's database, with the tutorial's user, a student and a pupil."""
    http_post(
        server.http,
        f"auth {server.credentials}; create-db {DATABASE} {DATABASE}-pwd; use {DATABASE} {DATABASE}-pwd; "
        "create-user client client-pwd; set-permissions client r *|rwx client-*; "
        "create-user student student-pwd; set-permissions student r *; "
        "create-user pupil pupil-pwd; set-permissions pupil r *|rw client-lesson-person-*,client-lesson-pointer-*,"
        "client-lesson-people",
    )


@contextlib.contextmanager
def viewer_pages(*viewers: tuple[str, Server]) -> Iterator[ViewerPages]:
    """Viewers of these versions, each of which connects to this server as the tutorial's user."""
    settings = {"db": DATABASE, "user": "client", "token": "client-pwd", "key": KEY}
    sites = [ViewerSite(viewer(version), settings, server.websocket.port) for version, server in viewers]
    with contextlib.ExitStack() as closing:
        urls = []
        for site in sites:
            pages = PageServer(Address("127.0.0.1", 0), is_port_optional=False)
            pages.serve(site)
            closing.callback(pages.close)
            urls.append(f"http://{pages.address}/")
        yield ViewerPages(urls, sites[0].paths)


@contextlib.contextmanager
def viewer_room(*versions: str, **environment: str) -> Iterator[tuple[ViewerPages, Server]]:
    """Viewers, and the server of their room."""
    with new_folder() as folder, Server(folder / "dbs", environment=environment) as server:
        create_users(server)
        with viewer_pages(*((version, server) for version in versions)) as pages:
            yield pages, server


class OldClient(WebSocketClient):
    """A client of the first extension, `ohif-nun-db`, in the room."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.websocket)
        self.ask(f"use-db {DATABASE} client client-pwd")
        self.ask(f"watch {KEY}-camera")
        self.ask(f"watch {KEY}-currentImageIdIndex")

    def move(self, camera: dict[str, Any], index: int) -> None:
        """Say what it shows, in its shape."""
        values = {"camera": camera, "currentImageIdIndex": {"currentImageIdIndex": index}}
        for number, (name, value) in enumerate(values.items()):
            text = json.dumps({"_id": number, "value": value}, separators=(",", ":"))
            self.ask(f"set-safe {KEY}-{name} -1 {text}")

    def heard(self) -> str:
        """What it was told, and what it reads now."""
        return "".join([*self.ask(f"get {KEY}-currentImageIdIndex"), *self.ask(f"get {KEY}-camera")])
