"""Loads the module of a command only when needed, so that each command starts fast, and completes what it made.

The options before the command are accepted after it too, unless the command has one of that name: `start -h` is the
HTTP address (docs/protocol.md section 6).
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import typer.core
import typer.main
from typer._click.shell_completion import CompletionItem

from pynun.cli.errors import failures_shown

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    from typer._click.core import Command, Context, Parameter

COMPLETION_VARIABLE = "_NUN_DB_COMPLETE"
"""Set by the shells' completion scripts (typer, get_completion_script)."""

_GLOBAL = "global_"

_SYNONYMS: Final = (
    {"add", "create", "grant", "new"},
    {"del", "delete", "remove", "revoke", "rm"},
    {"delete", "drop", "remove", "rm"},
    {"close", "delete", "disconnect", "drop", "end", "kill", "remove"},
    {"can", "check", "explain", "test"},
    {"list", "ls", "show"},
    {"passwd", "password", "token"},
)
"""Words that people take for each other."""


class _LazyCommands(Mapping[str, "Command"]):
    """The commands by name, each made when it is asked for."""

    def __init__(self, modules: Mapping[str, str], group: LazyGroup) -> None:
        self._modules = modules
        self._group = group

    def __getitem__(self, name: str) -> Command:
        made = typer.main.get_command(importlib.import_module(self._modules[name]).app)
        if isinstance(made, typer.core.TyperGroup):  # a module of several commands, or a command that has some
            made = made.commands.get(name, made)
        made.name = name
        _complete(made, [option for option in self._group.params if option.expose_value])
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


class _Group(typer.core.TyperGroup):
    """Commands under a name, which says what a word of another program is called here."""

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        word = args[0]
        if word not in set(self.commands) and (meant := self._meant(ctx, word)):
            ctx.fail(f"No such command {word!r}. Did you mean {meant!r}?")
        return super().resolve_command(ctx, args)

    def _meant(self, context: Context, word: str) -> str | None:
        own = [name for words in _SYNONYMS if word in words for name in self.commands if name in words]
        if own:
            return f"{context.command_path} {own[0]}"
        root = context.find_root()
        names = set(cast("LazyGroup", root.command).commands)
        return next((f"{root.info_name} {name}" for name in (word, f"{word}-db") if name in names), None)


class LazyGroup(_Group):
    """The command line as a whole, its commands included."""

    modules: ClassVar[Mapping[str, str]]
    """The module of each command, which has it in its `app`, in the order of the help."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - whatever the library gives
        super().__init__(**attributes)
        # Without rich, which takes long to import and cuts the help at the width of a terminal.
        typer._completion_classes._sanitize_help_text = lambda text: text
        self.commands = cast("MutableMapping[str, Command]", _LazyCommands(self.modules, self))

    def shell_complete(self, ctx: Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name. Only those that fit are loaded, for their help, which bash does not show."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        names = [name for name in self.commands if name.startswith(incomplete)]
        if os.environ.get(COMPLETION_VARIABLE) == "complete_bash":
            return [CompletionItem(name) for name in names]
        return [CompletionItem(name, help=self.commands[name].get_short_help_str()) for name in names]

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Read the options before the command."""
        with _hints_added():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Context) -> object:
        """Read the command's own options and run it. Its errors become a line and an exit code."""
        with failures_shown(), _hints_added():
            return super().invoke(ctx)


class _Argument(typer.core.TyperArgument):
    """An argument that is shown in brackets: by default, the library puts a required one in braces."""

    def make_metavar(self, ctx: Context, *, usage: bool = False) -> str:
        name = super().make_metavar(ctx)
        return f"[{name}]" if usage and not name.startswith("[") else name


def _complete(command: Command, global_options: list[Parameter]) -> None:
    """Add the options that stand before the command, and adjust the help, here and in the command's own commands."""
    command.short_help = command.get_short_help_str(limit=1000)  # the first sentence: wrapped, never cut
    own = {name for parameter in command.params for name in parameter.opts}
    for parameter in command.params:
        if isinstance(parameter, typer.core.TyperArgument):
            parameter.__class__ = _Argument
    for option in global_options:
        added = copy.copy(option)
        added.name = f"{_GLOBAL}{option.name}"  # the command may have an argument of this name
        added.opts = [name for name in option.opts if name not in own]
        added.expose_value = False
        if isinstance(added, typer.core.TyperOption):
            added.hidden = True
        if option.callback is None:
            added.callback = _take_global
        if added.opts:
            command.params.append(added)
    if isinstance(command, typer.core.TyperGroup):
        command.__class__ = _Group
        for subcommand in command.commands.values():
            _complete(subcommand, global_options)


def _take_global(context: Context, option: Parameter, value: object) -> None:
    """Run the function for the options before the command again, which puts its result into this context."""
    root = context.find_root()
    if value is not None and option.name is not None and root.command.callback is not None:
        root.params[option.name.removeprefix(_GLOBAL)] = value
        root.command.callback(**root.params)


@contextlib.contextmanager
def _hints_added() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the class of the library's errors has no public name
        message = getattr(error, "message", None)
        if isinstance(message, str) and getattr(error, "option_name", None) == "-h":
            vars(error)["message"] = f"{message} (-h names a host or address: help is --help)"
        raise
