"""The clients are the published ones: npm checks them against the hashes of the lock file, which names no host."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.node import TESTS


def test_the_lock_pins_the_clients_and_names_no_source() -> None:
    packages = json.loads((TESTS / "package-lock.json").read_text())["packages"]
    for name, version in (("nun-db", "1.8.3"), ("nun-db-react", "1.0.11")):
        assert packages[f"node_modules/{name}"]["version"] == version
    installed = [package for path, package in packages.items() if path]
    assert all(package["integrity"].startswith("sha512-") for package in installed)
    assert not any("resolved" in package for package in installed)


def test_every_package_asked_for_is_used() -> None:
    asked = json.loads((TESTS / "package.json").read_text())["dependencies"]
    texts = [
        path.read_text()
        for folder in ("javascript", "browser", "demo", "console", "ohif")
        for path in sorted(Path(TESTS / "system" / folder).rglob("*"))
        if path.suffix in (".js", ".jsx", ".py")
    ]
    # Not named by us, but needed: what cornerstone asks its users to have, and two modules that only Node.js brings.
    indirect = {"@cornerstonejs/metadata", "@cornerstonejs/utils", "events", "url"}
    assert [name for name in asked if name not in indirect and not any(f"'{name}" in text for text in texts)] == []
