"""Prints what is installed beside the interpreter that runs it: name, version, licence and size of each package.

For the table in docs/dependencies.md. Make a clean environment first, so that nothing else is counted:

    scripts/run version && .venv/bin/python scripts/tools/docs/dependency_sizes.py
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

_SPDX_OF = {
    "Apache 2.0": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "MIT License": "MIT",
}
"""How packages that do not use SPDX expressions state their licences."""

_NOT_OURS = ("pip", "setuptools")
"""What venv itself puts there."""


def licence(distribution: importlib.metadata.Distribution) -> str:
    """The licence that a package's metadata states, by its SPDX identifier if it can be told."""
    stated = _stated_licence(distribution)
    return _SPDX_OF.get(stated, stated)


def _stated_licence(distribution: importlib.metadata.Distribution) -> str:
    metadata = distribution.metadata
    for field in ("License-Expression", "License"):
        values = metadata.get_all(field) or []
        if values and "\n" not in values[0]:
            return str(values[0])
    names = [line for line in metadata.get_all("Classifier") or [] if line.startswith("License ::")]
    return ", ".join(name.rpartition(" :: ")[2] for name in names) or "not stated"


def size_bytes(distribution: importlib.metadata.Distribution) -> int:
    """The size of a package's files, compiled modules included."""
    paths = (Path(str(distribution.locate_file(file))) for file in distribution.files or [])
    return sum(path.stat().st_size for path in paths if path.is_file())


def main() -> None:
    """Print a line for each package, then the sum."""
    total = 0
    for found in sorted(importlib.metadata.distributions(), key=lambda found: found.metadata["Name"].lower()):
        if found.metadata["Name"] not in _NOT_OURS:
            size = size_bytes(found)
            total += size
            print(f"{found.metadata['Name']:24}{found.version:16}{size / 1e6:6.2f} MB  {licence(found)}")
    print(f"{'all':24}{'':16}{total / 1e6:6.2f} MB")


if __name__ == "__main__":
    main()
