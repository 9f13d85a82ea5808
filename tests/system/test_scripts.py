"""scripts/run: the environment is made once, is never half made, and what is missing is told in one line.

Each test works in a small checkout of its own, with the real scripts and no packages to install, so that making the
environment takes seconds and needs no network.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from tools.clients.server import REPOSITORY, new_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TIMEOUT_SECONDS = 200

# Making an environment takes 3 s on an idle machine, and some tests make two.
pytestmark = pytest.mark.timeout(600)

# What stands in for the command: it shows where it runs, from which environment, and its arguments.
_MAIN = "import os, sys; print(os.getcwd(), sys.prefix, *sys.argv[1:], sep='|')\n"

# An interpreter that is too old or lacks a module, as the checks see it.
_WITHOUT_VENV = '#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac\nexec {python} "$@"\n'
_TOO_OLD = "#!/bin/sh\nexit 1\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the real scripts, a command that shows how it was called, and a lock without packages."""
    root = tmp_path / "the checkout"
    copy_scripts(root)
    return root


def copy_scripts(root: Path) -> None:
    """Make a checkout as `checkout` says."""
    (root / "pynun").mkdir(parents=True)
    (root / "pynun" / "__main__.py").write_text(_MAIN)
    (root / "scripts").mkdir()
    for name in ("run", "environment.sh"):
        shutil.copy(REPOSITORY / "scripts" / name, root / "scripts" / name)
    (root / "requirements.lock").write_text("# no packages\n")


def environment(**additions: str) -> dict[str, str]:
    """Return an environment in which scripts/run uses the interpreter of these tests."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHON", "VIRTUAL_ENV")}
    return {**kept, "PYTHON": sys.executable, **additions}


def start(checkout: Path, *arguments: str, cwd: Path, variables: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start scripts/run in a process group of its own."""
    return subprocess.Popen(
        [checkout / "scripts" / "run", *arguments],
        cwd=cwd,
        env=dict(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(checkout: Path, *arguments: str, cwd: Path | None = None, **variables: str) -> tuple[int, str, str]:
    """Run scripts/run to its end: exit code, output, errors."""
    process = start(checkout, *arguments, cwd=cwd or checkout, variables=environment(**variables))
    try:
        output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    finally:
        process.kill()
    return process.returncode, output, errors


def test_it_makes_the_environment_once_and_keeps_directory_and_arguments(checkout: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "pynun").mkdir()  # must not be taken for the real one
    (elsewhere / "pynun" / "__main__.py").write_text("print('the wrong one')\n")
    expected = f"{elsewhere}|{checkout}/.venv|exec|a b; c|*|\n"
    code, output, errors = run(checkout, "exec", "a b; c", "*", "", cwd=elsewhere)
    assert (code, output) == (0, expected), errors
    assert errors == f"nun-db: making {checkout}/.venv (once; this takes up to a minute, longer on a slow network)\n"

    link = tmp_path / "nun-db"
    link.symlink_to(checkout / "scripts" / "run")
    process = subprocess.run(
        [link, "exec", "a b; c", "*", ""], cwd=elsewhere, env=environment(), capture_output=True, text=True, check=True
    )
    assert (process.stdout, process.stderr) == (expected, "")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose environment is made. It is good where it was made only: a test gets a copy there."""
    root = tmp_path_factory.mktemp("made") / "the checkout"
    copy_scripts(root)
    assert run(root)[0] == 0
    shutil.copytree(root, root.with_name("kept"), symlinks=True)
    return root


@pytest.fixture
def made_checkout(made: Path) -> Path:
    """The same as `checkout`, with its environment made."""
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(made.with_name("kept"), made, symlinks=True)
    return made


def test_a_changed_lock_makes_it_anew(made_checkout: Path) -> None:
    checkout = made_checkout
    left_behind = checkout / ".venv" / "left-behind"
    left_behind.touch()
    assert run(checkout) == (0, f"{checkout}|{checkout}/.venv\n", "")
    assert left_behind.exists()
    (checkout / "requirements.lock").write_text("# still no packages\n")
    code, _, errors = run(checkout)
    assert code == 0
    assert errors.startswith("nun-db: making ")
    assert not left_behind.exists()


def test_a_checkout_that_was_moved_is_noticed(made_checkout: Path) -> None:
    moved = made_checkout.rename(made_checkout.with_name("moved"))
    code, output, errors = run(moved)
    assert (code, output) == (0, f"{moved}|{moved}/.venv\n"), errors


def test_two_at_once_make_it_once(checkout: Path) -> None:
    processes = [start(checkout, str(number), cwd=checkout, variables=environment()) for number in range(2)]
    try:
        results = [process.communicate(timeout=TIMEOUT_SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [output for output, _ in results] == [f"{checkout}|{checkout}/.venv|{number}\n" for number in range(2)]
    assert sum(errors.count("nun-db: making ") for _, errors in results) == 1


def test_an_interrupted_creation_is_not_taken_for_a_good_one(checkout: Path) -> None:
    process = start(checkout, cwd=checkout, variables=environment())
    assert process.stderr is not None
    assert process.stderr.readline().startswith("nun-db: making ")  # it has begun
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=TIMEOUT_SECONDS)
    code, output, errors = run(checkout)
    assert (code, output) == (0, f"{checkout}|{checkout}/.venv\n"), errors
    assert errors.startswith("nun-db: making ")


def test_packages_that_cannot_be_installed_are_told_and_tried_again(checkout: Path) -> None:
    lock = checkout / "requirements.lock"
    lock.write_text(f"nothing-there==1.0 --hash=sha256:{'0' * 64}\n")
    # No index and no other source: the answer is the same with and without a network.
    code, output, errors = run(checkout, PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE=os.devnull)
    assert (code, output) == (1, "")
    assert errors.endswith(
        "nun-db: the packages of requirements.lock could not be installed (see above); is the package index reachable"
        " from here?\n"
    )
    lock.write_text("# no packages\n")
    assert run(checkout)[0] == 0


def tools_without_python(folder: Path) -> Path:
    """Make a folder to use as PATH: the tools that the scripts need, and no Python."""
    folder.mkdir()
    for name in ("sh", "dirname", "readlink", "cat", "sha256sum", "flock", "rm", "mv"):
        found = shutil.which(name)
        assert found is not None, name
        (folder / name).symlink_to(found)
    return folder


def test_a_missing_python_is_told_with_the_command_that_installs_it(checkout: Path, tmp_path: Path) -> None:
    path = tools_without_python(tmp_path / "bin")
    expected = "nun-db: Python 3.11 or newer is missing; install it with: apt-get install python3 python3-venv\n"
    assert run(checkout, PATH=str(path), PYTHON="") == (1, "", expected)
    for name in ("python3", "python3.11"):
        (path / name).write_text(_TOO_OLD)
        (path / name).chmod(0o755)
    assert run(checkout, PATH=str(path), PYTHON="") == (1, "", expected)


@pytest.mark.parametrize("name", ["python3", "python3.11"])
def test_a_missing_venv_is_told_with_the_command_that_installs_it(checkout: Path, tmp_path: Path, name: str) -> None:
    path = tools_without_python(tmp_path / "bin")
    (path / name).write_text(_WITHOUT_VENV.format(python=sys.executable))
    (path / name).chmod(0o755)
    version = "3" if name == "python3" else f"{sys.version_info.major}.{sys.version_info.minor}"
    expected = f"nun-db: the module venv of {name} is missing; install it with: apt-get install python{version}-venv\n"
    assert run(checkout, PATH=str(path), PYTHON="") == (1, "", expected)


def test_a_chosen_python_that_does_not_serve_is_told(checkout: Path) -> None:
    code, output, errors = run(checkout, PYTHON="/nowhere/python3")
    assert (code, output) == (1, "")
    assert errors == (
        "nun-db: PYTHON=/nowhere/python3 is not a Python of version 3.11 or newer; give the path of one, or unset"
        " PYTHON\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run the script as another user")
def test_an_environment_that_another_user_cannot_use_is_explained(checkout: Path) -> None:
    with new_folder() as folder:  # which, unlike pytest's, may be entered by anybody
        folder.chmod(0o755)
        root = folder / "checkout"
        shutil.copytree(checkout, root)
        python = root / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.symlink_to("/bin/sh")  # a program that everybody can run, and no stamp

        def run_as_nobody() -> str:
            process = subprocess.run(
                [root / "scripts" / "run"],
                cwd=folder,
                env=environment(),
                user="nobody",
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
            assert (process.returncode, process.stdout, process.stderr.count("\n")) == (1, "", 1)
            return process.stderr

        assert f"{root}/.venv must be created again, because the packages, the Python" in run_as_nobody()
        private = folder / "private"
        private.mkdir(mode=0o700)
        (private / "python").symlink_to(sys.executable)
        python.unlink()
        python.symlink_to(private / "python")
        told = run_as_nobody()
        assert told.startswith(
            f"nun-db: {root}/.venv can't be used by nobody: its Python, {private}/python, is missing"
        )
        assert told.endswith("run: PYTHON=/usr/bin/python3 scripts/run version\n")
        shutil.rmtree(root / ".venv")
        assert run_as_nobody() == f"nun-db: cannot write in {root}, where .venv must be created\n"


def test_the_lock_files_pin_everything_and_name_no_source() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        lines = (REPOSITORY / name).read_text().splitlines()
        entries = [line for line in lines if line and not line.startswith((" ", "#"))]
        assert entries
        assert all("==" in entry and entry.endswith("\\") for entry in entries), name
        assert not [line for line in lines if "://" in line or line.startswith("-")], name


def test_the_locks_fit_what_the_project_asks_for() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = {
        "requirements.lock": project["dependencies"],
        "requirements-dev.lock": [*project["dependencies"], *project["optional-dependencies"]["dev"]],
    }
    for name, requirements in asked.items():
        lines = (REPOSITORY / name).read_text().splitlines()
        pinned = dict(line.removesuffix(" \\").split("==") for line in lines if "==" in line)
        for requirement in map(Requirement, requirements):
            version = pinned[requirement.name.replace("_", "-")]
            assert version in requirement.specifier, f"{name} is stale for {requirement}: run scripts/lock"


def test_the_tools_for_development_use_the_very_packages_that_users_get() -> None:
    def pins(name: str) -> set[str]:
        return {line for line in (REPOSITORY / name).read_text().splitlines() if line and line[0] not in " #"}

    assert pins("requirements.lock") <= pins("requirements-dev.lock")
