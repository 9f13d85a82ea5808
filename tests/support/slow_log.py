"""Runs nun-db with a slow log: `python -m tests.support.slow_log FILE python -m pynun ARGS...`.

Each sync takes as many seconds as FILE says at that moment, and does nothing else: how quick this machine's disk is,
does not matter.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pynun.cli.main import main
from pynun.storage.wal.disk import Disk

if __name__ == "__main__":
    seconds = Path(sys.argv[1])
    Disk.sync = lambda *_: time.sleep(float(seconds.read_text(encoding="ascii")))  # type: ignore[method-assign]
    sys.argv = ["nun-db", *sys.argv[5:]]
    main()
