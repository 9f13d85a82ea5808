"""install.sh and uninstall.sh, from the bundle, on a machine without internet: the whole way, and what goes wrong."""

from __future__ import annotations

import hashlib
import re
import shutil
from typing import TYPE_CHECKING

import lmdb
import pytest

from tests.system.installer.conftest import NEWER
from tools.docs.man_pages import COMPLETIONS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.installer.machine import Machine

pytestmark = pytest.mark.timeout(1800)

SETTINGS = "/etc/pynun/pynun.env"
DATA = "/var/lib/pynun"
TUTORIAL = (
    "create-db features-of-db features-of-db-pwd; use features-of-db features-of-db-pwd; create-user client client-pwd;"
    " set-permissions client r *|rwx client-*; set client-a kept"
)
UNINSTALL = "/opt/pynun/uninstall.sh"
READ = "use-db features-of-db client client-pwd; get client-a"


def how_to_start(printed: str) -> str:
    """The command that install.sh says the server is started with."""
    (line,) = [line.strip() for line in printed.splitlines() if "exec /opt/pynun/current/bin/nun-db start" in line]
    return line


def administer(machine: Machine, commands: str) -> str:
    """Type commands as the administrator would, with the settings that were made."""
    return machine.succeed(
        "sh", "-c", f'. {SETTINGS}; export NUN_USER NUN_PWD; exec nun-db exec -- "$1"', "sh", commands
    )


TAB = f"""\
. /usr/local/{COMPLETIONS["bash"]}
COMP_WORDS=(nun-db dat) COMP_CWORD=1
_nun_db_completion nun-db
echo "${{COMPREPLY[@]}}"
"""


def password_of(machine: Machine) -> str:
    text = (machine.root / SETTINGS.lstrip("/")).read_text(encoding="ascii")
    return re.search(r"^NUN_PWD=(.+)$", text, re.MULTILINE)[1]  # type: ignore[index]


def version_of(machine: Machine) -> str:
    return machine.succeed("nun-db", "version").split()[1]


def test_the_whole_way(machine: Machine, bundle: Path, newer_bundle: Path) -> None:
    # Nothing is here yet, and there is no network.
    assert machine.run("nun-db", "version").returncode != 0
    assert "eth" not in machine.succeed("ip", "-o", "link")

    printed = machine.succeed("sh", f"{bundle}/install.sh")
    start = how_to_start(printed)
    version = version_of(machine)
    owners = machine.succeed("stat", "-c", "%U %a", DATA, SETTINGS).split("\n")
    assert owners[:2] == ["pynun 700", "root 600"]
    unit = (machine.root / "etc/systemd/system/pynun.service").read_text()
    assert "ExecStart=/opt/pynun/current/bin/nun-db start\n" in unit
    assert "@" not in re.sub(r"@(system-service|privileged|resources)|#.*", "", unit)
    # The server's backups run at the lowest priority; the last word on a system call counts.
    assert re.findall("^SystemCallFilter=(.*)", unit, re.MULTILINE)[-1] == "setpriority"

    # Tab completes, and there are manual pages; a new shell finds both.
    shares = [machine.root / "usr/local" / path for path in (*COMPLETIONS.values(), "share/man/man1/nun-db-start.1")]
    assert all("nun" in (machine.root / str(path.readlink()).lstrip("/")).read_text() for path in shares)
    assert machine.succeed("bash", "-c", TAB) == "databases\n"

    with machine.server(start):
        assert "valid auth\\n;create-db success\\n;empty" in administer(machine, TUTORIAL)
        users = machine.succeed("sh", "-c", f"cat /proc/$(cat {DATA}/server.lock)/status")
        assert re.search(r"Uid:\s+(\d+)", users)[1] == machine.succeed("id", "-u", "pynun").strip()  # type: ignore[index]

        # Root and the server's user name neither the server nor its folder, and give no password.
        for who in ((), ("setpriv", "--reuid=pynun", "--regid=pynun", "--clear-groups")):
            assert "features-of-db" in machine.succeed(*who, "nun-db", "databases", "list")
            exported = machine.run(*who, "nun-db", "export", "features-of-db")
            assert (exported.returncode, f"the data folder is {DATA} (" in exported.stderr) == (0, True)

        # Again, with the server running: nothing changes.
        before = machine.changes()
        password = password_of(machine)
        assert "is in use" not in machine.succeed("sh", f"{bundle}/install.sh", "--no-start")
        assert (machine.changes(), password_of(machine)) == (before, password)

        # An upgrade under a running server that systemd does not know is refused, and takes back what it made.
        refused = machine.run("sh", f"{newer_bundle}/install.sh", "--upgrade")
        assert refused.returncode == 1
        assert f"a server still runs on {DATA}: stop it" in refused.stderr
        assert (machine.changes(), version_of(machine)) == (before, version)

    # Another bundle needs the word upgrade; with it, data and settings stay.
    refused = machine.run("sh", f"{newer_bundle}/install.sh")
    assert refused.returncode == 1
    assert f"run sh install.sh --upgrade for {NEWER}" in refused.stderr
    machine.succeed("sh", f"{newer_bundle}/install.sh", "--upgrade")
    assert version_of(machine) == NEWER
    assert password_of(machine) == password
    assert machine.succeed("stat", "-c", "%U %a", f"{DATA}-backups/before-{NEWER}.backup") == "root 600\n"
    with machine.server(start):
        assert "empty;value kept" in administer(machine, READ)
        administer(machine, "use features-of-db features-of-db-pwd; set client-a changed")

    # Back, and forth again, with the data of now.
    back = machine.run("sh", f"{bundle}/install.sh", "--upgrade")
    assert back.returncode == 1
    assert "to go back, use --rollback" in back.stderr
    machine.succeed("sh", "/opt/pynun/install.sh", "--rollback")
    assert version_of(machine) == version
    with machine.server(start):
        assert "empty;value changed" in administer(machine, READ)
    machine.succeed("sh", f"{newer_bundle}/install.sh", "--upgrade")
    assert version_of(machine) == NEWER
    machine.succeed("sh", "/opt/pynun/install.sh", "--rollback")

    # Data that a newer version has changed the format of is not given to the older one.
    raise_format(machine.root / DATA.lstrip("/"))
    refused = machine.run("sh", "/opt/pynun/install.sh", "--rollback")
    assert refused.returncode == 1
    assert "newer than this version's" in refused.stderr
    assert version_of(machine) == version

    # Off again; the data and the settings stay, until they are to go too.
    machine.succeed("sh", UNINSTALL, "--yes")
    assert machine.run("nun-db", "version").returncode != 0
    for gone in ("opt/pynun", "etc/systemd/system/pynun.service"):
        assert not (machine.root / gone).exists()
    assert not any(path.is_symlink() for path in shares)
    assert (machine.root / DATA.lstrip("/") / "data.mdb").exists()
    assert password_of(machine) == password
    machine.succeed("sh", f"{bundle}/install.sh")
    assert password_of(machine) == password
    machine.succeed("sh", UNINSTALL, "--purge", "--yes")
    for gone in (DATA, f"{DATA}-backups", "/etc/pynun", "/opt/pynun"):
        assert not (machine.root / gone.lstrip("/")).exists(), gone


def test_data_that_was_moved_is_found(installed: Machine, bundle: Path, newer_bundle: Path) -> None:
    """The settings name another folder than the one that was made: a larger disk, after years."""
    machine = installed
    start = how_to_start(machine.succeed("sh", f"{bundle}/install.sh"))
    settings = machine.root / SETTINGS.lstrip("/")
    moved = settings.read_text().replace(f"NUN_DBS_DIR={DATA}\n", "NUN_DBS_DIR='/var/large/data'\n")
    settings.write_text(moved)
    assert "/var/large" in moved
    with machine.server(start):
        administer(machine, TUTORIAL)
        assert "features-of-db" in machine.succeed("nun-db", "databases", "list")
        for command in (f"{newer_bundle}/install.sh --upgrade", "/opt/pynun/uninstall.sh --yes"):
            refused = machine.run("sh", *command.split())
            assert refused.returncode == 1
            assert "a server still runs on /var/large/data" in refused.stderr
    copy = f"{DATA}-backups/before-{NEWER}.backup"
    assert copy in machine.succeed("sh", f"{newer_bundle}/install.sh", "--upgrade")
    assert "  features-of-db: " in machine.succeed("nun-db", "verify", copy)
    raise_format(machine.root / "var/large/data")
    refused = machine.run("sh", "/opt/pynun/install.sh", "--rollback")
    assert "the data in /var/large/data has format 1000, newer than this version's" in refused.stderr
    said = machine.succeed("sh", UNINSTALL, "--purge", "--yes")
    assert "/var/large/data stays, where the settings had the data" in said
    assert machine.succeed("stat", "-c", "%U", "/var/large/data", "/var/large/data/data.mdb") == "root\nroot\n"
    assert not (machine.root / DATA.lstrip("/")).exists()


def test_what_is_said_of_etcd_when_a_node_of_a_cluster_is_removed(
    machine: Machine, bundle: Path, tmp_path: Path
) -> None:
    nodes = "a=10.0.0.1,b=10.0.0.2,c=10.0.0.3"
    certificates = tmp_path / "certificates"
    machine.succeed("sh", f"{bundle}/cluster_certificates.sh", "--nodes", nodes, "--output", str(certificates))
    install = (f"{bundle}/install.sh", "--cluster", "--nodes", nodes, "--node", "a", "--certificates")
    machine.succeed("sh", *install, str(certificates / "a"))
    changes = machine.root / "etc/systemd/system/pynun-etcd.service.d"
    changes.mkdir()
    etcd = f"the data of etcd in {DATA}-etcd"
    said = machine.succeed("sh", UNINSTALL, "--yes")
    assert f"Kept: the data in {DATA}, {etcd}, the settings" in said
    assert "A new installation with --cluster takes them up again." in said
    assert (machine.root / f"{DATA}-etcd".lstrip("/")).is_dir()
    assert not changes.with_suffix("").exists()

    machine.succeed("sh", f"{bundle}/install.sh", "--cluster")
    said = machine.succeed("sh", UNINSTALL, "--purge", "--yes")
    assert f"The data, {etcd}, its backups and the settings are removed." in said
    assert "/etc/systemd/system/pynun-etcd.service.d holds changes to the unit, and stays." in said
    for gone in (DATA, f"{DATA}-etcd", "/etc/pynun"):
        assert not (machine.root / gone.lstrip("/")).exists(), gone


@pytest.mark.parametrize("has_user", [False, True])
def test_a_purge_leaves_the_files_of_others_and_says_so(
    bundle: Path, request: pytest.FixtureRequest, has_user: bool
) -> None:
    """A key for TLS, put where docs/tls.md says."""
    machine: Machine = request.getfixturevalue("with_program" if has_user else "installed")
    if has_user:
        machine.succeed("useradd", "--system", "pynun")
        machine.succeed("sh", f"{bundle}/install.sh")
    config = machine.root / "etc/pynun"
    for name in ("cert.pem", "key.pem"):
        (config / name).write_text(name)
        machine.succeed("chown", "pynun:pynun", f"/etc/pynun/{name}")
    (machine.root / "opt/pynun/notes").write_text("of the administrator")
    said = machine.succeed("sh", UNINSTALL, "--purge", "--yes")
    advice = "remove it yourself if nobody needs it."
    lines = said.splitlines()
    assert f"/etc/pynun stays, for it holds what pynun did not put there: cert.pem key.pem; {advice}" in lines
    assert f"/opt/pynun stays, for it holds what pynun did not put there: notes; {advice}" in lines
    assert sorted(path.name for path in config.iterdir()) == ["cert.pem", "key.pem"]
    owner = "pynun pynun" if has_user else "root root"
    assert machine.succeed("stat", "-c", "%U %G", "/etc/pynun/key.pem") == f"{owner}\n"
    assert not (machine.root / DATA.lstrip("/")).exists()


def raise_format(folder: Path) -> None:
    """Make the data look like a far newer version's."""
    with lmdb.open(str(folder), max_dbs=2) as environment:
        meta = environment.open_db(b"meta", create=False)
        with environment.begin(write=True, db=meta) as transaction:
            transaction.put(b"format", (1000).to_bytes(4, "big"))


def test_the_password_is_shown_on_a_terminal_only_and_in_no_argument(with_program: Machine, bundle: Path) -> None:
    machine = with_program
    trace = "/var/trace"
    printed = machine.succeed(
        "script",
        "-qec",
        f"strace -f --seccomp-bpf -qq -e trace=execve -s 100000 -o {trace} sh {bundle}/install.sh",
        "/dev/null",
    )
    password = password_of(machine)
    assert len(password) >= 20
    assert printed.count(password) == 1
    executed = (machine.root / trace.lstrip("/")).read_text(errors="replace")
    assert "execve" in executed
    assert password not in executed
    # Into a pipe it is not written: a new one, for the settings are gone.
    machine.succeed("rm", SETTINGS)
    printed = machine.succeed("sh", f"{bundle}/install.sh")
    assert password_of(machine) not in printed
    assert password_of(machine) != password


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("changed", "wheels/trio-"),
        ("added", "does not belong to the bundle"),
        ("missing", "wheels/trio-"),
        ("of another kind", "this bundle is for s390x, this machine is "),
    ],
)
def test_a_bundle_that_is_not_for_this_machine_or_not_as_it_was_made_is_refused(
    untouched: Machine, bundle: Path, tmp_path: Path, damage: str, told: str
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    wheel = next(copy.glob("wheels/trio-*.whl"))
    if damage == "changed":
        wheel.write_bytes(wheel.read_bytes()[:-1] + b"x")
    elif damage == "added":
        (copy / "wheels" / "trio-99.0-py3-none-any.whl").write_bytes(wheel.read_bytes())
    elif damage == "missing":
        wheel.unlink()
    else:
        file, sums = copy / "ARCHITECTURE", copy / "SHA256SUMS"
        before_sum = hashlib.sha256(file.read_bytes()).hexdigest()
        file.write_text("s390x\n")
        sums.write_text(sums.read_text().replace(before_sum, hashlib.sha256(file.read_bytes()).hexdigest()))
    before = untouched.changes()
    refused = untouched.run("sh", f"{copy}/install.sh")
    assert refused.returncode == 1
    assert told in refused.stderr
    assert untouched.changes() == before


def test_another_command_of_that_name_is_told_before_anything_is_made(machine: Machine, bundle: Path) -> None:
    link = machine.root / "usr/local/bin/nun-db"
    link.write_text("of somebody else")
    before = machine.changes()
    for options in (["--dry-run"], []):
        refused = machine.run("sh", f"{bundle}/install.sh", *options)
        assert refused.returncode == 1
        assert "/usr/local/bin/nun-db already exists" in refused.stderr
        assert machine.changes() == before
    assert link.read_text() == "of somebody else"


def test_what_fails_is_taken_back(machine: Machine, bundle: Path) -> None:
    in_the_way = machine.root / "opt/file"
    in_the_way.write_text("of somebody else")
    before = machine.changes()
    refused = machine.run("sh", f"{bundle}/install.sh", "--bin-dir", "/opt/file/bin")
    assert refused.returncode == 1
    assert "the program is in /opt/pynun" in refused.stdout
    assert "it failed; undoing what was done" in refused.stderr
    assert machine.run("id", "pynun").returncode != 0
    # useradd and userdel leave the same accounts in files made anew.
    accounts = {
        path for path in machine.changes() if re.match(r"etc/(passwd|shadow|group|gshadow|subuid|subgid|\.pwd)", path)
    }
    assert machine.changes() - accounts == before
    assert in_the_way.read_text() == "of somebody else"


def test_an_interrupted_installation_leaves_nothing(machine: Machine, bundle: Path) -> None:
    before = machine.changes()
    ended = machine.run(
        "sh", "-c",
        'sh "$1/install.sh" & until [ -e /opt/pynun/versions ]; do sleep 0.05; done; kill -TERM $!; wait $!',
        "sh", str(bundle),
    )  # fmt: skip
    assert ended.returncode == 143, ended
    assert machine.changes() == before
    machine.succeed("sh", f"{bundle}/install.sh")


def test_a_dry_run_changes_nothing(untouched: Machine, bundle: Path) -> None:
    before = untouched.changes()
    assert "Nothing was changed" in untouched.succeed("sh", f"{bundle}/install.sh", "--dry-run")
    assert untouched.changes() == before


def test_other_folders_and_another_user(machine: Machine, bundle: Path) -> None:
    options = (
        *("--prefix", "/opt/site/pynun", "--data-dir", "/var/site/data", "--config-dir", "/etc/site/pynun"),
        *("--unit-dir", "/etc/site/units", "--bin-dir", "/opt/site/bin", "--user", "site"),
    )
    printed = machine.succeed("sh", f"{bundle}/install.sh", *options, "--no-systemd")
    (start,) = [line.strip() for line in printed.splitlines() if "exec /opt/site/pynun/current" in line]
    assert not (machine.root / "etc/site/units").exists()
    with machine.server(start):
        assert machine.succeed("stat", "-c", "%U", "/var/site/data/data.mdb") == "site\n"
        refused = machine.run("sh", "/opt/site/pynun/uninstall.sh", "--yes")
        assert "a server still runs on /var/site/data, nothing was removed" in refused.stderr
    changed = machine.run("sh", f"{bundle}/install.sh", "--prefix", "/opt/site/pynun", "--data-dir", "/var/else/where")
    assert "--data-dir can't be changed afterwards: it is /var/site/data" in changed.stderr
    machine.succeed("sh", "/opt/site/pynun/uninstall.sh", "--purge", "--yes")
    assert not [path for path in machine.changes() if "site" in path and (machine.root / path).exists()]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--python", "/bin/false"), "no suitable Python was found"),
        (("--python", "/opt/old/python3"), "/opt/old/python3: it is cpython 3.10"),
        (("--prefix", "/opt"), "at least two folders deep"),
        (("--data-dir", "/var/../etc/data"), "an absolute path of letters"),
        (("--user", "root"), "--user: root is not accepted"),
        (("--frobnicate",), "unknown option --frobnicate"),
        (("--prefix",), "--prefix needs a value"),
        (("--upgrade",), "pynun is not installed in /opt/pynun"),
        (("--rollback",), "pynun is not installed in /opt/pynun"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_line(
    untouched: Machine, bundle: Path, arguments: tuple[str, ...], told: str
) -> None:
    old = untouched.root / "opt/old/python3"
    old.parent.mkdir(exist_ok=True)
    old.write_text("#!/bin/sh\necho 'it is cpython 3.10'\n")
    old.chmod(0o755)
    before = untouched.changes()
    refused = untouched.run("sh", f"{bundle}/install.sh", *arguments)
    assert refused.returncode == 1
    assert told in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert untouched.changes() == before


def test_others_than_root_are_told(untouched: Machine, bundle: Path) -> None:
    for script in ("install.sh", "uninstall.sh"):
        refused = untouched.run("setpriv", "--reuid", "65534", "--clear-groups", "cat", "/dev/null")
        assert refused.returncode == 0
        refused = untouched.run(
            "setpriv", "--reuid", "65534", "--clear-groups", "sh", "-s", "--", typed=(bundle / script).read_text()
        )
        assert refused.returncode == 1
        assert "it must be run as root" in refused.stderr


def test_others_than_root_are_told_in_one_line_wherever_they_are(untouched: Machine, bundle: Path) -> None:
    """The shell can open the script, and then not say where it is: a bundle in root's home."""
    untouched.succeed("sh", "-c", f"mkdir -p -m 700 /var/closed && cp -R {bundle} /var/closed/bundle")

    def told(*words: str) -> str:
        here = f"cd /var/closed/bundle && exec setpriv --reuid 65534 --regid 65534 --clear-groups sh {' '.join(words)}"
        refused = untouched.run("sh", "-c", here)
        assert (refused.returncode, refused.stdout) == (1, "")
        return refused.stderr

    assert told("install.sh") == "install.sh: it must be run as root: sudo sh install.sh\n"
    assert told("uninstall.sh") == "uninstall.sh: it must be run as root: sudo sh uninstall.sh\n"
    assert told("install.sh", "--dry-run") == (
        "install.sh: this user can't enter the folder that install.sh is in: run it as root, or unpack the bundle where"
        " this user may go\n"
    )
