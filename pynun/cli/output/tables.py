"""Output as a table, or as one line of JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.cli.output.escape import escaped, json_line, prepare_output, say, shown_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NOTHING = "-"
"""The text of an empty cell."""


def show_json(value: object) -> None:
    """Print a value as JSON on one line."""
    prepare_output()
    print(json_line(value))


def show_rows(rows: Sequence[Mapping[str, object]], columns: Sequence[str], as_json: bool) -> None:
    """Print rows: these columns of them as a table, or all as JSON."""
    if as_json:
        show_json(rows)
    else:
        show_table(columns, ([row[column] for column in columns] for row in rows))


def show_done(done: object, as_json: bool, *lines: str) -> None:
    """Print what was done: in words, or as JSON."""
    if as_json:
        show_json(done)
    else:
        for line in lines:
            show(line)


def show_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns under their names; numbers are right-aligned."""
    prepare_output()
    lines = [list(head), *([_cell(value) for value in row] for row in rows)]
    is_right = [_is_numbers([line[column] for line in lines[1:]]) for column in range(len(head))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, is_right, strict=True)
        )
        print("  ".join(cells).rstrip())


def show(text: str) -> None:
    """Print a line, with unsafe characters escaped."""
    prepare_output()
    print(escaped(text))


def note(text: str) -> None:
    """Print a note on standard error, beside the output."""
    say(text)


def _is_numbers(cells: Sequence[str]) -> bool:
    """Whether all non-empty cells of a column are numbers."""
    found = [cell.replace(",", "").isdigit() for cell in cells if cell != NOTHING]
    return all(found) and (bool(found) or not cells)


def _cell(value: object) -> str:
    match value:
        case None | "":
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case _:
            return shown_name(str(value))
