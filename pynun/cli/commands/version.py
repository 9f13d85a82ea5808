"""`nun-db version`."""

from __future__ import annotations

import typer

from pynun import __version__

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def version() -> None:
    """Show the version."""
    typer.echo(f"nun-db {__version__}")
