"""Runs nun-db with a wrong clock: `python -m tests.support.set_clock FILE python -m pynun ARGS...`.

It is as many seconds ahead as FILE says at that moment.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

ahead = Path(sys.argv[1])
right = time.time_ns


def _time_ns() -> int:
    return right() + int(ahead.read_text(encoding="ascii")) * 10**9


if __name__ == "__main__":
    time.time_ns = _time_ns
    time.time = lambda: _time_ns() / 10**9
    from pynun.cli.main import main

    sys.argv = ["nun-db", *sys.argv[5:]]
    main()
