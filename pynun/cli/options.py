"""Arguments and options that several of the administrator's commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from pynun.cli.app import TIMEOUT_SECONDS_MAX

DatabaseName = Annotated[str, typer.Argument(metavar="DATABASE", help="The database's name.")]
UserName = Annotated[str, typer.Argument(metavar="USER", help="The user's name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on one line, for programs.")]
Timeout = Annotated[
    int,
    typer.Option(
        "--timeout", metavar="SECONDS", min=1, max=TIMEOUT_SECONDS_MAX, help="How long to wait for the server."
    ),
]
Token = Annotated[
    str | None,
    typer.Option("-t", "--token", metavar="TOKEN", help="The new token; else --token-file, NUN_TOKEN or a prompt."),
]
TokenFile = Annotated[str | None, typer.Option("--token-file", metavar="FILE", help="A file that holds the token.")]
Generate = Annotated[bool, typer.Option("--generate", help="Make a token, and show it this once.")]
