"""Loads the module of a command only when needed, so that each command starts fast.

It adds advice to the library's messages for the two likely mistakes: login and address options come before the
command, and `-h` is not help (docs/protocol.md section 6).
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

import typer.core
import typer.main

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    from typer._click.core import Command, Context

BEFORE_THE_COMMAND = frozenset({"-u", "--user", "-p", "--pwd", "--pwd-file", "-h", "--host", "--ca"})


class _LazyCommands(Mapping[str, "Command"]):
    """The commands by name, each made when it is asked for."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = modules

    def __getitem__(self, name: str) -> Command:
        made = typer.main.get_command(importlib.import_module(self._modules[name]).app)
        if isinstance(made, typer.core.TyperGroup):  # a module of several commands, or a command that has some
            made = made.commands.get(name, made)
        made.name = name
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


class LazyGroup(typer.core.TyperGroup):
    """The command line as a whole, its commands included."""

    modules: ClassVar[Mapping[str, str]]
    """The module of each command, which has it in its `app`, in the order of the help."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - whatever the library gives
        super().__init__(**attributes)
        self.commands = cast("MutableMapping[str, Command]", _LazyCommands(self.modules))

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Read the options before the command."""
        with _hints_added():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Context) -> object:
        """Read the command's own options and run it."""
        with _hints_added():
            return super().invoke(ctx)


@contextlib.contextmanager
def _hints_added() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the class of the library's errors has no public name
        option = getattr(error, "option_name", None)
        message = getattr(error, "message", None)
        if isinstance(message, str) and message.startswith("No such option") and option in BEFORE_THE_COMMAND:
            vars(error)["message"] = f"{message} ({option} stands before the command)"
        elif isinstance(message, str) and option == "-h":
            vars(error)["message"] = f"{message} (-h names a host or address: help is --help)"
        raise
