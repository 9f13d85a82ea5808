"""One process that looks for an input of one target: atheris, guided by what the code in pynun/ does.

    python -m tests.fuzz.search TARGET [libFuzzer's arguments]

It ends itself when it has found one, as libFuzzer does; so it is started by `tests.fuzz`, which tells.
"""

from __future__ import annotations

import hashlib
import sys

import atheris

from tests.fuzz.places import FOUND, WRITTEN


def main() -> None:
    """Look until an input is found or the time is up; does not return."""
    name, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=["pynun", "tests.fuzz"]):
        from tests.fuzz.targets import CANARY, TARGETS
    target = CANARY if name == "canary" else TARGETS[name]

    def one(data: bytes) -> None:
        try:
            target.one(data)
        except BaseException:
            # libFuzzer writes it too, unless its time is up just then.
            failing = FOUND / f"{name}-failing-{hashlib.sha256(data).hexdigest()[:12]}"
            failing.write_bytes(data)
            print(f"{WRITTEN}{failing}", flush=True)
            raise

    atheris.Setup([name, *arguments], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
