"""docs/monitoring.md names every metric that a server shows, as it explains it itself, and no other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from pynun.server.monitoring.metrics import CLUSTER_METRICS
from tests.support.watched import request
from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

    from tools.clients.server import Server

PAGE = (REPOSITORY / "docs" / "monitoring.md").read_text(encoding="utf-8")


def families(server: Server) -> list[Metric]:
    """What the server shows."""
    return list(text_string_to_metric_families(request(server.http, "/metrics").text))


def row(family: Metric, labels: Iterable[str] | None = None) -> str:
    """A metric's row in the page; its labels are those of the samples, unless given."""
    if labels is None:
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
    shown = ", ".join(f"`{label}`" for label in sorted(labels))
    return f"| `{_shown(family)}` | {family.type} | {shown} | {family.documentation} |"


def _shown(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _of_cluster() -> list[tuple[Metric, tuple[str, ...]]]:
    return [(one.family(one.name, one.help, labels=one.labels), one.labels) for one in CLUSTER_METRICS]


def test_every_metric_has_its_row_and_every_row_its_metric(shared_server: Server) -> None:
    """A single server shows all but those of a cluster's nodes."""
    shown = families(shared_server)
    expected = [row(family) for family in shown] + [row(*one) for one in _of_cluster()]
    assert len(expected) > 50
    assert not any("nun_db_cluster" in family.name for family in shown)
    found = re.findall(r"^\| `(?:nun_db|process)_.*$", PAGE, re.MULTILINE)
    assert found == expected, "the rows have to be:\n" + "\n".join(expected)


def test_the_alerts_are_about_metrics_that_there_are(shared_server: Server) -> None:
    shown = {sample.name for family in families(shared_server) for sample in family.samples}
    for family, _ in _of_cluster():
        shown |= {_shown(family), *(f"{family.name}_bucket" for _ in range(family.type == "histogram"))}
    alerts = re.findall(r"^ +expr: (.+)$", PAGE, re.MULTILINE)
    assert len(alerts) > 8
    for alert in alerts:
        assert set(re.findall(r"(?:nun_db|process)_\w+", alert)) <= shown, alert
    reasons = set(re.findall(r'reason="(\w+)"', PAGE))
    labels = {
        value for family in families(shared_server) for sample in family.samples for value in sample.labels.values()
    }
    assert reasons <= labels
