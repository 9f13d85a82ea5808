"""The shell's line editor: prompt_toolkit with history and completion. Imported for a person at a terminal only.

Invariant: no line that may hold a secret is ever written to the history file, which only its owner can read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from pynun.cli.commands.shell_lines import completions, is_secret
from pynun.cli.output.escape import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prompt_toolkit.document import Document

    from pynun.cli.commands.shell_lines import CommandRow


def history_path(environment: Mapping[str, str]) -> Path:
    """The history file in the state folder of the XDG Base Directory Specification."""
    state = environment.get("XDG_STATE_HOME", "")
    folder = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return folder / "nun-db" / "history"


class SafeHistory(FileHistory):
    """A history file without secrets; what may be one can be recalled until the shell ends."""

    def __init__(self, path: Path, rows: Sequence[CommandRow]) -> None:
        super().__init__(str(path))
        self._rows = rows

    def store_string(self, string: str) -> None:
        """Write a line, unless it may be secret."""
        if not is_secret(string, self._rows):
            super().store_string(string)


def open_history(rows: Sequence[CommandRow]) -> History:
    """The history in its file (mode 0600), or in memory alone where that can't be written."""
    path = history_path(os.environ)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.fchmod(descriptor, 0o600)  # also a file that was made with another mode
        finally:
            os.close(descriptor)
    except OSError as error:
        say(f"no history is kept: {path}: {error.strerror}")
        return InMemoryHistory()
    return SafeHistory(path, rows)


class CommandCompleter(Completer):
    """Completes the names of commands."""

    def __init__(self, rows: Sequence[CommandRow]) -> None:
        self._rows = rows

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """What prompt_toolkit asks for as a person types."""
        for typed, word, purpose in completions(document.text_before_cursor, self._rows):
            yield Completion(word, start_position=-len(typed), display_meta=purpose)


def open_prompt(rows: Sequence[CommandRow]) -> PromptSession[str]:
    """The line editor."""
    return PromptSession(
        history=open_history(rows), completer=CommandCompleter(rows), auto_suggest=AutoSuggestFromHistory()
    )
