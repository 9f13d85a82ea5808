"""Runs a document's marked blocks in order, as a reader would type them, in an empty folder with a server of its own.

What a reader types meets a server on the usual ports. Here the server has ports of its own, so `scripts/run` and
`nun-db` are stand-ins that run this checkout and name its addresses, and addresses in the texts are replaced.
What differs from run to run (times, ports, process ids, folders) is replaced in both texts before they are compared.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from tests.docs import session
from tools.clients.server import REPOSITORY, Address, Server, clean_environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.docs.blocks import Block

TIMEOUT_SECONDS = 90.0
OUTPUT = "text output"

_STAND_IN = """\
#!/bin/sh
case " $* " in
    *" create-db "* | *" exec "* | *" databases "* | *" users "* | *" permissions "* | *" sessions "* \\
        | *" admins "* | *" password "* | *" status "* | *" top "*)
        set -- -h "http://$HTTP" "$@" ;;
    *" shell "* | *" watch "*) set -- -h "ws://$WEBSOCKET" "$@" ;;
esac
exec "$PYTHON" -P -m pynun "$@"
"""

_SBOM_STAND_IN = f"""\
#!/bin/sh
PYTHONPATH="{REPOSITORY}/scripts:{REPOSITORY}" exec "$PYTHON" -P -m tools.sbom "$@"
"""

_VARIABLE_PARTS = (
    (re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{9}Z"), "TIME"),
    (re.compile(r"\b(?:127\.0\.0\.1|0\.0\.0\.0|localhost):[0-9]+"), "ADDRESS"),
    (re.compile(r"(?m)^.* on all addresses without TLS: .*\n"), ""),  # the tests' servers listen on 127.0.0.1
    (re.compile(r"(kill|process_id:|process) [0-9]+"), r"\1 ID"),
    (re.compile(r"(data: |data folder )\S+"), r"\1FOLDER"),
)


def normalised(text: str) -> str:
    """Return a text with what differs from run to run replaced, and without blanks at the ends of its lines."""
    for pattern, replacement in _VARIABLE_PARTS:
        text = pattern.sub(replacement, text)
    return "\n".join(line.rstrip() for line in text.rstrip().split("\n"))


class Follower:
    """A command that goes on in a terminal of its own until Ctrl-C."""

    def __init__(self, process: subprocess.Popen[str], output: Block) -> None:
        self._process = process
        self._output = output
        self._expected = normalised(output.text).split("\n")
        self._printed: list[str] = []
        self._is_ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_begun(self) -> None:
        """Return once it has printed a line: from then on it follows."""
        self._wait(1)

    def finish(self) -> None:
        """Press Ctrl-C once everything is printed that should be, and compare."""
        self._wait(len(self._expected))
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(TIMEOUT_SECONDS)
        self._reader.join(TIMEOUT_SECONDS)
        printed = normalised("".join(self._printed)).split("\n")
        assert printed == self._expected, f"{self._output}: it prints {printed}"
        assert code == 0, f"{self._output}: exit {code}"

    def abandon(self) -> None:
        """End it, however it went."""
        self._process.kill()  # does nothing if it has ended
        self._process.wait(TIMEOUT_SECONDS)
        self._reader.join(TIMEOUT_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._printed.append(line)
                self._changed.notify_all()
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def _wait(self, count: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._printed) >= count or self._is_ended, TIMEOUT_SECONDS)
        assert len(self._printed) >= count, f"{self._output}: it prints only {self._printed}"


class Story:
    """One document being lived through."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._followers: list[Follower] = []
        self._server = Server(folder / "dbs")
        scripts = folder / "scripts"
        scripts.mkdir()
        for stand_in, text in (
            (scripts / "run", _STAND_IN),
            (folder / "nun-db", _STAND_IN),
            (scripts / "sbom", _SBOM_STAND_IN),
        ):
            stand_in.write_text(text)
            stand_in.chmod(0o755)

    def end(self) -> None:
        """End what follows, and stop the server; all must have gone well to its end."""
        for follower in self._followers:
            follower.finish()
        if self._server.is_running:
            assert self._server.stop() == 0, self._server.log_text()

    def abandon(self) -> None:
        """Stop everything, however the story went."""
        for follower in self._followers:
            follower.abandon()
        self._server.end()

    def run(self, block: Block, output: Block | None) -> None:
        """Do what a block says and compare what it prints, if that is shown. Raises AssertionError."""
        how = block.info.partition(" ")[2]
        if block.info == "session":
            session.play(block, self._need_server())
            return
        if how == "run=server":
            assert re.search(r"-u user-name -p user-pwd start\b", block.text), f"{block}: not the documents' server"
            for name, value in re.findall(r"\b(NUN_\w+)=(\S+)", block.text):
                file = self._folder / value
                self._server.environment[name] = str(file) if file.exists() else value
            self._need_server()
            # The first line of the audit trail may follow the one that says ready.
            printed = re.sub(r"(?s)(\] ready; [^\n]*).*", r"\1", "\n".join(self._server.output))
        elif how == "run=follow":
            assert output is not None, f"{block}: what does it print?"
            follower = self._follow(block, output)
            self._followers.append(follower)
            follower.wait_begun()
            return
        elif block.info == "sh run":
            printed = self._run(["bash", "-euo", "pipefail", "-c", self._moved(block.text)], block)
        elif block.info == "python run":
            printed = self._run([sys.executable, "-P", "-c", self._moved(block.text)], block)
        else:
            raise AssertionError(f"{block}: what is {block.info!r}?")
        if output is not None:
            assert normalised(printed) == normalised(output.text), f"{output}: it prints\n{printed}"

    def _need_server(self) -> Server:
        if not self._server.is_running:
            self._server.start()
        return self._server

    def _moved(self, text: str) -> str:
        """Return a text with the usual addresses replaced by those of this server."""
        if not self._server.is_running:
            return text
        for port, address in ((3012, self._server.websocket), (3013, self._server.http), (3014, self._server.tcp)):
            text = re.sub(rf"\b(?:127\.0\.0\.1|localhost):{port}\b", str(address), text)
            text = text.replace(f"/dev/tcp/127.0.0.1/{port}", f"/dev/tcp/{address.host}/{address.port}")  # bash's own
        return text

    def _environment(self) -> dict[str, str]:
        nowhere = Address("127.0.0.1", 1)
        is_running = self._server.is_running
        return clean_environment(
            {
                "PATH": f"{self._folder}:{os.environ['PATH']}",
                "PYTHON": sys.executable,
                "HTTP": str(self._server.http if is_running else nowhere),
                "WEBSOCKET": str(self._server.websocket if is_running else nowhere),
            }
        )

    def _follow(self, block: Block, output: Block) -> Follower:
        process = subprocess.Popen(
            ["bash", "-euc", f"exec {self._moved(block.text)}"],
            cwd=self._folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        return Follower(process, output)

    def _run(self, arguments: list[str], block: Block) -> str:
        process = subprocess.run(
            arguments,
            cwd=self._folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        assert process.returncode == 0, f"{block}: exit {process.returncode}\n{process.stdout}{process.stderr}"
        return process.stdout + process.stderr
