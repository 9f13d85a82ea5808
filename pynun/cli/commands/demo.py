"""`nun-db demo`: starts the demonstration and tells the person at the terminal where to open it and how to end it."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pynun.cli.errors import UsageError

if TYPE_CHECKING:
    from pynun.demo.demo import Running

HERE = "127.0.0.1"
EVERYWHERE = "0.0.0.0"

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def demo(
    lan: Annotated[
        bool, typer.Option("--lan", help="Let other devices on the network take part, such as a phone: --host 0.0.0.0.")
    ] = False,
    host: Annotated[
        str | None, typer.Option("--host", metavar="IP", help="The address to listen on; else 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="PORT", min=0, max=65535, help="The page's port; else 3015 or a free one."),
    ] = None,
    websocket_port: Annotated[
        int | None,
        typer.Option("--ws-port", metavar="PORT", min=0, max=65535, help="The server's port; else 3016 or a free one."),
    ] = None,
    data_dir: Annotated[
        str | None,
        typer.Option(
            "--data-dir", metavar="FOLDER", help="Keep the data in this folder; else it is removed at the end."
        ),
    ] = None,
    viewer: Annotated[
        str | None,
        typer.Option(
            "--ohif",
            metavar="FOLDER",
            help="Serve the OHIF viewer in this folder (dist of @ohif/app), with made-up studies.",
        ),
    ] = None,
) -> None:
    """Run the demo: a picture that everyone who opens the page moves together.

    It starts its own server and serves the page until Ctrl-C. It needs no internet.
    """
    from pynun.demo.demo import DemoOptions, run_demo  # with the server

    if lan and host is not None:
        raise UsageError("--lan and --host can't be combined: --lan is --host 0.0.0.0")
    host = _checked_address(host) if host is not None else (EVERYWHERE if lan else HERE)
    if data_dir == "":
        raise UsageError("--data-dir is empty, perhaps because a shell variable is not set: give the folder")
    folder = Path(data_dir) if data_dir else None
    output = sys.stdout  # while the server runs, sys.stdout takes its lines

    def tell(running: Running) -> None:
        print(_text(running, folder), file=output, flush=True)

    run_demo(DemoOptions(host, port, websocket_port, folder, None if viewer is None else Path(viewer)), tell)
    typer.echo("Stopped." if folder else "Stopped; its data is removed.")


def _checked_address(host: str) -> str:
    if host == "localhost":
        return HERE
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise UsageError(
            f"--host: {host!r} is not an IP address; give one of this machine, or 0.0.0.0 for all"
        ) from None


def _text(running: Running, data_dir: Path | None) -> str:
    """What the person has to know."""
    lines = [
        "The demo is running. Open it in two windows side by side:",
        "",
        *(f"    {running.page}{path}" for path in running.paths or ("",)),
        "",
    ]
    if running.others:
        width = max(len(url) for url, _ in running.others)
        lines += [
            "On a phone, or another computer of the same network:",
            "",
            *(
                f"    {url:{width}}  {f'({interface})' if interface else ''}".rstrip()
                for url, interface in running.others
            ),
            "",
            "Anyone on that network can take part: there is no password, and nothing is encrypted.",
        ]
    else:
        lines.append("Only this machine can reach it. For a phone on the same network: nun-db demo --lan")
    where = f"It keeps its data in {data_dir.resolve()}." if data_dir else "Its data is removed at the end."
    lines += [f"The server of this demo: {running.websocket} (WebSocket). {where}", "Stop it with Ctrl-C."]
    return "\n".join(lines)
