"""`nun-db demo --ohif`: a viewer's folder, the demo's own configuration and studies, and nothing else of the disk."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.cli.command import run
from tests.system.demo.running import Demo
from tools.clients.exact_clients import WebSocketClient
from tools.clients.server import Address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands for a viewer: the real one is opened by tests/system/ohif."""
    folder = tmp_path_factory.mktemp("viewer") / "dist"
    folder.mkdir()
    for name, text in (("index.html", "<title>OHIF"), ("app-config.js", "the hospital's own"), ("a.bundle.js", "1;")):
        (folder / name).write_text(text)
    (folder.parent / "secret.txt").write_text("not for the network")
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    return folder


@pytest.fixture(scope="module", name="demo")
def _demo(folder: Path) -> Iterator[Demo]:
    with Demo("--ohif", str(folder)) as running:
        yield running


def test_every_address_of_the_viewer_is_its_page(demo: Demo) -> None:
    shown = re.findall(r"^    (http://\S+)$", demo.greeting, re.MULTILINE)
    assert len(shown) == 2
    for path in ("/", "/index.html", *(url.removeprefix(demo.url.rstrip("/")).partition("?")[0] for url in shown)):
        answer = demo.get(path)
        assert (answer.status, answer.body) == (200, b"<title>OHIF")
        assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
    script = demo.get("/a.bundle.js")
    assert (script.status, script.headers["content-type"]) == (200, "text/javascript")
    assert demo.get("/a.bundle.js", headers={"If-None-Match": script.headers["etag"]}).status == 304


def test_the_configuration_is_the_demo_s_with_a_guest_that_may_use_the_room(demo: Demo) -> None:
    text = demo.get("/app-config.js").body.decode()
    assert "the hospital's own" not in text
    assert f'import("http://127.0.0.1:{demo.websocket_port}/ohif/sync.js")' in text
    told = json.loads(re.search(r"window\.config\.nunDb = (.*);", text)[1])  # type: ignore[index]
    assert told["url"] == f"ws://127.0.0.1:{demo.websocket_port}"
    with WebSocketClient(Address("127.0.0.1", demo.websocket_port)) as client:
        client.ask(f"use-db {told['db']} {told['user']} {told['token']}")
        assert client.ask(f"set-ephemeral {told['key']}-person-1 x") == ["ok \n"]
        assert client.ask(f"set {told['key']}-pane-0 x") == ["ok \n"]
        assert client.ask(f"remove {told['key']}-pane-0") == ["ok \n"]
        assert client.ask("set other x")[-1] == "error permission denied\n \n"


def test_the_studies_are_whole_dicom_files(demo: Demo) -> None:
    uids = re.findall(r"url=/studies/([0-9.]+)\.json", demo.greeting)
    for uid in uids:
        (study,) = json.loads(demo.get(f"/studies/{uid}.json").body)["studies"]
        assert study["StudyInstanceUID"] == uid
        instances = [one for series in study["series"] for one in series["instances"]]
        assert len(instances) == study["NumInstances"] >= 24
        for one in (instances[0], instances[-1]):
            answer = demo.get(one["url"].removeprefix("dicomweb:"))
            assert answer.headers["content-type"] == "application/dicom"
            pixels = 2 * one["metadata"]["Rows"] * one["metadata"]["Columns"]
            assert answer.body[128:132] == b"DICM"
            assert one["metadata"]["SOPInstanceUID"].encode() in answer.body
            assert answer.body[-pixels - 4 : -pixels] == pixels.to_bytes(4, "little")
    assert demo.get(f"/studies/{uids[0]}/1/999.dcm").status == 404
    assert demo.get("/studies/1.2.3.json").status == 404


@pytest.mark.parametrize("path", ["/../secret.txt", "/%2e%2e/secret.txt", "//etc/passwd.txt", "/link.txt", "/none.js"])
def test_nothing_outside_the_folder_is_there(demo: Demo, path: str) -> None:
    assert demo.get(path).status == 404


def test_a_folder_without_a_viewer_is_said(tmp_path: Path) -> None:
    result = run("demo", "--ohif", str(tmp_path))
    assert (result.code, result.output) == (1, "")
    assert "is no OHIF viewer" in result.errors
    assert "npm pack @ohif/app" in result.errors
