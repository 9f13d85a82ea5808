"""docs/install.md and docs/upgrade.md: their commands are run, in order, on a machine without internet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import Block, commands
from tests.system.installer.conftest import NEWER
from tests.system.installer.test_install import administer, how_to_start, version_of
from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.installer.machine import Machine

pytestmark = pytest.mark.timeout(1800)

INSTALL = REPOSITORY / "docs" / "install.md"
UPGRADE = REPOSITORY / "docs" / "upgrade.md"


def type_in(machine: Machine, folder: Path, block: Block) -> str:
    """Type a block's lines in a folder; returns what they print."""
    return machine.succeed("bash", "-euc", f'cd {folder}; sudo() {{ "$@"; }}\n{block.text}')


def test_the_commands_to_install(with_program: Machine, archive: Path, tmp_path: Path) -> None:
    machine = with_program
    (tmp_path / archive.name).symlink_to(archive)
    install, *first_steps, uninstall = commands(INSTALL, "machine")
    start = how_to_start(type_in(machine, tmp_path, install))
    with machine.server(start):
        printed = [type_in(machine, tmp_path, block) for block in first_steps]
        assert "ready\n" in printed[0]
        assert "create-db success" in printed[1]
        assert "valid auth\\n;empty;empty;empty" in printed[1]
        assert 'valid auth\\n;empty"' in administer(machine, "use-db features-of-db client client-pwd")
    assert "The program is removed." in type_in(machine, tmp_path, uninstall)


def test_the_commands_to_upgrade_and_go_back(installed: Machine, newer_bundle: Path) -> None:
    version = version_of(installed)
    forth, back = commands(UPGRADE, "upgrade")
    type_in(installed, newer_bundle, forth)
    assert version_of(installed) == NEWER
    type_in(installed, newer_bundle, back)
    assert version_of(installed) == version
