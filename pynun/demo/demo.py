"""Runs the demo: a server, a guest account and the page, in one process until SIGINT or SIGTERM.

The main thread belongs to the server. Its output is read here for the ports, and only warnings are shown. A helper
thread prepares the rest once the server is ready; a failure there stops the server and is raised to the caller. Others
can reach only the page and the WebSocket. HTTP and TCP, where the administrator's password works, listen locally.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import socket
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TextIO

from pynun import settings
from pynun.demo.addresses import InterfaceAddress, list_addresses
from pynun.demo.guests import VIEWER_ROOM, new_secret, prepare_guest
from pynun.demo.page_server import PageServer
from pynun.demo.picture_site import PictureSite
from pynun.demo.viewer_site import ViewerSite, check_viewer
from pynun.errors import PynunError, StartError
from pynun.server.app import run
from pynun.setting_values import Address, parse_address
from pynun.stop_signals import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pynun.demo.page_server import Site

PORT_DEFAULT: Final = 3015
WEBSOCKET_PORT_DEFAULT: Final = 3016
"""Not a port of a real server (3012 to 3014), which the demo never uses."""

HERE: Final = "127.0.0.1"

_MESSAGE_BYTES_MAX: Final = "64KiB"
"""The page sends a few hundred bytes at a time; a malicious guest gets little more."""

_LISTENING: Final = re.compile(r"nun_db\] listening: (websocket|http|tcp) (\S+)")
_READY: Final = re.compile(r"nun_db\] ready\b")
_TROUBLE: Final = re.compile(r" (WARN|ERROR) ")


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options. A port of None is the default, or a free port if that is in use."""

    host: str = HERE
    port: int | None = None
    websocket_port: int | None = None
    data_dir: Path | None = None
    viewer: Path | None = None
    """The folder of an OHIF viewer to serve instead of the demo's own page."""


class Running(NamedTuple):
    """Where the demo is: `page` and `websocket` as given to the browser, `others` for the rest of the network."""

    page: str
    websocket: str
    paths: tuple[str, ...]
    """What to open below `page`, if that is not all."""
    others: tuple[tuple[str, str], ...]
    """URL and interface of each address of this machine; empty if only this machine can reach the demo."""


def run_demo(options: DemoOptions, on_running: Callable[[Running], None]) -> None:
    """Run the demo until SIGINT or SIGTERM; returns after a clean stop.

    `on_running` is called once, in another thread, when the page can be opened. Without a `data_dir`, the data is in a
    new folder that is removed at the end. Raises StartError and SettingsError.
    """
    if options.viewer is not None:
        check_viewer(options.viewer)
    with contextlib.ExitStack() as stack:
        stop_on_hang_up = stack.enter_context(_hang_up_is_a_stop())
        page = PageServer(
            Address(options.host, PORT_DEFAULT if options.port is None else options.port),
            is_port_optional=options.port is None,
        )
        stack.callback(page.close)
        data_dir = options.data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nun-db-demo-")))
        password = new_secret()
        chosen = settings.load(
            {},
            {
                "NUN_USER": "demo",
                "NUN_PWD": password,
                "NUN_DBS_DIR": str(data_dir),
                "NUN_WS_ADDR": str(Address(options.host, _websocket_port(options))),
                "NUN_HTTP_ADDR": f"{HERE}:0",
                "NUN_TCP_ADDR": f"{HERE}:0",
                "NUN_LOG_LEVEL": "warn",
                "NUN_MAX_MESSAGE_SIZE": _MESSAGE_BYTES_MAX,
            },
        )
        preparation = _Preparation(page, chosen.user, password, options.viewer, on_running)

        def go_on(addresses: dict[str, Address]) -> None:
            stop_on_hang_up()  # again: the server has taken the signal for itself meanwhile
            preparation.start(addresses)

        output = _ServerOutput(sys.stdout, go_on)
        try:
            with contextlib.redirect_stdout(output):
                run(chosen)
        except StartError as error:
            raise StartError(str(error).replace("NUN_WS_ADDR", "--ws-port")) from None
        except (KeyboardInterrupt, Stopped):
            pass  # Ctrl-C during the start is a stop, too
        finally:
            preparation.wait()
        if preparation.failure is not None:
            raise preparation.failure


class _Preparation:
    """What happens once the server is ready, in its own thread."""

    def __init__(
        self, page: PageServer, user: str, password: str, viewer: Path | None, on_running: Callable[[Running], None]
    ) -> None:
        self.failure: Exception | None = None
        self._page = page
        self._user = user
        self._password = password
        self._viewer = viewer
        self._on_running = on_running
        self._thread: threading.Thread | None = None

    def start(self, addresses: dict[str, Address]) -> None:
        self._thread = threading.Thread(target=self._run, args=(addresses,), name="demo-preparation", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _run(self, addresses: dict[str, Address]) -> None:
        try:
            guest = prepare_guest(addresses["http"], self._user, self._password)
            websocket = addresses["websocket"]
            others = _others(self._page.address, list_addresses())
            site: Site
            if self._viewer is None:
                paths: tuple[str, ...] = ()
                told = {**guest._asdict(), "websocketPort": websocket.port, "others": [url for url, _ in others]}
                site = PictureSite(told, websocket.port)
            else:
                room = {"db": guest.database, "user": guest.user, "token": guest.token, "key": VIEWER_ROOM}
                site = ViewerSite(self._viewer, room, websocket.port)
                paths = tuple(site.paths)
            self._page.serve(site)
            here = _reachable_host(websocket.host)
            self._on_running(
                Running(
                    _url(_reachable_host(self._page.address.host), self._page.address.port),
                    f"ws://{Address(here, websocket.port)}",
                    paths,
                    others,
                )
            )
        except Exception as error:
            self.failure = error if isinstance(error, PynunError) else StartError(f"the demo could not start: {error}")
            os.kill(os.getpid(), signal.SIGTERM)  # the way to stop the server, from any thread


class _ServerOutput(io.TextIOBase):
    """The server's standard output: collects addresses, passes on warnings and errors, drops the rest."""

    def __init__(self, target: TextIO, on_ready: Callable[[dict[str, Address]], None]) -> None:
        self._target = target
        self._on_ready = on_ready
        self._addresses: dict[str, Address] = {}
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._take(line)
        return len(text)

    def writable(self) -> bool:
        return True

    def _take(self, line: str) -> None:
        if match := _LISTENING.search(line):
            self._addresses[match[1]] = parse_address(match[2])
        elif _READY.search(line):
            self._on_ready(self._addresses)
        elif _TROUBLE.search(line):
            print(line, file=self._target, flush=True)


@contextlib.contextmanager
def _hang_up_is_a_stop() -> Iterator[Callable[[], None]]:
    """Closing the terminal stops the demo as Ctrl-C does, so that its folder is removed (unless run with nohup).

    Yields a function that installs the handler again; call it in the main thread.
    """
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    def see_to_it() -> None:
        handler = signal.SIG_IGN if is_ignored else lambda _number, _frame: os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGHUP, handler)

    before = signal.getsignal(signal.SIGHUP)
    see_to_it()
    try:
        yield see_to_it
    finally:
        signal.signal(signal.SIGHUP, before)


def _websocket_port(options: DemoOptions) -> int:
    """The chosen port; else the default one, or 0 if another program has that."""
    if options.websocket_port is not None:
        return options.websocket_port
    try:
        with socket.create_server((options.host, WEBSOCKET_PORT_DEFAULT)):
            return WEBSOCKET_PORT_DEFAULT
    except OSError:
        return 0


def _reachable_host(host: str) -> str:
    """The host for a URL of a listener on `host`; one on all addresses is reached at loopback."""
    return {"0.0.0.0": HERE, "::": "::1"}.get(host, host)


def _others(page: Address, addresses: list[InterfaceAddress]) -> tuple[tuple[str, str], ...]:
    """URL and interface of each address under which other devices reach the page."""
    if page.host in (HERE, "::1"):
        return ()
    if page.host in ("0.0.0.0", "::"):
        return tuple((_url(address, page.port), interface) for address, interface in addresses)
    interfaces = dict(addresses)
    return ((_url(page.host, page.port), interfaces.get(page.host, "")),)


def _url(host: str, port: int) -> str:
    return f"http://{Address(host, port)}/"
