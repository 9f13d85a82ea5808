"""Writes docs/cli.md, the reference of the nun-db command, from the real output of its --help.

Run it after a change of an option: `.venv/bin/python scripts/tools/docs/cli_reference.py`. A test compares the file
with what this would write, so it can't grow stale.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer.core
import typer.main

from pynun.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def all_commands() -> Iterator[str]:
    """The names of all commands, and of the commands in them."""
    program = typer.main.get_command(app)
    assert isinstance(program, typer.core.TyperGroup)
    for name, command in program.commands.items():
        yield name
        yield from (f"{name} {part}" for part in getattr(command, "commands", ()))


REPOSITORY = Path(__file__).resolve().parents[3]
REFERENCE = REPOSITORY / "docs" / "cli.md"
COMMANDS = ("", *all_commands())
"""All of them, in the order of the help."""
COLUMNS = 100

INTRODUCTION = """\
# The nun-db command

<!-- Written by scripts/tools/docs/cli_reference.py from the real --help: change it there or in pynun/cli, not here. -->

`nun-db` starts the server and manages a running one. Options before the command give the login and the server's
address. They also work after it, unless the command has one of that name: `start -h` is the HTTP address. As in the
original, `-h` is a host or address; use `--help` or `nun-db help COMMAND` for help.

Options take precedence over the environment, the environment over defaults. An empty variable counts as unset.

## Passwords and tokens

Every user of the machine can read a command line. To hide secrets, give the administrator's password in `NUN_PWD`, in a
file (`--pwd-file`, `NUN_PWD_FILE`) or at the prompt, and a database's token in `NUN_TOKEN`, with `--token-file` or at the
prompt. `nun-db exec -` reads commands from standard input:

```sh
nun-db -u admin exec - <<< 'use-db mydb token; create-user ana her-token'
```

The prompt uses the terminal, even if standard input is a file or a pipe. In double quotes the shell replaces `$$`, as in
`$$token`, with its process id: use single quotes.

## What create-db and exec print

The two lines of the original on standard output: its log line, and the server's reply as one string with a result for each
command (a message, `empty`, or an error's text). All commands run, also after one that fails; standard error names the first
that failed.

```
[2023-09-24T21:32:22.005972013Z nun_db] nundb starting!
Response "valid auth\\n;create-db success\\n"
```

## Exit codes

A failure prints one line that begins with `nun-db:` on standard error, with the reason and what to do
([Troubleshooting](troubleshooting.md)). An invalid command line prints `Usage: …` and `Error: …`.

| code | meaning |
|---|---|
| 0 | everything succeeded |
| 1 | the server refused a command, or (`start`) could not start; a backup could not be made or restored, or is damaged |
| 2 | the command line is invalid; nothing was sent |
| 3 | user or password is wrong |
| 4 | nothing listens there, no answer in time, or not a Nun-db server |
| 5 | standard output can't be written (a full disk, or closed); the commands ran anyway |
| 6 | `import-nundb --accept-damage`: imported, except what could not be read, which was listed |
| 7 | `get`: a key does not exist; the others were printed |
| 130 | interrupted with Ctrl-C |

A wrong token is 1 from `exec` (a failed command) and 3 from the commands that log in with it, such as `get` and `watch`. A reader that stops
early (`nun-db exec … | head -1`) does not change the exit code, and a script of `nun-db shell` runs to its end.
"""


def render() -> str:
    """The whole text of the reference."""
    helps = zip(COMMANDS, _helps(COMMANDS), strict=True)
    sections = (f"## {f'nun-db {command}'.strip()}\n\n```\n{text}```\n" for command, text in helps)
    return "\n".join((INTRODUCTION, *sections))


_PRINT_HELPS = """\
import contextlib, sys
from pynun.cli.app import app
for command in sys.argv[1:]:
    with contextlib.suppress(SystemExit):
        app([*command.split(), "--help"], prog_name="nun-db")
    print("\\0", end="")
"""


def _helps(commands: Sequence[str]) -> list[str]:
    """What --help prints for each; one process for all, for each costs as long as a command."""
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, "-c", _PRINT_HELPS, *commands],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout.split("\0")[:-1]


if __name__ == "__main__":
    REFERENCE.parent.mkdir(exist_ok=True)
    REFERENCE.write_text(render(), encoding="utf-8")
