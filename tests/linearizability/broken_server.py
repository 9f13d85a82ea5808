"""The server with one protection taken out, to show that the histories tell: run as the wrapper of a server's command.

`python -m tests.linearizability.broken_server BREAKAGE PYTHON -m pynun ARGUMENTS…`. The breakages:

- `blind-to-changes`: a command reads what is on disk, not what was changed and not yet written. A change is then
  acknowledged before those who come after it see it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pynun.cli.main import main
from pynun.engine.overlay import View

if TYPE_CHECKING:
    from pynun.engine.overlay import Entry


def _read_from_disk(self: View, key: bytes) -> Entry | None:
    if key in self.volatile:
        return self.volatile[key]
    return self.store.get(key)


def _run() -> None:
    breakage, _python, _m, _pynun, *arguments = sys.argv[1:]
    assert breakage == "blind-to-changes", breakage
    View.read = _read_from_disk  # type: ignore[method-assign]
    sys.argv = ["nun-db", *arguments]
    main()


if __name__ == "__main__":
    _run()
