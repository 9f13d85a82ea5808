"""docs/monitoring.md names every metric that a server shows, as it explains it itself, and no other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from tests.support.watched import request
from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from tools.clients.server import Server

PAGE = (REPOSITORY / "docs" / "monitoring.md").read_text(encoding="utf-8")


def families(server: Server) -> list[Metric]:
    """What the server shows."""
    return list(text_string_to_metric_families(request(server.http, "/metrics").text))


def row(family: Metric) -> str:
    """A metric's row in the page."""
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
    return f"| `{name}` | {family.type} | {', '.join(f'`{label}`' for label in labels)} | {family.documentation} |"


def test_every_metric_has_its_row_and_every_row_its_metric(shared_server: Server) -> None:
    expected = [row(family) for family in families(shared_server)]
    assert len(expected) > 40
    found = re.findall(r"^\| `(?:nun_db|process)_.*$", PAGE, re.MULTILINE)
    assert found == expected, "the rows have to be:\n" + "\n".join(expected)


def test_the_alerts_are_about_metrics_that_there_are(shared_server: Server) -> None:
    shown = {sample.name for family in families(shared_server) for sample in family.samples}
    alerts = re.findall(r"^ +expr: (.+)$", PAGE, re.MULTILINE)
    assert len(alerts) > 8
    for alert in alerts:
        assert set(re.findall(r"(?:nun_db|process)_\w+", alert)) <= shown, alert
    reasons = set(re.findall(r'reason="(\w+)"', PAGE))
    labels = {
        value for family in families(shared_server) for sample in family.samples for value in sample.labels.values()
    }
    assert reasons <= labels
