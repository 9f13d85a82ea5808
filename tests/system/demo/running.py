"""A running `nun-db demo` for tests: its own process, on free ports that it keeps over a restart."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, NamedTuple, Self

from tools.clients.server import free_ports, start_piped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 60.0

_PAGE = re.compile(r"^    http://127\.0\.0\.1:([0-9]+)/", re.MULTILINE)
_WEBSOCKET = re.compile(r"ws://127\.0\.0\.1:([0-9]+) ")
_END_OF_GREETING = "Stop it with Ctrl-C."


class Answer(NamedTuple):
    """What the page's server answered; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Demo:
    """One demo; a context manager that starts it and always ends it."""

    def __init__(
        self, *options: str, environment: Mapping[str, str] | None = None, has_default_ports: bool = False
    ) -> None:
        self.options = options
        self.has_default_ports = has_default_ports
        self.environment = dict(environment or {})
        # As those of tools.clients.server: of the machine's own range, another program could get one while it is away.
        self.port, self.websocket_port = free_ports(2)
        self.greeting = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()  # only a clean stop removes its folder
        try:
            self._process.communicate(timeout=STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start the process and wait until it has said where the page is."""
        self._process = start_piped([sys.executable, "-P", "-m", "pynun", "demo", *self._options()], self.environment)
        assert self._process.stdout is not None
        deadline = threading.Timer(START_SECONDS_MAX, self._process.kill)
        deadline.start()
        lines = []
        for line in self._process.stdout:
            lines.append(line)
            if _END_OF_GREETING in line:
                break
        deadline.cancel()
        self.greeting = "".join(lines)
        page, websocket = _PAGE.search(self.greeting), _WEBSOCKET.search(self.greeting)
        if page is None or websocket is None:
            self._process.terminate()
            raise AssertionError((self.greeting, self._process.communicate()))
        self.port, self.websocket_port = int(page[1]), int(websocket[1])

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        """Send a signal, as Ctrl-C does, and return exit code, the rest of the output, and the errors."""
        self.send_signal(number)
        return self.wait()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> tuple[int, str, str]:
        """Wait for the end; return exit code, the rest of the output, and the errors."""
        assert self._process is not None
        output, errors = self._process.communicate(timeout=STOP_SECONDS_MAX)
        return self._process.returncode, output, errors

    def kill(self) -> None:
        """End it without a chance to do anything."""
        self.stop(signal.SIGKILL)

    def get(self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
        """Ask the page's server; the path is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS_MAX)
        try:
            connection.request(method, path, headers=dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def configuration(self) -> dict[str, object]:
        """What the page is told."""
        found = json.loads(self.get("/config.json").body)
        assert isinstance(found, dict)
        return found

    def _options(self) -> list[str]:
        """The given options, and the ports, which are the same at each start."""
        if self.has_default_ports:
            return [*self.options]
        return [*self.options, "--port", str(self.port), "--ws-port", str(self.websocket_port)]
