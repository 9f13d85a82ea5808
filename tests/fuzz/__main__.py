"""The command line of the fuzzer: see scripts/fuzz --help."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fuzz.minimise import renew
from tests.fuzz.places import CORPUS, FOUND, REPOSITORY, WRITTEN
from tests.fuzz.targets import CANARY, TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence

INPUT_BYTES_MAX = 2048
CORPUS_FILES_MAX = 48
INPUT_SECONDS_MAX = 10
MEMORY_MIB_MAX = 2048
SECONDS_DEFAULT = 60

_LAST_STATE = re.compile(r"^#(\d+)\s+\w+\s+cov: (\d+).*?corp: (\d+)", re.MULTILINE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/fuzz",
        description="Looks for bytes that break an invariant of what reads them (tests/fuzz), guided by what they make"
        " the code do. What is new to the code is kept in build/fuzz; a failing input too. Exit code 1: one was found.",
        epilog="targets: " + ", ".join(TARGETS),
    )
    parser.add_argument("target", nargs="*", metavar="TARGET", help="only this; default: all, one after another")
    parser.add_argument(
        "--seconds", type=int, default=SECONDS_DEFAULT, help=f"for each target; default: {SECONDS_DEFAULT}"
    )
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input, with its error if it fails")
    parser.add_argument(
        "--minimise", action="store_true", help="renew tests/fuzz/corpus from what was found, instead of looking"
    )
    parser.add_argument(
        "--ports", action="store_true",
        help="instead: garbage on each port of a real server for so many seconds, beside an honest client",
    )  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    names = asked.target or list(TARGETS)
    for name in names:
        if name not in TARGETS and name != "canary":
            parser.error(f"no target {name!r}; there are: {', '.join(TARGETS)}")
    if asked.seconds < 1:
        parser.error("--seconds must be at least 1")
    if asked.ports:
        from tests.fuzz.ports import run_ports

        return run_ports(asked.seconds)
    if asked.replay is not None:
        if len(names) != 1:
            parser.error("--replay needs the TARGET of the input")
        (CANARY if names[0] == "canary" else TARGETS[names[0]]).one(asked.replay.read_bytes())
        print("the input keeps the invariant")
        return 0
    if asked.minimise:
        for name in names:
            count = renew(
                TARGETS[name].one, CORPUS / name, FOUND / name, CORPUS_FILES_MAX, file_bytes_max=INPUT_BYTES_MAX
            )
            print(f"{name}: {count} inputs")
        return 0
    return max(look(name, asked.seconds) for name in names)


def look(name: str, seconds: int) -> int:
    """Fuzz one target; print what came of it; return 1 if an input was found that breaks the invariant."""
    target = CANARY if name == "canary" else TARGETS[name]
    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    folders = [found, *([CORPUS / name] if (CORPUS / name).is_dir() else [])]
    with tempfile.NamedTemporaryFile("w", suffix=".dict") as words:
        words.writelines(f"{_quoted(word)}\n" for word in target.words)
        words.flush()
        done = subprocess.run(
            [
                sys.executable,
                "-P",
                "-m",
                "tests.fuzz.search",
                name,
                *map(str, folders),
                f"-max_total_time={seconds}",
                f"-max_len={INPUT_BYTES_MAX}",
                f"-timeout={INPUT_SECONDS_MAX}",
                f"-rss_limit_mb={MEMORY_MIB_MAX}",
                *([f"-dict={words.name}"] if target.words else []),
                f"-artifact_prefix={FOUND / name}-",
            ],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    states = _LAST_STATE.findall(done.stdout)
    if states:
        runs, coverage, inputs = states[-1]
        print(f"{name}: {runs} inputs run in {seconds} s, coverage {coverage}, {inputs} of them new to the code")
    if done.returncode == 0 and states:
        return 0
    print("\n".join(done.stdout.splitlines()[-60:]))
    if written := re.search(rf"{WRITTEN}(\S+)", done.stdout):
        print(f"{name}: an input breaks the invariant: scripts/fuzz {name} --replay {written[1]}")
    else:
        print(f"{name}: the fuzzer ended with exit code {done.returncode}")
    return 1


def _quoted(word: bytes) -> str:
    """A word as libFuzzer's dictionaries write it."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"'


if __name__ == "__main__":
    sys.exit(main())
