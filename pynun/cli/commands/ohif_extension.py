"""`nun-db ohif-extension`: writes the extension for the OHIF viewer to a folder, and prints how the viewer loads it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pynun.cli.errors import UsageError
from pynun.errors import StartError
from pynun.ohif.files import load_files, package_json, snippet

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_EXAMPLE = """{
  url: "wss://nun-db.example.org:3012", // the server
  db: "features-of-db",
  user: "client",
  token: "client-pwd",
  key: "client-lesson-1", // the room: all viewers with the same key are in step
}"""


@app.command(name="ohif-extension")
def ohif_extension(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="The folder; it is made, and files of ours replaced.")],
    address: Annotated[
        str, typer.Option("--url", metavar="URL", help="Where browsers will find sync.js of this folder.")
    ] = "/nun-db/sync.js",
) -> None:
    """Write the extension for the OHIF viewer to a folder, for a web server of your own.

    You do not need it if browsers reach the Nun-db server: that serves it as /ohif/sync.js. The folder can also be
    linked into a checkout of the viewer: yarn cli link-extension DIR.
    """
    if folder == "":
        raise UsageError("the folder is empty, perhaps because a shell variable is not set: give the folder")
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, content in {**load_files(), "package.json": package_json()}.items():
            (target / name).write_bytes(content)
    except OSError as error:
        raise StartError(f"can't write to {target}: {error.strerror}") from None
    typer.echo(f"Wrote the extension to {target}. Put these lines at the end of the viewer's app-config.js:\n")
    typer.echo(snippet(address, _EXAMPLE), nl=False)
