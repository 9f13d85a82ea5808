"""What a built etcd consists of: Go modules, each with its licence, which must go with the program."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final, NamedTuple

from tools.etcd.program import MODULE, PINS, version

_LICENCE_NAMES: Final = ("LICENSE*", "LICENCE*", "COPYING*", "NOTICE*")
_SECONDS_MAX: Final = 900.0


class Module(NamedTuple):
    """One module that is linked into the program."""

    path: str
    version: str
    folder: Path
    """Its source, in Go's cache."""


def modules() -> list[Module]:
    """All of them, by path; Go must be installed, and the program have been built."""
    shown = "{{with .Module}}{{if .Version}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}"
    found = subprocess.run(
        [shutil.which("go") or "go", "list", "-deps", "-f", shown, MODULE],
        cwd=PINS,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"},
        capture_output=True,
        text=True,
        timeout=_SECONDS_MAX,
        check=True,
    )
    lines = sorted({line for line in found.stdout.splitlines() if line})
    return [Module(path, number, Path(folder)) for path, number, folder in (line.split(" ", 2) for line in lines)]


def copy_with_licences(program: Path, folder: Path) -> Path:
    """Put the program and all licences into a folder; returns the program's copy."""
    shutil.rmtree(folder / "licences", ignore_errors=True)
    for module in modules():
        texts = [text for name in _LICENCE_NAMES for text in sorted(module.folder.glob(name)) if text.is_file()]
        if module.path == MODULE:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(texts[0], folder / "LICENSE")
        place = folder / "licences" / module.path
        place.mkdir(parents=True)
        for text in texts:
            shutil.copyfile(text, place / text.name)
    shutil.copyfile(program, folder / "etcd")
    (folder / "etcd").chmod(0o755)
    return folder / "etcd"


def components() -> list[dict[str, Any]]:
    """The components of a CycloneDX bill of materials: the program, and the modules within it."""
    within = [
        {
            "type": "library",
            "bom-ref": f"pkg:golang/{module.path}@{module.version}",
            "name": module.path,
            "version": module.version,
            "purl": f"pkg:golang/{module.path}@{module.version}",
        }
        for module in modules()
    ]
    return [
        {
            "type": "application",
            "bom-ref": f"etcd@{version()}",
            "name": "etcd",
            "version": version(),
            "description": "Key-value store that a cluster needs; a program of its own, built from its Go modules",
            "licenses": [{"license": {"id": "Apache-2.0"}}],
            "components": within,
        }
    ]
