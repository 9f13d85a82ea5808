"""The files of the demo's own page: those of the package and one generated file.

Every file is read once, at the start, and found by its exact path in a dict, so no path can lead out of the package.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
from typing import TYPE_CHECKING, Final

from pynun.demo.page_server import File

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIGURATION_PATH: Final = "/config.json"

_CONTENT_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".LICENSE": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
}


def _load_files() -> dict[str, File]:
    """Read the packaged files, by the path of their URL."""
    files: dict[str, File] = {}
    for item in importlib.resources.files("pynun.demo").joinpath("static").iterdir():
        extension = item.name[item.name.rfind(".") :]
        if extension in _CONTENT_TYPES:
            content = item.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            files[f"/{item.name}"] = File(_CONTENT_TYPES[extension], content, tag)
    files["/"] = files.pop("/index.html")
    return files


class PictureSite:
    """The page with the picture that everyone moves."""

    def __init__(self, configuration: Mapping[str, object], websocket_port: int) -> None:
        """`configuration` is what the page gets as `/config.json`, never kept: it has a token."""
        self._files = _load_files()
        self._files[CONFIGURATION_PATH] = File("application/json", json.dumps(configuration).encode(), "")
        self._websocket_port = websocket_port

    def find(self, path: str, host: str) -> File | None:
        """The file for a path."""
        return self._files.get(path)

    def policies(self, host: str) -> list[tuple[str, str]]:
        """The page may load its own files and connect to the demo's server, nothing else."""
        # The policy's grammar has no IPv6 addresses; `*` with the port is the closest to one.
        name = "*" if ":" in host else host
        policy = (
            "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self';"
            f" connect-src 'self' ws://{name}:{self._websocket_port};"
            " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return [("Content-Security-Policy", policy)]
