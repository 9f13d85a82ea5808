"""Commands whose modules are loaded when they are typed, so that the others start as fast as without them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

import typer.main

from pynun.cli.usage_hints import HintingGroup

if TYPE_CHECKING:
    from typer._click.core import Command, Context

MODULES: Final = {
    "databases": "pynun.cli.commands.databases",
    "users": "pynun.cli.commands.users",
    "permissions": "pynun.cli.commands.permissions",
    "sessions": "pynun.cli.commands.sessions",
    "password": "pynun.cli.commands.password",
}
"""The module of each, which has the command as its `app`."""


LAST: Final = "version"


class CommandLine(HintingGroup):
    """The command line as a whole."""

    def list_commands(self, ctx: Context) -> list[str]:
        """All names, in the order of the help."""
        names = [name for name in super().list_commands(ctx) if name != LAST]
        return [*names, *MODULES, LAST]

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """The command of a name, loaded now if need be."""
        if cmd_name not in MODULES:
            return super().get_command(ctx, cmd_name)
        command = typer.main.get_command(importlib.import_module(MODULES[cmd_name]).app)
        command.name = cmd_name
        return command
