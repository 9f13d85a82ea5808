"""Asks the server of this machine or container whether it is ready: exit code 0, or 1 and a line with the reason.

    python -m pynun.cli.health [/livez]

With `/livez` it asks only whether the server is alive, for supervisors that restart on failure. Health checks run it
every few seconds, so it imports only the standard library. It finds the server by the server's own settings
(NUN_HTTP_ADDR, NUN_TLS_CERT) and needs no password. It does not check the certificate, which has the name that
clients use; nothing secret is sent.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys
from typing import TYPE_CHECKING, Final

from pynun import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_SECONDS: Final = 4.0
_TEXT_BYTES_MAX: Final = 4096
_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""A server on all addresses is asked at loopback."""


def why_not(page: str, environ: Mapping[str, str]) -> str | None:
    """None if the server answers the page with 200; else the reason, in one line."""
    row = next(row for row in settings.SETTINGS if row.name == "NUN_HTTP_ADDR")
    try:
        listening_host, port = row.parse(environ.get(row.name) or row.default)
    except ValueError as error:
        return f"NUN_HTTP_ADDR is not accepted; accepted: {error}"
    host = _ANY_ADDRESS.get(listening_host, listening_host)
    connection: http.client.HTTPConnection
    if environ.get("NUN_TLS_CERT"):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", page, headers={"Connection": "close"})
        response = connection.getresponse()
        text = response.read(_TEXT_BYTES_MAX).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"no answer from {host}, port {port}: {error}"
    finally:
        connection.close()
    return None if response.status == http.client.OK else f"status {response.status}: {text}"


def main() -> int:
    """Print the answer; return the exit code."""
    page = sys.argv[1] if len(sys.argv) > 1 else "/readyz"
    reason = why_not(page, os.environ)
    state = "alive" if page == "/livez" else "ready"
    print(state if reason is None else f"not {state}: {' '.join(reason.split())}")
    return 0 if reason is None else 1


if __name__ == "__main__":
    sys.exit(main())
