"""Control groups of tests: removed with all below them, once the kernel has ended what was in them."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS_MAX: Final = 30.0


def remove_group(folder: Path) -> None:
    """Remove a control group and those below it, as far as that can be done within some seconds."""
    deadline = time.monotonic() + _SECONDS_MAX
    for inner in [*sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True), folder]:
        while inner.exists():
            with contextlib.suppress(OSError):
                inner.rmdir()
            if time.monotonic() > deadline:
                return
            time.sleep(0.01)
