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

if TYPE_CHECKING:
    from collections.abc import Sequence

REPOSITORY = Path(__file__).resolve().parents[3]
REFERENCE = REPOSITORY / "docs" / "cli.md"
COMMANDS = (
    "", "start", "create-db", "exec", "shell", "watch", "status", "top", "backup", "verify", "restore",
    "export", "import", "import-nundb", "demo",
    "databases", "databases list", "databases size", "databases create", "databases drop",
    "users", "users list", "users create", "users remove", "users token",
    "permissions", "permissions show", "permissions grant", "permissions revoke", "permissions can",
    "sessions", "sessions list", "sessions disconnect", "password",
    "version",
)  # fmt: skip
COLUMNS = 100

INTRODUCTION = """\
# The nun-db command

<!-- Written by scripts/tools/docs/cli_reference.py from the real --help: change it there or in pynun/cli, not here. -->

`nun-db` starts the server and administers a running one. Options before the command say who you are and where the
server is; note that `-h` names a host or an address, as in the original, and that help is `--help`.

## Passwords and tokens

What stands on a command line can be read by every user of the machine. So the administrator's password also comes
from `NUN_PWD`, from the file that `--pwd-file` or `NUN_PWD_FILE` names, or from a prompt; a database's token from
`NUN_TOKEN`, `--token-file` or a prompt; and `nun-db exec -` reads its commands from standard input:

```sh
nun-db -u admin exec - <<< 'use-db mydb token; create-user ana her-token'
```

The prompt appears on the terminal, also when standard input is a file or a pipe. Mind the quotes: in double quotes the shell
replaces `$$`, as in `$$token`, by its process id; in single quotes it replaces nothing.

The command line wins over the environment, and the environment over the defaults; an empty variable counts as not set.

## What create-db and exec print

On standard output the two lines of the original, its log line and the server's reply as one string, one result a
command: a message, `empty` where there is nothing to say, or an error's text. All commands run, also those behind one that
fails; the line on standard error names the first that failed.

```
[2023-09-24T21:32:22.005972013Z nun_db] nundb starting!
Response "valid auth\\n;create-db success\\n"
```

## Exit codes

When something fails, one line on standard error (it begins with `nun-db:`) says what and what to do; the exit code
tells the kind. Only a command line that can't be read is told in several lines: `Usage: …`, and `Error: …` with the reason.

| code | meaning |
|---|---|
| 0 | everything succeeded |
| 1 | the server refused a command, or (`start`) could not start; a backup could not be made or restored, or is damaged |
| 2 | the command line makes no sense; nothing was sent |
| 3 | user or password is wrong |
| 4 | nothing listens there, no answer in time, or not a Nun-db server |
| 5 | standard output can't be written (a full disk, or it was closed); the server was asked all the same |
| 6 | `import-nundb --accept-damage`: imported, but not everything could be read; what is missing was listed |
| 130 | interrupted with Ctrl-C |

A wrong token is 1 from `exec`, where it is one command of several that fails, and 3 from `shell` and `watch`, which log in
with it.

A reader that stops reading (`nun-db exec … | head -1`) is no failure: the exit code is what it would have been, and a
script of `nun-db shell` runs to its end.
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
