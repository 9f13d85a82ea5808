"""The extension's files (`static/`): plain ES modules, which the server serves and `nun-db ohif-extension` writes."""

from __future__ import annotations

import importlib.resources
import json
from typing import Final

from pynun import __version__

ENTRY: Final = "sync.js"

_SNIPPET: Final = """\
(window.config.extensions ??= []).push({{ id: "nun-db-sync", preRegistration: function load(o) {{ import({url}).then((m) => m.default.preRegistration(o)).catch(() => setTimeout(load, 9000, o)); }} }});
window.config.nunDb = {settings};
"""  # noqa: E501 (two lines of the page's configuration)


def load_files() -> dict[str, bytes]:
    """The modules by their name."""
    files = {
        item.name: item.read_bytes()
        for item in importlib.resources.files("pynun.ohif").joinpath("static").iterdir()
        if item.name.endswith(".js")
    }
    files["version.js"] = f"export const VERSION = {json.dumps(__version__)};\n".encode()
    return files


def package_json() -> bytes:
    """What the viewer's own command line (`link-extension`) wants to know of the folder."""
    return (
        json.dumps(
            {
                "name": "nun-db-sync",
                "version": __version__,
                "description": "OHIF viewers in step, through a Nun-db server",
                "license": "MIT",
                "type": "module",
                "main": ENTRY,
                "module": ENTRY,
                "keywords": ["ohif-extension"],
                "peerDependencies": {"@ohif/core": ">=3.12.0"},
            },
            indent=2,
        )
        + "\n"
    ).encode()


def snippet(url: str, settings: str) -> str:
    """The two lines for the end of `app-config.js`; `settings` is the text of an object.

    Nothing waits for the import: a viewer opens as ever while the server is down, and tries again every 9 seconds.
    """
    return _SNIPPET.format(url=json.dumps(url), settings=settings)
