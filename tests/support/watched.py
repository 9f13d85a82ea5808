"""A server's own pages, as a monitor asks for them; and disks that are full."""

from __future__ import annotations

import base64
import contextlib
import http.client
import resource
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from prometheus_client.core import Metric

    from tools.clients.server import Address, Server

ANSWER_SECONDS_MAX = 30.0


class Answer(NamedTuple):
    """What came back."""

    status: int
    text: str
    content_type: str


def request(
    address: Address,
    path: str,
    method: str = "GET",
    body: bytes | None = None,
    tls: ssl.SSLContext | None = None,
    login: str | None = None,
) -> Answer:
    """Make one request and return its answer."""
    connection = (
        http.client.HTTPConnection(*address, timeout=ANSWER_SECONDS_MAX)
        if tls is None
        else http.client.HTTPSConnection("localhost", address.port, timeout=ANSWER_SECONDS_MAX, context=tls)
    )
    with contextlib.closing(connection):
        headers = {}
        if login is not None:
            headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode(), response.getheader("Content-Type", ""))


def wait_until(is_so: Callable[[], bool], seconds_max: float = 60.0) -> None:
    """Wait until something is so; an assertion fails if that takes too long."""
    deadline = time.monotonic() + seconds_max
    while not is_so():
        assert time.monotonic() < deadline, f"not so within {seconds_max} s"
        time.sleep(0.05)


class Scrape:
    """One look at the metrics. `login` is `USER:PASSWORD` of the administrator, who sees names of databases."""

    def __init__(self, address: Address, tls: ssl.SSLContext | None = None, login: str | None = None) -> None:
        answer = request(address, "/metrics", tls=tls, login=login)
        assert answer.status == 200, answer
        assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
        self.text = answer.text
        self.families: dict[str, Metric] = {
            family.name: family for family in text_string_to_metric_families(answer.text)
        }
        self.values = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """The one number of that name with exactly these labels."""
        return self.values[name, tuple(sorted(labels.items()))]


@contextlib.contextmanager
def growth_forbidden(server: Server) -> Iterator[None]:
    """Let no file of the server grow, for the time of the block: to LMDB a disk that is full."""
    before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    size_bytes = (server.data_dir / "data.mdb").stat().st_size
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of that size (`8m`) mounted on a folder; skips the test where that is not allowed."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


class FailingDisk:
    """A file mounted on a folder, which can be made not to answer, or to fail."""

    def __init__(self, folder: Path, image: Path) -> None:
        self.folder = folder
        self._image = image

    def hang(self) -> None:
        """What writes to it waits, in the kernel."""
        subprocess.run(["fsfreeze", "--freeze", str(self.folder)], check=True)

    def answer(self) -> None:
        """Go on after `hang`."""
        subprocess.run(["fsfreeze", "--unfreeze", str(self.folder)], capture_output=True, check=False)

    @contextlib.contextmanager
    def holding(self, *files: Path) -> Iterator[None]:
        """Move some files to it, seen where they were."""
        with contextlib.ExitStack() as mounted:
            for file in files:
                shutil.copy2(file, self.folder)
                subprocess.run(["mount", "--bind", str(self.folder / file.name), str(file)], check=True)
                mounted.callback(subprocess.run, ["umount", "-l", str(file)], check=False)
            mounted.callback(self.answer)  # or who writes to them can't be killed
            yield

    def fail(self) -> None:
        """Make it read-only, as ext4 does it after a disk error."""
        subprocess.run(["mount", "-o", "remount,abort", str(self.folder)], check=True)

    @contextlib.contextmanager
    def repaired(self, folder: Path) -> Iterator[Path]:
        """Mount what the disk holds on another folder, after fsck(8). A copy: a namespace may still have it mounted."""
        image = folder.with_suffix(".image")
        shutil.copyfile(self._image, image)
        assert subprocess.run(["fsck.ext4", "-p", str(image)], capture_output=True, check=False).returncode in (0, 1)
        with _mounted(image, folder):
            yield folder


@contextlib.contextmanager
def _mounted(image: Path, folder: Path) -> Iterator[None]:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-o", "loop", str(image), str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@contextlib.contextmanager
def failing_disk(folder: Path, mib: int = 16) -> Iterator[FailingDisk]:
    """Mount a file as a disk on a folder; skips the test where that is not allowed."""
    image = folder.with_suffix(".image")
    with image.open("wb") as file:
        file.truncate(mib * 1024 * 1024)
    made = subprocess.run(["mkfs.ext4", "-q", str(image)], capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    with _mounted(image, folder):
        disk = FailingDisk(folder, image)
        try:
            yield disk
        finally:
            disk.answer()


def fill(file: Path) -> None:
    """Write a file until the disk is full."""
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(65536))
