"""`nun-db stop` stops nothing: it says how to stop a server."""

from __future__ import annotations

import typer

from pynun.cli.errors import UsageError

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def stop() -> None:
    """Say how to stop a server."""
    raise UsageError(
        "nothing was stopped, because a server is stopped where it was started: systemctl stop pynun for the "
        "service of the installer; docker stop NAME for a container; Ctrl-C in its terminal; else kill PID, where "
        "PID is the number in the file server.lock of the data folder"
    )
