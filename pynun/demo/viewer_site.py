"""The files of an OHIF viewer (the folder `dist` of its build), with a configuration and made-up studies of the demo.

A path is looked up below the folder after all links are resolved, so that none leads out of it. The viewer's own
`app-config.js` is replaced: the demo asks no image server.
"""

from __future__ import annotations

import json
import mimetypes
import re
from typing import TYPE_CHECKING, Final

from pynun.demo.page_server import File
from pynun.demo.study import make_studies
from pynun.errors import StartError
from pynun.ohif.files import snippet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_STUDY: Final = re.compile(r"/studies/([0-9.]+)(?:\.json|/([0-9]+/[0-9]+\.dcm))")

_CONFIGURATION: Final = """\
window.config = {{
  routerBasename: null,
  extensions: [],
  modes: [],
  showStudyList: true,
  maxNumberOfWebWorkers: 2,
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: false,
  showLoadingIndicator: true,
  strictZSpacingForVolumeViewport: true,
  investigationalUseDialog: {{ option: "never" }},
  defaultDataSourceName: "dicomjson",
  dataSources: [
    {{
      namespace: "@ohif/extension-default.dataSourcesModule.dicomjson",
      sourceName: "dicomjson",
      configuration: {{ friendlyName: "Made-up studies", name: "json" }},
    }},
  ],
}};
{snippet}"""


def check_viewer(folder: Path) -> None:
    """Raises StartError if the folder holds no viewer."""
    if not (folder / "index.html").is_file() or not (folder / "app-config.js").is_file():
        raise StartError(
            f"{folder} is no OHIF viewer: give the folder with its index.html and app-config.js, which is"
            " package/dist after: npm pack @ohif/app, and unpacking it"
        )


class ViewerSite:
    """A viewer with made-up studies."""

    def __init__(self, folder: Path, configuration: Mapping[str, object], websocket_port: int) -> None:
        """`configuration` is that of the extension (`nunDb`), without its address."""
        self._folder = folder.resolve()
        self._configuration = configuration
        self._websocket_port = websocket_port
        self._studies = {study.uid: study for study in make_studies()}

    @property
    def paths(self) -> list[str]:
        """The address of each study in the viewer, without the origin."""
        return [f"viewer/dicomjson?url=/studies/{uid}.json" for uid in self._studies]

    def find(self, path: str, host: str) -> File | None:
        """The file for a path; the viewer's page for each of its own addresses."""
        if path == "/app-config.js":
            return File("text/javascript; charset=utf-8", self._app_config(host).encode(), "")
        if match := _STUDY.fullmatch(path):
            study = self._studies.get(match[1])
            if study is None:
                return None
            if match[2] is None:
                return File("application/json", study.manifest(f"/studies/{study.uid}/"), "")
            content = study.files.get(match[2])
            return None if content is None else File("application/dicom", content, f'"{match[1]}.{match[2]}"')
        if "." not in path.rpartition("/")[2]:
            path = "/index.html"
        file = (self._folder / path.lstrip("/")).resolve()
        if not file.is_relative_to(self._folder) or not file.is_file():
            return None
        kind = "text/javascript" if file.suffix in (".js", ".mjs") else mimetypes.guess_type(file.name)[0]
        state = file.stat()
        return File(kind or "application/octet-stream", file.read_bytes(), f'"{state.st_mtime_ns:x}-{state.st_size:x}"')

    def policies(self, host: str) -> list[tuple[str, str]]:
        """The viewer is isolated, so that it may share memory with its workers."""
        return [("Cross-Origin-Embedder-Policy", "require-corp")]

    def _app_config(self, host: str) -> str:
        address = f"[{host}]" if ":" in host else host
        url = f"{address}:{self._websocket_port}"
        settings = json.dumps(
            {"url": f"ws://{url}", **self._configuration, "studyAddress": "viewer/dicomjson?url=/studies/{study}.json"}
        )
        return _CONFIGURATION.format(snippet=snippet(f"http://{url}/ohif/sync.js", settings))
