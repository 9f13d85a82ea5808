"""Where the fuzzer's files are."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CORPUS = REPOSITORY / "tests" / "fuzz" / "corpus"
FOUND = REPOSITORY / "build" / "fuzz"

WRITTEN = "failing input: "
"""What stands before the name of the file in the output of a search that has found something."""
