"""Writes the blocks of docs/*.md that follow from the code, each between two comments:

    <!-- generated: NAME ARGUMENTS -->  …  <!-- end -->

NAME is a key of BLOCKS. All other text of these pages is written by hand. A test says which pages are stale.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pynun import limits
from pynun.engine.commands.own_commands import NOT_IN_THE_ORIGINAL
from pynun.engine.commands.table import COMMANDS
from pynun.protocol.messages import Refusal
from pynun.setting_values import format_size
from pynun.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pynun.engine.commands.command import Command
    from pynun.setting import Setting

REPOSITORY: Final = Path(__file__).resolve().parents[3]

# --- commands

_PERMISSION_WORDS = {"r": "read", "w": "write", "i": "increment", "x": "remove"}

_NEEDS_OF_ITS_OWN = {"resolve": "admin, or database and write"}
"""Commands whose handlers decide, because it depends on the session."""

_TRIED_WORDS: Final[tuple[list[str], ...]] = (
    [],
    ["A"],
    ["A", "B"],
    ["A", "B C"],
    ["A", "B C D"],
    ["", "B C"],
)
"""Arguments that are tried to learn how a command refuses incomplete ones: first argument, rest."""


def commands() -> str:
    """An overview, then a section for each command."""
    overview = _table(
        ("command", "needs", "what it does"),
        ((_link(command), _needs(command) or "nothing", _first_sentence(_cell(command.help))) for command in COMMANDS),
    )
    return overview + "\n" + "\n".join(map(_command_section, COMMANDS))


def _command_section(command: Command) -> str:
    lines = [f"## {command.name}\n", f"```text\n{command.usage}\n```\n", f"{command.help}\n"]
    facts = [f"- Needs: {_needs(command) or 'nothing'}."]
    if command.aliases:
        facts.append("- Also called " + ", ".join(f"`{alias}`" for alias in command.aliases) + ".")
    refusals = refusals_of_arguments(command)
    if refusals:
        facts.append("- When arguments are missing: " + ", ".join(f"`{text}`" for text in refusals) + ".")
    if command.differs:
        facts.append(f"- Unlike the original: {command.differs}")
    return "\n".join([*lines, *facts]) + "\n"


def refusals_of_arguments(command: Command) -> list[str]:
    """How a command refuses too few arguments, found out by trying."""
    found: dict[str, None] = {}
    for words in _TRIED_WORDS:
        try:
            command.parse([command.name, *words])
        except Refusal as refusal:
            found[refusal.error] = None
    return list(found)


def _needs(command: Command) -> str:
    if command.name in _NEEDS_OF_ITS_OWN:
        return _NEEDS_OF_ITS_OWN[command.name]
    needs = ["admin"] if command.needs_admin else []
    if command.permission is not None:
        needs.append(_PERMISSION_WORDS[command.permission.value])
    elif command.needs_database:
        needs.append("database")
    return " and ".join(needs)


def _link(command: Command) -> str:
    return f"[`{command.name}`](#{command.name})"


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".:") + "."


# --- configuration


def _option(setting: Setting) -> str:
    return f"`{setting.option}`".replace("/", "`, `") if setting.option else ""


def unused_settings() -> str:
    """The settings without effect."""
    return _table(
        ("variable", "option of `start`", "the original's default", "in the original"),
        (
            (
                f"`{setting.name}`",
                _option(setting),
                f"`{setting.default}` {setting.unit}".rstrip() if setting.default else "none",
                _cell(setting.help),
            )
            for setting in SETTINGS
            if not setting.effect
        ),
    )


def settings(*names: str) -> str:
    """The settings with these names."""
    by_name = {setting.name: setting for setting in SETTINGS}
    return _table(
        ("variable", "option of `start`", "default", "accepted", "meaning"),
        (
            (
                f"`{setting.name}`",
                _option(setting),
                f"`{setting.default}`" if setting.default else "none",
                accepted(setting),
                _cell(setting.help),
            )
            for setting in map(by_name.__getitem__, names)
        ),
    )


_COMMON_REFUSALS: Final = (
    (r"a number of bytes, or one with the unit KiB, MiB or GiB, from (\S+) to (\S+)", r"a size, \1 to \2"),
    (r"a number of seconds, or one with the unit .*, from (\S+) to (\S+)", r"a duration, \1 to \2"),
    (r"a whole number from (\d+) to (\d+)", r"\1 to \2"),
    (r"(.*)HOST:PORT, \[IPv6\]:PORT or :PORT, with a port from 0 to 65535", r"\1an address"),
)
"""Refusals whose rules the top of docs/configuration.md explains once, and what its tables say instead."""


def accepted(setting: Setting) -> str:
    """What a setting accepts, by its own refusal; `any text` if nothing is refused."""
    for wrong in ("\0", "\n", "!"):
        try:
            setting.parse(wrong)
        except ValueError as error:
            text = _cell(str(error))
            for long, short in _COMMON_REFUSALS:
                text = re.sub(long, short, text)
            unit = f" {setting.unit}" if setting.unit and text[0].isdigit() else ""
            return text + unit
    return "any text"


def fixed_limits() -> str:
    """The constants of pynun/limits.py."""
    return _table(("name", "value", "reason"), ((f"`{name}`", value, text) for name, value, text in _limits()))


def _limits() -> Iterator[tuple[str, str, str]]:
    """Name, value and reason of each constant of pynun/limits.py: the reason is the string that stands below it."""
    body = ast.parse(inspect.getsource(limits)).body
    for statement, following in itertools.pairwise(body):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(reason))):
                value = getattr(limits, name)
                if "BYTES" in name:
                    shown = format_size(value)
                elif name.endswith("_SECONDS"):
                    shown = f"{value:g} s"
                else:
                    shown = f"{value:,}"
                yield name, shown, _cell(reason)
            case _:
                pass


# --- differences


def command_differences() -> str:
    """How commands differ from the original's."""
    rows = [(f"[`{command.name}`](commands.md#{command.name})", command.differs) for command in COMMANDS]
    new = ", ".join(link for link, differs in rows if differs == NOT_IN_THE_ORIGINAL)
    changed = [(link, _cell(differs)) for link, differs in rows if differs and differs != NOT_IN_THE_ORIGINAL]
    return _table(("command", "difference"), [*changed, (new, NOT_IN_THE_ORIGINAL)])


# --- all of them


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n".replace("|  |", "| |") for line in lines)


def _cell(text: str) -> str:
    """A text for a cell of a table: on one line, its bars escaped."""
    return " ".join(text.split()).replace("|", "\\|")


BLOCKS: Final[dict[str, Callable[..., str]]] = {
    "commands": commands,
    "settings": settings,
    "unused-settings": unused_settings,
    "fixed-limits": fixed_limits,
    "command-differences": command_differences,
}

PAGES: Final = ("commands.md", "configuration.md", "differences.md")

_BLOCK: Final = re.compile(r"(<!-- generated: ([a-z-]+)(.*?)\s-->\n).*?(\n<!-- end -->\n)", re.DOTALL)


def render(page: str) -> str:
    """A page with its blocks as the code says now."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]](*found[3].split())}{found[4]}", page)


def stale_pages(folder: Path) -> list[str]:
    """The names of the pages that are not what they would be written as."""
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in PAGES}
    return [name for name, text in texts.items() if text != render(text)]


def main() -> None:
    """Write the pages that are stale."""
    folder = REPOSITORY / "docs"
    for name in stale_pages(folder):
        (folder / name).write_text(render((folder / name).read_text(encoding="utf-8")), encoding="utf-8")
        print(f"docs/{name} written")


if __name__ == "__main__":
    main()
