"""One life of a server: load from every transport up to its end, and the check of what must be there after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.clients.load import ConflictMaker, Reader, States, check_writer, read_states, start_writers
from tools.clients.rough_clients import Cutter

if TYPE_CHECKING:
    import threading

    from tools.clients.server import Server


class Life:
    """Writers on each transport, readers of what they write, conflicts, and connections cut in the middle of a command.

    All that they do follows from `seed`, and so do the names of their keys. `database` resolves no conflicts,
    `conflicts` has the strategy `arbiter`.
    """

    def __init__(self, server: Server, database: str, conflicts: str, seed: int) -> None:
        """Start the load; returns when something was acknowledged on each transport."""
        self._server = server
        self._database = database
        self.seed = seed
        self.writers = start_writers(server, database, seed)
        self.readers = [Reader(server, database, writer) for writer in self.writers]
        self.conflicts = ConflictMaker(server, conflicts, f"conflicts-{seed}")
        self.cutter = Cutter(server, database, f"cut-{seed}", seed)
        self._threads: list[threading.Thread] = [*self.readers, self.conflicts, self.cutter]
        for thread in self._threads:
            thread.start()

    @property
    def keys(self) -> list[str]:
        """The keys that its writers write."""
        return [key for writer in self.writers for key in writer.keys]

    @property
    def acknowledged(self) -> int:
        """How many changes were acknowledged."""
        return sum(writer.acknowledged for writer in self.writers) + sum(self.conflicts.acknowledged.values())

    def finish(self) -> None:
        """Wait for the end of the load, after the server's; raises what went wrong in it."""
        for told_to_stop in (self.conflicts.is_told_to_stop, self.cutter.is_told_to_stop):
            told_to_stop.set()
        for writer in self.writers:
            writer.finish()
        for thread in self._threads:
            thread.join()

    def check(self) -> States:
        """Check what a server that was started since has of it; return the writers' keys as they are."""
        states = read_states(self._server, self._database, self.keys)
        for writer in self.writers:
            check_writer(writer, states)
        for reader in self.readers:
            reader.check(states)
        self.conflicts.check(self._server)
        self.cutter.check(self._server)
        return states
