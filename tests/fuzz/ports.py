"""Garbage on each port of a real server for a while, beside an honest client: `scripts/fuzz --ports`."""

from __future__ import annotations

from tools.clients.server import Server, new_folder
from tools.clients.sessions import create_database
from tools.clients.siege import besiege

P99_RATIO_MAX = 2.0
GROWTH_MIB_MAX = 16


def run_ports(seconds: float) -> int:
    """Besiege each port by itself; print the figures; return 1 if the server did not bear it."""
    failed = False
    with new_folder() as folder, Server(folder / "dbs") as server:
        create_database(server, "honest")
        for seed, port in enumerate(("websocket", "http", "tcp")):
            figures = besiege(server, "honest", (port,), seconds, seed=seed)
            print(figures, flush=True)
            complaints = [
                *(f"the server's log says: {line}" for line in figures.trouble),
                *(["an honest client is slowed too much"] if figures.p99_ratio > P99_RATIO_MAX else []),
                *(["memory has grown"] if figures.growth_kib > GROWTH_MIB_MAX * 1024 else []),
                *(["descriptors are left"] if figures.descriptors_after > figures.descriptors_before else []),
            ]
            for complaint in complaints:
                print(f"{port}: {complaint}")
            failed = failed or bool(complaints)
        if server.stop() != 0:
            print("the server did not stop cleanly")
            failed = True
    return 1 if failed else 0
