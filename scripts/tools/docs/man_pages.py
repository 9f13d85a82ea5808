"""Writes the manual pages of nun-db, and its completions for bash, zsh and fish, from the commands themselves.

pynun's wheel has them in `share/`, where man and the shells look below a prefix (tools.bundle.wheels). Nothing of it is
in the repository, so nothing can grow stale.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer.core
import typer.main
from typer._completion_shared import get_completion_script

from pynun import __version__
from pynun.cli.app import app
from pynun.cli.lazy_commands import COMPLETION_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROGRAM: Final = "nun-db"
MANUALS: Final = "share/man/man1"
COMPLETIONS: Final = {
    "bash": f"share/bash-completion/completions/{PROGRAM}",
    "zsh": f"share/zsh/site-functions/_{PROGRAM}",
    "fish": f"share/fish/vendor_completions.d/{PROGRAM}.fish",
}

_ZSH_FIRST_TIME: Final = f'[ "$funcstack[1]" != _{PROGRAM} ] || _nun_db_completion\n'
"""zsh loads the file when something is first to be completed: by this call, that is done at once."""


def pages() -> dict[str, str]:
    """The pages by the names of their files: one of the program, and one of each command."""
    program = typer.main.get_command(app)
    assert isinstance(program, typer.core.TyperGroup)
    context = typer.Context(program, info_name=PROGRAM)
    found = {f"{PROGRAM}.1": _page(context)}
    for name, command in program.commands.items():
        found[f"{PROGRAM}-{name}.1"] = _page(typer.Context(command, parent=context, info_name=name))
    return found


def write(folder: Path) -> None:
    """Write the pages and the completions below the folder."""
    for name, text in pages().items():
        _write(folder / MANUALS / name, text)
    for shell, path in COMPLETIONS.items():
        script = get_completion_script(prog_name=PROGRAM, complete_var=COMPLETION_VARIABLE, shell=shell)
        _write(folder / path, f"{script}\n{_ZSH_FIRST_TIME if shell == 'zsh' else ''}")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _page(context: Any) -> str:  # noqa: ANN401 - the class of the library's contexts has no public name
    command = context.command
    title = context.command_path.replace(" ", "-")
    is_group = isinstance(command, typer.core.TyperGroup)
    lines = [
        f'.TH {title.upper()} 1 "" "pynun {__version__}" "pynun"',
        ".SH NAME",
        f"{_escaped(title)} \\- {_escaped(_summary(command))}",
        *_usage(context),
        ".SH DESCRIPTION",
        *_paragraphs(command.help),
        *_rows(context, "argument", "ARGUMENTS"),
        *_rows(context, "option", "OPTIONS"),
    ]
    if is_group:
        lines.append(".SH COMMANDS")
        for name, subcommand in command.commands.items():
            if context.parent is None:
                lines += [".TP", f".BR {PROGRAM}\\-{_escaped(name)} (1)", _escaped(_summary(subcommand))]
            else:
                lines += _section(typer.Context(subcommand, parent=context, info_name=name))
    for paragraph in filter(None, (command.epilog or "").split("\n\n")):
        heading, _, text = paragraph.partition(": ")
        lines += [f".SH {_escaped(heading.upper())}", *_paragraphs(text)]
    if context.parent is not None:
        lines += [".SH SEE ALSO", f".BR {PROGRAM} (1)"]
    return "\n".join(lines) + "\n"


def _section(context: Any) -> Iterator[str]:  # noqa: ANN401 - as above
    """A command of a command, on the page of that one."""
    pieces = " ".join(context.command.collect_usage_pieces(context))
    yield from (".SS", f".B {_escaped(context.command_path)}", _escaped(pieces), *_paragraphs(context.command.help))
    for kind in ("argument", "option"):
        yield from _rows(context, kind, "")


def _usage(context: Any) -> list[str]:  # noqa: ANN401 - as above
    pieces = " ".join(context.command.collect_usage_pieces(context))
    return [".SH SYNOPSIS", f".B {_escaped(context.command_path)}", _escaped(pieces)]


def _rows(context: Any, kind: str, heading: str) -> list[str]:  # noqa: ANN401 - as above
    records = [
        record
        for parameter in context.command.get_params(context)
        if parameter.param_type_name == kind and (record := parameter.get_help_record(context))
    ]
    lines = [f".SH {heading}"] if records and heading else []
    for names, text in records:
        lines += [".TP", f".B {_escaped(names)}", _escaped(text)]
    return lines


def _summary(command: Any) -> str:  # noqa: ANN401 - as above
    return str(command.get_short_help_str(limit=1000)).rstrip(".")


def _paragraphs(text: str | None) -> list[str]:
    found = []
    for paragraph in re.split(r"\n\s*\n", (text or "").strip()):
        found += [".PP", _escaped(" ".join(paragraph.split()))]
    return found


def _escaped(text: str) -> str:
    """A text as troff prints it literally (groff_man_style(7))."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("^", "\\(ha").replace("~", "\\(ti")
    return re.sub("^([.'])", r"\\&\1", text)


def main(arguments: Sequence[str]) -> int:
    """Write all below a folder."""
    parser = argparse.ArgumentParser(description="Write the manual pages and completions of nun-db.")
    parser.add_argument("--output", metavar="FOLDER", type=Path, required=True)
    write(parser.parse_args(arguments).output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
