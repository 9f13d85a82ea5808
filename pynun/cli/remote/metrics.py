"""A running server's health and metrics, over HTTP (docs/monitoring.md)."""

from __future__ import annotations

import json
from collections import defaultdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from pynun.cli.errors import CommandError, ExitCode, NoConnectionError
from pynun.cli.remote.http_request import get
from pynun.protocol.messages import NEEDS_TLS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pynun.cli.remote.http_request import Login, Response, Target

_NOT_READY = "not ready: "


class Health(NamedTuple):
    """Whether the server is ready."""

    is_ready: bool
    reason: str
    """Why not; empty when it is."""
    node: Mapping[str, Any] | None = None
    """In a cluster: what `pynun.cluster.presence.Presence.summary` says."""


class LoginRefusedError(CommandError):
    """The server refused the administrator's login, which it needs to show database names."""

    exit_code = ExitCode.NOT_AUTHENTICATED


class Sample(NamedTuple):
    """One number."""

    labels: Mapping[str, str]
    value: float


class Metrics:
    """The metrics, by name."""

    def __init__(self, text: str) -> None:
        from prometheus_client.parser import text_string_to_metric_families

        self.samples: defaultdict[str, list[Sample]] = defaultdict(list)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.samples[sample.name].append(Sample(sample.labels, float(sample.value)))

    def total(self, name: str, **labels: str) -> float:
        """The sum of all numbers of that name that have these labels; 0 if there is none."""
        return sum(
            sample.value
            for sample in self.samples.get(name, ())
            if all(sample.labels.get(label) == value for label, value in labels.items())
        )

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """The sums by the values of one label, of the numbers that have the other labels."""
        sums: dict[str, float] = {}
        for sample in self.samples.get(name, ()):
            if all(sample.labels.get(other) == value for other, value in labels.items()):
                sums[sample.labels[label]] = sums.get(sample.labels[label], 0.0) + sample.value
        return sums

    def label(self, name: str, label: str) -> str:
        """The value of a label of the first number of that name."""
        samples = self.samples.get(name)
        return samples[0].labels.get(label, "") if samples else ""


def ask_health(target: Target, timeout_seconds: int) -> Health:
    """Ask whether the server is ready. Raises NoConnectionError."""
    answer = get(target, "/healthz", timeout_seconds)
    if answer.status == 200 and answer.text == "ok\n":
        return Health(True, "", _node(answer))
    if answer.status == 503 and answer.text.startswith(_NOT_READY):
        return Health(False, answer.text.removeprefix(_NOT_READY).strip(), _node(answer))
    if answer.text.strip() == NEEDS_TLS:
        raise NoConnectionError(f"{target.url} refused the request: {NEEDS_TLS}")
    raise NoConnectionError(
        f"{target.url} does not report its health (HTTP status {answer.status} for /healthz):"
        " is it the HTTP address of this server, or the one of NUN_METRICS?"
    )


def _node(answer: Response) -> Mapping[str, Any] | None:
    try:
        found = json.loads(answer.node or "null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def ask_metrics(target: Target, timeout_seconds: int, login: Login | None) -> Metrics | str:
    """The metrics, or the server's reason why there are none. Raises NoConnectionError, LoginRefusedError."""
    answer = get(target, "/metrics", timeout_seconds, login)
    if answer.status == HTTPStatus.UNAUTHORIZED:
        raise LoginRefusedError(
            f"{target.url} refused this user and password, so databases are not named: give the right ones, or none"
        )
    if answer.status != HTTPStatus.OK:
        return answer.text.strip() or f"HTTP status {answer.status}"
    try:
        return Metrics(answer.text)
    except (ValueError, KeyError, IndexError):
        raise NoConnectionError(f"what {target.url} serves at /metrics is not in Prometheus format") from None
