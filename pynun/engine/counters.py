"""The engine's counters, for monitoring: plain numbers that only grow."""

from __future__ import annotations


class Counters:
    """The counters of one engine. Commands are counted at the place of their row in the command table."""

    __slots__ = ("done", "failed_logins", "refused", "unknown")

    def __init__(self, commands: int) -> None:
        """`commands` is how many rows the table has."""
        self.done = [0] * commands
        """Commands that were answered, by their row."""
        self.refused = [0] * commands
        """Commands that were answered with an error, by their row."""
        self.unknown = 0
        """Texts that are no command."""
        self.failed_logins = {"admin": 0, "database": 0}
        """Wrong passwords and tokens: of `auth`, and of `use-db`."""
