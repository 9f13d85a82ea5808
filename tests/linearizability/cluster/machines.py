"""Machines that are network namespaces, each with a cable to this process's own, which forwards between them.

This process must be in a network namespace of its own (`unshare -n`): it is the router, and clients are here, so that
they reach a machine that others don't. What is cut is dropped without a word, as by a cable that is pulled out.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final, Self

from tools.etcd.cluster import Host

_ENTERED: Final = "entered"


class Machine:
    """One machine, there until `end`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.interface = f"cable{number}"
        self.subnet = f"10.213.{number}.0/30"
        # It ends when its input does, so with this process.
        self._holder = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", f"echo {_ENTERED}; read end"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == f"{_ENTERED}\n"
        enter = ("nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--")
        self.host = Host(f"10.213.{number}.2", (*enter, "setpriv", "--pdeathsig", "KILL"))
        router = f"10.213.{number}.1"
        _ip("link", "add", self.interface, "type", "veth", "peer", "name", "eth0", "netns", str(self._holder.pid))
        _ip("address", "add", f"{router}/30", "dev", self.interface)
        _ip("link", "set", self.interface, "up")
        for arguments in (
            "link set lo up", f"address add {self.host.address}/30 dev eth0", "link set eth0 up",
            f"route add default via {router}",
        ):  # fmt: skip
            subprocess.run([*enter, "ip", *arguments.split()], check=True)

    def end(self) -> None:
        """Let it go; nothing must run there any more."""
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        self._holder.wait()


class Machines:
    """A context manager: some machines that reach one another."""

    def __init__(self, count: int = 3) -> None:
        self._count = count
        self.machines: list[Machine] = []
        self._cuts: set[tuple[int, int]] = set()

    def __enter__(self) -> Self:
        _ip("link", "set", "lo", "up")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
        self.machines = [Machine(number) for number in range(1, 1 + self._count)]
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.machines:
            machine.end()

    def cut(self, sender: int, receiver: int) -> None:
        """Have nothing arrive that one machine (counted from 0) sends to another, until `mend`."""
        if (sender, receiver) not in self._cuts:
            self._cuts.add((sender, receiver))
            self._rule("add", sender, receiver)

    def mend(self) -> None:
        """Join all cables."""
        while self._cuts:
            self._rule("delete", *self._cuts.pop())

    def _rule(self, verb: str, sender: int, receiver: int) -> None:
        there = self.machines[receiver].subnet
        _ip("rule", verb, "iif", self.machines[sender].interface, "to", there, "blackhole")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
