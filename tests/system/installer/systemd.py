"""A machine to install on as in `machine.py`, whose first process is systemd: services are started as anywhere.

Of the system's own units it has only those of the journal, and empty targets: none may set up anything of the kernel's,
which this machine shares. Its control groups are below those of the tests, and are removed at the end.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.control_groups import remove_group
from tests.support.node import leave_out
from tests.system.installer.machine import Machine, require_programs, started_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBERS: Final = itertools.count()
_PROGRAM: Final = Path("/lib/systemd/systemd")
_START_SECONDS_MAX: Final = 120.0

_TARGETS: Final = (
    *("basic", "sysinit", "sockets", "timers", "paths", "slices", "shutdown", "local-fs"),
    *("network", "network-online", "multi-user"),
)
_COPIED: Final = ("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket")

_SETUP: Final = f"""\
mount -t tmpfs tmpfs /etc/systemd/system
mount -t tmpfs tmpfs /lib/systemd/system-generators
mkdir /mnt/units
for name in {" ".join(_TARGETS)}; do
    printf '[Unit]\\nDescription=%s\\nDefaultDependencies=no\\n' $name >/mnt/units/$name.target
done
for name in {" ".join(_COPIED)}; do cp /lib/systemd/system/$name /mnt/units/; done
printf '[Unit]\\nDescription=start\\nWants=multi-user.target systemd-journald.service\\n' >/mnt/units/default.target
if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
    mount -t tmpfs -o mode=0755 tmpfs /sys/fs/cgroup
fi
touch /mnt/ready
exec env -i container=pynun PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH=/etc/systemd/system:/mnt/units \\
    {_PROGRAM} --system --log-target=journal --show-status=no
"""


def _control_groups(name: str) -> list[Path]:
    """Where a control group of that name goes in each hierarchy: below the one that this process is in."""
    mounted: dict[str, str] = {}
    for line in Path("/proc/self/mounts").read_text(encoding="ascii").splitlines():
        _, place, kind, options, *_ = line.split(" ")
        if kind == "cgroup2":
            mounted[""] = place
        elif kind == "cgroup":
            mounted |= dict.fromkeys(options.split(","), place)
    found = []
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        place = mounted.get(controllers) or next((mounted[one] for one in controllers.split(",") if one in mounted), "")
        if place:
            found.append(Path(place) / path.lstrip("/") / name)
    return found


@contextlib.contextmanager
def running_systemd(files: Path | None = None) -> Iterator[Machine]:
    """A machine as `running_machine` makes one, with systemd, for the time of a `with` block."""
    require_programs()
    if not _PROGRAM.exists():
        leave_out("systemd is not installed (apt-get install systemd)")
    groups = []
    try:
        for group in _control_groups(f"pynun-machine-{os.getpid()}-{next(_NUMBERS)}"):
            with contextlib.suppress(OSError):
                group.mkdir()
                groups.append(group)
        # Where a hierarchy does not take it (cpuset, before it is told which processors), it stays where it is.
        enter = "".join(f"echo $$ >{group}/cgroup.procs 2>/dev/null || true\n" for group in groups)
        namespaces = ("--net", "--mount", "--pid", "--cgroup", "--ipc", "--uts")
        with started_machine(*namespaces, files=files, setup=_SETUP, before=enter) as machine:
            _wait_started(machine)
            yield machine
    finally:
        for group in groups:
            remove_group(group)


def _wait_started(machine: Machine) -> None:
    deadline = time.monotonic() + _START_SECONDS_MAX
    while (done := machine.run("systemctl", "is-system-running")).stdout.strip() not in ("running", "degraded"):
        if time.monotonic() > deadline:
            leave_out(f"NOT TESTED: services, for systemd does not start on this machine: {done.stdout}{done.stderr}")
        time.sleep(0.1)
