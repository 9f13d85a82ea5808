"""Settings of a cluster (docs/cluster.md). Without NUN_ETCD none has an effect: the server is a single node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pynun import setting_values as values
from pynun.errors import SettingsError
from pynun.setting import Setting

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MESSAGE_BYTES_DEFAULT: Final = 4 * 1024**2
MESSAGE_BYTES_MAX: Final = 16 * 1024**2
"""The largest message in a cluster, by default and at all: while one of 17 MiB is put into etcd, in pieces, nobody's
change is committed (measured: 1.9 to 2.6 s)."""

CLUSTER_SETTINGS: Final = (
    Setting(
        name="NUN_ETCD", default="", parse=values.etcd_urls, field="etcd_urls",
        help="The client addresses of etcd's members (http://10.0.0.1:2379), separated by commas, the nearest first. "
        "With it, this server is a node of a cluster (docs/cluster.md).",
    ),
    Setting(
        name="NUN_ETCD_CA", default="", parse=values.file, field="etcd_ca",
        help="PEM file with the certificates that etcd's are signed by. Unset: those that the system trusts.",
    ),
    Setting(
        name="NUN_ETCD_CERT", default="", parse=values.file, field="etcd_cert",
        help="PEM file with this node's certificate for etcd. It must have no common name (CN).",
    ),
    Setting(
        name="NUN_ETCD_KEY", default="", parse=values.file, field="etcd_key",
        help="PEM file with this certificate's private key, unencrypted.",
    ),
    Setting(
        name="NUN_ETCD_USER", default="", parse=values.text, field="etcd_user", help="The user at etcd, if it has any.",
    ),
    Setting(
        name="NUN_ETCD_PWD", default="", parse=values.text, field="etcd_password", secret=True,
        help="This user's password.",
    ),
    Setting(
        name="NUN_CLUSTER_NAME", default="default", parse=values.short_name, field="cluster_name",
        help="The cluster's name: its keys in etcd begin with /pynun/NAME/, so several clusters can share an etcd.",
    ),
    Setting(
        name="NUN_NODE_NAME", default="", parse=values.short_name, field="node_name",
        help="This node's name, unlike that of any other node. Unset: the machine's host name.",
    ),
    Setting(
        name="NUN_CLUSTER_ADDR", default="0.0.0.0:3015", parse=values.parse_address, field="cluster_address",
        help="Where the other nodes connect.",
    ),
    Setting(
        name="NUN_CLUSTER_EXTERNAL_ADDR", default="", parse=values.parse_address, field="cluster_external_address",
        help="The address by which they reach it. Unset: the host name, with the port of NUN_CLUSTER_ADDR.",
    ),
    Setting(
        name="NUN_CLUSTER_CA", default="", parse=values.file, field="cluster_ca",
        help="PEM file with the certificates that those of the nodes are signed by. Anyone with a certificate that one "
        "of them signed can act as a node. Unset: NUN_ETCD_CA.",
    ),
    Setting(
        name="NUN_CLUSTER_CERT", default="", parse=values.file, field="cluster_cert",
        help="PEM file with the certificate that this node shows to others, for the host of its address. Unset: "
        "NUN_ETCD_CERT.",
    ),
    Setting(
        name="NUN_CLUSTER_KEY", default="", parse=values.file, field="cluster_key",
        help="PEM file with this certificate's private key, unencrypted. Unset: NUN_ETCD_KEY.",
    ),
    Setting(
        name="NUN_CLUSTER_PLAIN", default="0", parse=values.is_one, field="is_cluster_plain",
        help="1: nodes talk to each other without TLS. Anyone who can connect to NUN_CLUSTER_ADDR can then copy all "
        "data and act as any client.",
    ),
    Setting(
        name="NUN_LEASE_SECONDS", default="3", parse=values.whole_number(2, 60), unit="s", field="lease_seconds",
        help="How long a node that etcd does not hear of stays owner. More than twice etcd's election time-out.",
    ),
    Setting(
        name="NUN_FAST_TAKEOVER", default="on", parse=values.is_on, field="has_fast_takeover",
        help="on: an owner whose process is gone is replaced at once. off: when its lease is over.",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterValues:
    """The values of these rows."""

    etcd_urls: tuple[str, ...]
    """Empty: the server is a single node, and what follows has no effect."""
    etcd_ca: Path | None
    etcd_cert: Path | None
    etcd_key: Path | None
    etcd_user: str | None
    etcd_password: str | None = field(repr=False)
    cluster_name: str
    node_name: str | None
    cluster_address: values.Address
    cluster_external_address: values.Address | None
    cluster_ca: Path | None
    cluster_cert: Path | None
    cluster_key: Path | None
    is_cluster_plain: bool
    lease_seconds: int
    has_fast_takeover: bool


def complete(found: dict[str, Any], is_given: Mapping[str, bool]) -> None:
    """Fill in the values that depend on others. Raises SettingsError for those that can't be together."""
    if not found["etcd_urls"]:
        return
    if found["durability"].value != "always":
        raise SettingsError(
            "NUN_DURABILITY=relaxed can't be used with NUN_ETCD: what was acknowledged could be lost while etcd does"
            " not answer; unset one of them"
        )
    if (found["etcd_user"] is None) != (found["etcd_password"] is None):
        raise SettingsError("NUN_ETCD_USER and NUN_ETCD_PWD (or NUN_ETCD_PWD_FILE) need each other: set both, or none")
    for kind in ("etcd", "cluster"):
        if (found[f"{kind}_cert"] is None) != (found[f"{kind}_key"] is None):
            name = f"NUN_{kind.upper()}"
            raise SettingsError(f"{name}_CERT and {name}_KEY need each other: set both, or none")
    if found["cluster_cert"] is None:
        found["cluster_cert"], found["cluster_key"] = found["etcd_cert"], found["etcd_key"]
    found["cluster_ca"] = found["cluster_ca"] or found["etcd_ca"]
    if not found["is_cluster_plain"] and (found["cluster_ca"] is None or found["cluster_cert"] is None):
        raise SettingsError(
            "nodes of a cluster know each other by certificates: set NUN_CLUSTER_CA, NUN_CLUSTER_CERT and "
            "NUN_CLUSTER_KEY; or, where nobody else reaches NUN_CLUSTER_ADDR, NUN_CLUSTER_PLAIN=1"
        )
    if not is_given["message_bytes_max"]:
        found["message_bytes_max"] = MESSAGE_BYTES_DEFAULT
    elif found["message_bytes_max"] > MESSAGE_BYTES_MAX:
        raise SettingsError(
            f"NUN_MAX_MESSAGE_SIZE: {values.format_size(found['message_bytes_max'])} is too much for a cluster"
            f" (NUN_ETCD is set); accepted: at most {values.format_size(MESSAGE_BYTES_MAX)}"
        )
