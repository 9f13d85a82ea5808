"""nun-db processes that begin at once: forked from one process that has imported everything already.

Python and the imports of a command take up to a second on a busy machine, a fork some milliseconds. What is forked has
a session, standard streams, an environment, signals and an exit code of its own, as if it were started anew. What a
start itself does (the order of the imports, a Ctrl-C during them) is for tests that start nun-db anew.

Run as a program, this module is that process. A request is one message with the descriptors. It forks, answers with a
pidfd, and later with the exit code. It ends when the process that started it has closed the connection.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import termios
import threading
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import pynun
from tools.clients.server import REPOSITORY, START_SECONDS_MAX, clean_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST_BYTES_MAX = 1 << 17


class Forked:
    """A nun-db process. The descriptors are its standard input, output and error; it gets copies."""

    def __init__(
        self,
        *arguments: str,
        descriptors: tuple[int, int, int],
        environment: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> None:
        request = [arguments, clean_environment(environment or {}), cwd or str(REPOSITORY)]
        self._returncode: int | None = None
        self._answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(_server(), [json.dumps(request).encode()], [*descriptors, theirs.fileno()])
        self._answers.settimeout(START_SECONDS_MAX)
        pid, [self._pidfd], _, _ = socket.recv_fds(self._answers, 16, 1)
        self.pid = int(pid)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, which must be before `wait` has told of its end."""
        signal.pidfd_send_signal(self._pidfd, number)

    def wait(self, seconds_max: float) -> int:
        """Wait for its end; the exit code, or the negative number of the signal. Raises TimeoutError."""
        if self._returncode is None:
            self._answers.settimeout(max(seconds_max, 0.001))
            self._returncode = int(self._answers.recv(16))
            self._answers.close()
            os.close(self._pidfd)
        return self._returncode

    def poll(self) -> int | None:
        """The exit code if it has ended."""
        try:
            return self.wait(0)
        except TimeoutError:
            return None

    def kill(self) -> None:
        """End it if it has not ended."""
        if self.poll() is None:
            self.send_signal(signal.SIGKILL)
            self.wait(START_SECONDS_MAX)


@functools.cache
def _server() -> socket.socket:
    """The connection to the process that forks, which is started."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())],
            # Pipes, so that nothing is remembered of them that isn't true of the streams of the commands.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=clean_environment({"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'scripts'}"}),
            cwd=REPOSITORY,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is for who runs the tests
        )

    def end() -> None:
        ours.close()
        process.communicate(timeout=START_SECONDS_MAX)

    atexit.register(end)
    return ours


class _Running(NamedTuple):
    """A forked process: what tells of its end, and where that is told."""

    pid: int
    pidfd: int
    answers: socket.socket


def _serve(requests: socket.socket) -> None:
    """Fork at each request, until there are none any more."""
    selector = selectors.PollSelector()  # which has no descriptor
    selector.register(requests, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is not requests:
                selector.unregister(key.fileobj)
                _tell_end(key.data)
                continue
            request, descriptors, _, _ = socket.recv_fds(requests, REQUEST_BYTES_MAX, 4)
            if not request:
                for running in (other.data for other in selector.get_map().values() if other.data):
                    signal.pidfd_send_signal(running.pidfd, signal.SIGKILL)
                return
            if (pid := os.fork()) == 0:
                requests.close()
                for other in selector.get_map().values():
                    if other.data:
                        os.close(other.data.pidfd)
                        other.data.answers.close()
                arguments, environment, cwd = json.loads(request)
                _become(arguments, environment, cwd, descriptors)
            *standard, answer = descriptors
            for descriptor in standard:
                os.close(descriptor)
            running = _Running(pid, os.pidfd_open(pid), socket.socket(fileno=answer))
            socket.send_fds(running.answers, [b"%d" % pid], [running.pidfd])
            selector.register(running.pidfd, selectors.EVENT_READ, running)


def _tell_end(running: _Running) -> None:
    _, status = os.waitpid(running.pid, 0)
    os.close(running.pidfd)
    with running.answers, contextlib.suppress(BrokenPipeError):  # nobody waits for it
        running.answers.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(arguments: list[str], environment: dict[str, str], cwd: str, descriptors: list[int]) -> NoReturn:
    """Run nun-db to its end."""
    os.setsid()
    if os.isatty(descriptors[2]):
        fcntl.ioctl(descriptors[2], termios.TIOCSCTTY, 0)  # the session's own, or Ctrl-C were no signal
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        os.close(descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["nun-db", *arguments]
    from pynun.cli.main import main

    try:
        main()
    except SystemExit as ended:
        if not isinstance(ended.code, int):
            raise
        # What the interpreter does at its end, but for taking the modules apart, which takes longer than most commands.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(ended.code)


def _import_all() -> None:
    for module in pkgutil.walk_packages(pynun.__path__, "pynun."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


if __name__ == "__main__":
    _import_all()
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
