"""`nun-db cluster`: begin, check, look at, hand over, leave and remove a cluster of several servers."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pynun.cli.commands.start import administrator
from pynun.cli.errors import CommandError, NoConnectionError, UsageError
from pynun.cli.installation import environment_for, settings_of_server
from pynun.cli.offline.data_folder import DirectoryToChange, folder_to_change, folder_to_read
from pynun.cli.options import TIMEOUT_SECONDS_DEFAULT, AsJson, Timeout
from pynun.cli.output.numbers import size
from pynun.cli.output.tables import show, show_done, show_json, show_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pynun.cli.options import Connection
    from pynun.cluster.etcd.checks import MemberStatus
    from pynun.cluster.etcd.members import Members
    from pynun.cluster.joining import PatientCaller
    from pynun.cluster.keys import Keys

_ANSWER_SECONDS = 10.0
"""How long etcd is waited for."""

_LOOK_SECONDS = 0.1
_NO_ETCD = "NUN_ETCD is not set: it names the etcd of the cluster (docs/cluster-setup.md)"

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.callback()
def cluster() -> None:
    """Begin, check, look at and leave a cluster of several servers (docs/cluster.md)."""


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
def reset(is_sure: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False, as_json: AsJson = False) -> None:
    """Remove the cluster from etcd: its log, and who its nodes are. The nodes keep their data.

    For beginning anew, with a backup or with the data of one node (docs/cluster-operation.md). Stop all nodes first.
    """
    from pynun.cli.offline.audited import recorded
    from pynun.cluster.joining import remove_cluster
    from pynun.settings import load_fields

    environ, _ = settings_of_server(os.environ, None)
    (name,) = load_fields(environ, "cluster_name")
    if not is_sure:
        if not sys.stdin.isatty():
            raise UsageError("there is no terminal to ask on: --yes removes the cluster from etcd without asking")
        question = f"This removes the cluster {name} from etcd; changes that no node has on its disk are lost."
        print(f"{question} Continue? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was removed")
    with _asked(environ) as (caller, keys), recorded(folder_to_read(None), "reset-cluster"):
        is_removed = remove_cluster(caller, keys)
    text = f"etcd has nothing of the cluster {name} any more" if is_removed else f"etcd has no cluster {name}"
    show_done({"removed": is_removed}, as_json, text)


@app.command("hand-over")
def hand_over(
    context: typer.Context,
    node: Annotated[
        str, typer.Argument(metavar="[NODE]", help="Who should own the data; else whichever has the newest changes.")
    ] = "",
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Have another node own the data, before its owner is stopped or upgraded.

    Run it on any node. Clients lose less than a second. Waits until another node owns the data.
    """
    from pynun.cli.remote.admin_client import AdminClient
    from pynun.cluster.overview import read_overview

    environ, _ = settings_of_server(os.environ, None)
    given: Connection = context.obj
    with _asked(environ) as (caller, keys):
        before = read_overview(caller, keys).owner
        if before is None:
            raise CommandError("no node owns the data now")
        if node == before.node:
            show_done({"owner": node}, as_json, f"{node} owns the data already")
            return
        words = ("set-primary", node) if node else ("debug", "force-election")
        AdminClient(given, timeout).ask(*words)
        deadline = time.monotonic() + timeout
        while (owner := read_overview(caller, keys).owner) is None or owner.lease == before.lease:
            if time.monotonic() > deadline:
                raise CommandError(f"no other node has taken over within {timeout} s; see nun-db cluster status")
            time.sleep(_LOOK_SECONDS)
    show_done({"owner": owner.node}, as_json, f"{owner.node} owns the data now")
    if node and owner.node != node:
        raise CommandError(f"{node} did not take over in time, so {owner.node} did")


@app.command()
def check(context: typer.Context, as_json: AsJson = False) -> None:
    """Check what a node relies on, before it starts: etcd, its disks, clocks, certificates.

    Run it on each machine. Exit code 1: something has to be mended first, and the node may not start.
    """
    import trio

    from pynun.cluster.preflight import FAILED, preflight
    from pynun.settings import load

    environ, _ = settings_of_server(os.environ, None)
    settings = load(environ, administrator(context.obj))
    if not settings.etcd_urls:
        raise CommandError(_NO_ETCD)
    found = trio.run(preflight, settings)
    show_rows([one._asdict() for one in found], ["check", "result", "text"], as_json)
    if any(one.result == FAILED for one in found):
        raise CommandError("mend what failed before this node starts")


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
    """Show the nodes of the cluster, as etcd knows them, and etcd. Exit code 1: no node owns the data now.

    role: owner, following, or away; since when. behind: batches of changes that it has not got yet. trouble: why it
    can't store, or can't serve clients. lease: how long the owner may still go on if etcd hears nothing more of it.
    """
    from pynun.cluster.overview import read_lease, read_overview

    environ, _ = settings_of_server(os.environ, None)
    with _asked(environ) as (caller, keys):
        found = read_overview(caller, keys)
        lease = None if found.owner is None else read_lease(caller, found.owner).seconds
    etcd = _etcd_rows(environ)
    nodes = [node._asdict() for node in found.nodes]
    if as_json:
        show_json({"nodes": nodes, "etcd": etcd, "lease_seconds": lease})
    else:
        shown = [
            node
            | {"since": None if (at := node["since"]) is None else _time_text(at)}
            | {"trouble": node["trouble"] or node["unready"]}
            for node in nodes
        ]
        show_rows(shown, ["node", "role", "behind", "version", "since", "address", "trouble"], as_json=False)
        show("")
        show_rows(etcd, ["etcd", "state", "version", "used"], as_json=False)
        if found.owner is not None and lease is not None:
            show("")
            show(f"The lease of {found.owner.node} lasts {max(lease, 0)} more seconds; it is renewed all the time.")
    if found.owner is None:
        raise CommandError("no node owns the data now")


def _etcd_rows(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """The members of etcd, and how they are."""
    import trio

    from pynun.cluster.etcd.checks import ask_all
    from pynun.cluster.etcd.client import Client

    async def ask() -> list[MemberStatus]:
        async with Client(_members(environ)) as client:
            return await ask_all(client)

    rows = []
    for one in trio.run(ask):
        state, version, used = f"does not answer: {one.trouble}", None, None
        if one.status is not None:
            version, used = one.status.version, size(one.status.used_bytes)
            leads = "leader" if one.status.leader == one.status.member else "follower"
            state = "; ".join((leads if one.status.leader else "knows no leader", *one.status.errors))
        rows.append({"etcd": str(one.member), "state": state, "version": version, "used": used})
    return rows


def _time_text(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


@contextlib.contextmanager
def _asked(environ: Mapping[str, str]) -> Iterator[tuple[PatientCaller, Keys]]:
    """etcd, as the settings name it. Raises SettingsError and CommandError."""
    from pynun.cluster.etcd.blocking_client import BlockingClient
    from pynun.cluster.joining import PatientCaller
    from pynun.cluster.keys import Keys
    from pynun.settings import load_fields

    (name,) = load_fields(environ, "cluster_name")
    deadline = time.monotonic() + _ANSWER_SECONDS

    def pause(seconds: float) -> None:
        if time.monotonic() > deadline:
            raise NoConnectionError(f"etcd does not answer: {client.trouble}")
        time.sleep(seconds)

    with BlockingClient(_members(environ)) as client:
        yield PatientCaller(client, pause), Keys(name)


def _members(environ: Mapping[str, str]) -> Members:
    """Where etcd is. Raises SettingsError and CommandError."""
    from pynun.cluster.etcd.members import SETTINGS_FIELDS, etcd_members
    from pynun.settings import load_fields

    urls, *rest = load_fields(environ, *SETTINGS_FIELDS)
    if not urls:
        raise CommandError(_NO_ETCD)
    return etcd_members(urls, *rest)
