"""The extension for the OHIF viewer: served on both ports, for any page, kept by browsers while it is the same."""

from __future__ import annotations

import http.client
import json
import re
from typing import TYPE_CHECKING

import pytest

from pynun import __version__
from pynun.ohif.files import load_files, package_json
from tests.cli.command import run
from tools.clients.exact_clients import http_post
from tools.clients.server import REPOSITORY, Server

if TYPE_CHECKING:
    from pathlib import Path

    from tools.clients.server import Address

STATIC = REPOSITORY / "pynun" / "ohif" / "static"


def ask(
    address: Address, method: str = "GET", path: str = "/ohif/sync.js", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=60)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_both_ports_serve_every_module(shared_server: Server) -> None:
    for address in (shared_server.http, shared_server.websocket):
        for name, content in load_files().items():
            module, body = ask(address, path=f"/ohif/{name}?of=this")
            assert (module.status, body) == (200, content)
        response, _ = ask(address)
        assert response.headers["content-type"] == "text/javascript; charset=utf-8"
        assert response.headers["access-control-allow-origin"] == "*"
        assert response.headers["cross-origin-resource-policy"] == "cross-origin"
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-content-type-options"] == "nosniff"
        head, body = ask(address, "HEAD")
        assert (head.status, body) == (200, b"")
        assert int(head.headers["content-length"]) == len(load_files()["sync.js"])
        same, body = ask(address, if_none_match=f'"other", {head.headers["etag"]}')
        assert (same.status, body, same.headers["etag"]) == (304, b"", head.headers["etag"])
        assert same.headers["access-control-allow-origin"] == "*"
        assert ask(address, if_none_match='"other"')[0].status == 200


def test_anything_else_is_commands(shared_server: Server) -> None:
    assert ask(shared_server.http, "POST")[1] == b""
    assert ask(shared_server.http, path="/ohif/none.js")[1] == b""
    assert http_post(shared_server.http, "nonsense") == "unknown command: nonsense"
    connection = http.client.HTTPConnection(shared_server.http.host, shared_server.http.port, timeout=60)
    connection.request("GET", "/ohif/sync.js", body="nonsense")
    assert connection.getresponse().read() == b"unknown command: nonsense"
    connection.close()
    assert ask(shared_server.websocket, path="/ohif/none.js")[0].status == 426


def test_an_allowed_origin_gets_one_header(disk_folder: Path) -> None:
    environment = {"NUN_ALLOWED_ORIGINS": "https://viewer.example.org"}
    with Server(disk_folder / "dbs", environment=environment) as server:
        response, _ = ask(server.http, origin="https://viewer.example.org")
        assert response.headers.get_all("access-control-allow-origin") == ["*"]
        assert ask(server.http, origin="https://other.example.org")[0].status == 403


def test_the_modules_need_nothing_but_each_other() -> None:
    files = load_files()
    assert files["version.js"] == f'export const VERSION = "{__version__}";\n'.encode()
    for name, content in files.items():
        text = content.decode()
        for imported in re.findall(r"^import .* from '(.*)';$", text, re.MULTILINE):
            assert imported.removeprefix("./") in files, name
        assert "import(" not in text, name
        # Names, labels and values of others are text.
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), name
        # What is logged goes through one function, which says nothing of a study or of a person.
        assert "console" not in text or name == "complaints.js", name


def test_the_command_writes_them_and_prints_how_to_load_them(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "nun-db-sync"
    result = run("ohif-extension", str(folder), "--url", "/sync/sync.js")
    assert (result.code, result.errors) == (0, "")
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert written == {**load_files(), "package.json": package_json()}
    assert 'import("/sync/sync.js")' in result.output
    assert "window.config.nunDb = {" in result.output
    package = json.loads(written["package.json"])
    assert package["keywords"] == ["ohif-extension"], "by which the viewer's command line knows an extension"
    assert package["main"] in written
    assert f"  id: '{package['name']}',".encode() in written[package["main"]], "the viewer wants them to be the same"
    again = run("ohif-extension", str(folder))
    assert again.code == 0


@pytest.mark.parametrize("folder", ["", "/proc/none"])
def test_a_folder_that_can_not_be_written_is_said(folder: str) -> None:
    result = run("ohif-extension", folder)
    assert result.code != 0
    assert "folder" in result.errors or "can't write to" in result.errors
