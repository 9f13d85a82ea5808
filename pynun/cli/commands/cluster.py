"""`nun-db cluster`: begin and leave a cluster with the data of a stopped server, and see how a cluster is."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import typer

from pynun.cli.errors import CommandError, NoConnectionError
from pynun.cli.installation import environment_for, settings_of_server
from pynun.cli.offline.data_folder import DirectoryToChange, folder_to_change
from pynun.cli.options import AsJson
from pynun.cli.output.tables import show_done, show_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pynun.cluster.joining import PatientCaller
    from pynun.cluster.keys import Keys

_ANSWER_SECONDS = 10.0
"""How long etcd is waited for."""

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.callback()
def cluster() -> None:
    """Begin, leave and look at a cluster of several servers (docs/cluster.md)."""


@app.command()
def init(data_dir: DirectoryToChange = None, as_json: AsJson = False) -> None:
    """Begin a cluster with the data of this stopped server.

    It makes the cluster in etcd (NUN_ETCD, NUN_CLUSTER_NAME), and notes in the data that it belongs to that. Then start
    this server first; the others join it. Run it again if it failed half-way. If etcd lost its data, run it on the node
    that has the newest data.
    """
    from pynun.cli.offline.audited import recorded
    from pynun.cli.offline.data_folder import opened_store
    from pynun.cluster.joining import begin_cluster

    folder = folder_to_change(data_dir)
    if not (folder / "data.mdb").exists():
        raise CommandError(f"{folder} has no data: servers with empty folders begin a cluster by themselves")
    with (
        _asked(environment_for(folder, os.environ)) as (caller, keys),
        recorded(folder, "begin-cluster"),
        opened_store(folder) as store,
    ):
        state = begin_cluster(store, caller, keys)
    done = {"id": state.id, "batch": state.head}
    show_done(done, as_json, f"the data in {folder} is that of a cluster now: start this server with NUN_ETCD")


@app.command()
def leave(data_dir: DirectoryToChange = None, as_json: AsJson = False) -> None:
    """Have the data of this stopped server be a single server's again.

    Stop all nodes first, the one that should go on alone last. etcd is not asked, and keeps what it has.
    """
    from pynun.cli.offline.audited import recorded
    from pynun.cli.offline.data_folder import opened_store
    from pynun.cluster.joining import leave_cluster

    folder = folder_to_change(data_dir)
    if not (folder / "data.mdb").exists():
        raise CommandError(f"{folder} has no data")
    with recorded(folder, "leave-cluster"), opened_store(folder) as store:
        is_changed = leave_cluster(store)
    text = "is that of a single server now" if is_changed else "was that of a single server already"
    show_done({"changed": is_changed}, as_json, f"the data in {folder} {text}")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show the nodes of the cluster, as etcd knows them. Exit code 1: no node owns the data now.

    role: owner, following, or away. behind: batches of changes that it has not got yet.
    """
    from pynun.cluster.overview import read_overview

    environ, _ = settings_of_server(os.environ, None)
    with _asked(environ) as (caller, keys):
        found = read_overview(caller, keys)
    rows: list[dict[str, Any]] = [node._asdict() for node in found]
    show_rows(rows, ["node", "role", "behind", "version", "address"], as_json)
    if not any(node.role == "owner" for node in found):
        raise CommandError("no node owns the data now")


@contextlib.contextmanager
def _asked(environ: Mapping[str, str]) -> Iterator[tuple[PatientCaller, Keys]]:
    """etcd, as the settings name it. Raises SettingsError and CommandError."""
    from pynun.cluster.etcd.blocking_client import BlockingClient
    from pynun.cluster.etcd.members import SETTINGS_FIELDS, etcd_members
    from pynun.cluster.joining import PatientCaller
    from pynun.cluster.keys import Keys
    from pynun.settings import load_fields

    urls, *rest = load_fields(environ, *SETTINGS_FIELDS)
    if not urls:
        raise CommandError("NUN_ETCD is not set: it names the etcd of the cluster (docs/cluster.md)")
    (name,) = load_fields(environ, "cluster_name")
    deadline = time.monotonic() + _ANSWER_SECONDS

    def pause(seconds: float) -> None:
        if time.monotonic() > deadline:
            raise NoConnectionError(f"etcd does not answer: {client.trouble}")
        time.sleep(seconds)

    with BlockingClient(etcd_members(urls, *rest)) as client:
        yield PatientCaller(client, pause), Keys(name)
