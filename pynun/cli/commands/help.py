"""`nun-db help`: the same as --help, as a command."""

from __future__ import annotations

from typing import Annotated

import typer
import typer.core

from pynun.cli.errors import UsageError

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("help")
def show_help(
    context: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND...", help="A command, such as databases list.")
    ] = None,
) -> None:
    """Show the help of nun-db or of one of its commands."""
    shown = context.find_root()
    for place, word in enumerate(words or ()):
        group = shown.command
        command = group.get_command(shown, word) if isinstance(group, typer.core.TyperGroup) else None
        if command is None:
            raise UsageError(f"there is no command {' '.join((words or [])[: place + 1])!r}: nun-db help lists them")
        shown = typer.Context(command, parent=shown, info_name=word)
    typer.echo(shown.get_help())
