"""The folder of packages: wheels for the wanted machines, pip itself, pynun's own wheel, and the list with all hashes.

What is downloaded is pinned in `requirements.lock`, and pip and setuptools in the one beside this file.
`requirements.txt` in the folder is the former and pynun's own wheel, whose hash is known only now: with it,
`pip install --no-index --require-hashes` takes these files and no others.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tools.bundle.source import ARCHITECTURES, PYTHONS, REPOSITORY, BundleError, run, say, source_seconds, version

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")


def make_wheels(output: Path, architectures: Iterable[str], pythons: Iterable[str], packages: Path | None) -> None:
    """Fill a new folder, or one that is there. `packages` names a folder to take downloads from, instead of the index.

    Raises BundleError.
    """
    output.mkdir(parents=True, exist_ok=True)
    for old in [*output.glob("*.whl"), output / "requirements.txt"]:
        old.unlink(missing_ok=True)
    if packages is not None:
        for file in packages.glob("*.whl"):
            if not file.name.startswith("pynun-"):
                shutil.copy2(file, output)
    else:
        for architecture in architectures:
            for python in pythons:
                say(f"downloading packages for {architecture}, Python {python}")
                _download(output, architecture, python)
        run(
            [
                *_pip("download"),
                *("--only-binary", ":all:", "--no-deps", "--require-hashes", "--dest", output),
                *("--requirement", Path(__file__).with_name("requirements.lock")),
            ],
            "downloading pip and setuptools",
        )
    say("building pynun's own wheel")
    own = _build_own(output)
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    pinned = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    (output / "requirements.txt").write_text(
        f"{_without_comments(pinned)}pynun=={version()} \\\n    --hash=sha256:{digest}\n", encoding="utf-8"
    )


def _without_comments(text: str) -> str:
    return "".join(f"{line}\n" for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))


def _pip(command: str) -> list[str]:
    return [sys.executable, "-m", "pip", command, "--disable-pip-version-check", "--no-input", "--quiet"]


def _download(output: Path, architecture: str, python: str) -> None:
    run(
        [
            *_pip("download"),
            *("--only-binary", ":all:", "--no-deps", "--require-hashes", "--dest", output),
            *(part for name in _PLATFORMS for part in ("--platform", f"{name}_{architecture}")),
            *("--implementation", "cp", "--python-version", python),
            *(part for abi in (f"cp{python.replace('.', '')}", "abi3", "none") for part in ("--abi", abi)),
            *("--requirement", REPOSITORY / "requirements.lock"),
        ],
        f"downloading the packages for {architecture}, Python {python},",
    )


def _build_own(output: Path) -> Path:
    """Build pynun's wheel into the folder, with the setuptools that is there; returns its path. Raises BundleError."""
    try:
        (setuptools,) = output.glob("setuptools-*.whl")
    except ValueError:
        raise BundleError(
            "one setuptools-*.whl is needed among the packages: scripts/wheels downloads all into a folder, which"
            " --packages can name"
        ) from None
    with tempfile.TemporaryDirectory(prefix="pynun-wheel-") as temporary:
        tools, source = Path(temporary) / "tools", Path(temporary) / "source"
        run(
            [*_pip("install"), "--no-index", "--no-deps", "--no-compile", "--target", tools, setuptools],
            "unpacking setuptools",
        )
        # A copy, for building leaves files behind.
        source.mkdir()
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy2(REPOSITORY / name, source)
        shutil.copytree(
            REPOSITORY / "pynun", source / "pynun", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
        run(
            [sys.executable, "-P", "-m", "tools.docs.man_pages", "--output", source],
            "making the manual pages and completions",
            environment={"PYTHONPATH": f"{REPOSITORY / 'scripts'}:{REPOSITORY}"},
        )
        built = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys, setuptools.build_meta as b; print(b.build_wheel(sys.argv[1]))",
                temporary,
            ],
            cwd=source,
            env={**os.environ, "PYTHONPATH": str(tools), "SOURCE_DATE_EPOCH": str(source_seconds())},
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode != 0:
            raise BundleError("building pynun's wheel failed:\n" + "\n".join(built.stderr.splitlines()[-15:]))
        name = re.sub(r".*\n", "", built.stdout.strip())
        return Path(shutil.copy2(Path(temporary) / name, output))


def main(arguments: Sequence[str]) -> int:
    """The command scripts/wheels."""
    parser = argparse.ArgumentParser(
        prog="scripts/wheels", description="Fill a folder with the packages that the image is built from."
    )
    parser.add_argument("--output", metavar="FOLDER", type=Path, default=REPOSITORY / "wheels", help="default: wheels")
    parser.add_argument(
        "--architecture", choices=ARCHITECTURES, default=platform.machine(), help="default: this machine's"
    )
    parser.add_argument(
        "--python",
        choices=PYTHONS,
        action="append",
        help="of the image's base, more than once if need be; default: 3.13",
    )
    parser.add_argument("--packages", metavar="FOLDER", type=Path, help="take the packages from here; no network")
    given = parser.parse_args(arguments)
    try:
        make_wheels(given.output, [given.architecture], given.python or ["3.13"], given.packages)
    except BundleError as error:
        say(f"scripts/wheels: {error}")
        return 1
    say(f"made {given.output}: {len(list(given.output.glob('*.whl')))} wheels")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
