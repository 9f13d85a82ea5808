"""A real proxy for a test: the configuration of docs/proxies.md with the test's addresses in it, started and ended.

Only the process that was started here is ever signalled. Where the program is missing the test is skipped, in
continuous integration it fails.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

from tests.support.node import leave_out
from tools.clients.server import REPOSITORY, Address, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.certificates import Authority
    from tools.clients.server import Server

PACKAGES = {"nginx": "nginx-light", "caddy": "caddy", "haproxy": "haproxy", "apache": "apache2"}
START_SECONDS_MAX = 60.0

_PROGRAMS = {"nginx": "nginx", "caddy": "caddy", "haproxy": "haproxy", "apache": "apache2"}
_MODULES = "/usr/lib/apache2/modules"

_NGINX = """
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{block}
}}
"""
_CADDY = """
{{
    admin off
    auto_https disable_redirects
}}
{block}
"""
_APACHE = """
ServerName localhost
PidFile {folder}/apache.pid
ErrorLog /dev/stderr
User www-data
Group www-data
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule authz_user_module {modules}/mod_authz_user.so
LoadModule authn_core_module {modules}/mod_authn_core.so
LoadModule authn_file_module {modules}/mod_authn_file.so
LoadModule auth_basic_module {modules}/mod_auth_basic.so
LoadModule ssl_module {modules}/mod_ssl.so
LoadModule socache_shmcb_module {modules}/mod_socache_shmcb.so
LoadModule headers_module {modules}/mod_headers.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
Listen {port}
{block}
"""


class Proxy(NamedTuple):
    """Where a proxy that runs is reached."""

    https: Address
    tcp: Address
    """TLS too; of HAProxy only."""


def blocks_of(name: str) -> list[str]:
    """What the page has for a proxy: the configuration, then the lines with which it asks for a password."""
    page = (REPOSITORY / "docs" / "proxies.md").read_text(encoding="utf-8")
    return re.findall(rf"```{name}\n(.*?)```", page, re.DOTALL)


_PLACES = {
    "nginx": "\n    location /nun/ws",
    "caddy": "\n    handle /nun/ws",
    "haproxy": "    use_backend nun_http",
    "apache": "</VirtualHost>",
}
"""What stands after the lines that are added."""


def asking(name: str, user: str, password: str, folder: Path) -> str:
    """The configuration of a proxy that asks for a password of its own."""
    program = find(name)
    block, lines = blocks_of(name)
    made = {
        "caddy": [program, "hash-password", "--plaintext", password],
        "haproxy": ["openssl", "passwd", "-5", password],
    }.get(name, ["openssl", "passwd", "-apr1", password])
    hashed = subprocess.run(made, capture_output=True, text=True, check=True).stdout.strip()
    people = folder / "people"
    people.write_text(f"{user}:{hashed}\n", encoding="utf-8")
    people.chmod(0o644)  # the workers of nginx and Apache run as another user
    for placeholder, here in (("HASH", hashed), ("PEOPLE", str(people)), ("alice", user)):
        lines = lines.replace(placeholder, here)
    apart, _, within = lines.rpartition("\n\n")
    assert block.count(_PLACES[name]) == 1
    return f"{apart}\n\n" + block.replace(_PLACES[name], within + _PLACES[name])


def find(name: str) -> str:
    """The program; the test is left out where it is missing."""
    program = shutil.which(_PROGRAMS[name], path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        leave_out(f"{name} is not installed (apt-get install {PACKAGES[name]})")
    return program


@contextlib.contextmanager
def running_proxy(
    name: str, server: Server, authority: Authority, folder: Path, *without: str, block: str = ""
) -> Iterator[Proxy]:
    """Run a proxy before a server for the time of a `with`; `without` are lines of the page to leave out."""
    program = find(name)
    https, tcp = (Address("127.0.0.1", port) for port in free_ports(2))
    folder.chmod(0o755)
    certificate, key = authority.issue("proxy")
    both = folder / "all.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    changes = {
        "/etc/ssl/viewer.example.org.all.pem": str(both),
        "/etc/ssl/viewer.example.org.pem": str(certificate),
        "/etc/ssl/viewer.example.org.key": str(key),
        "127.0.0.1:3012": str(server.websocket),
        "127.0.0.1:3013": str(server.http),
        "127.0.0.1:3014": str(server.tcp),
        "listen 443": f"listen {https}",
        "bind :443": f"bind {https}",
        "bind :3015": f"bind {tcp}",
        "*:443": f"*:{https.port}",
        "viewer.example.org {": f"https://localhost:{https.port}, https://127.0.0.1:{https.port} {{",
    }
    text = block or blocks_of(name)[0]
    for line in without:
        assert line in text, line
        text = text.replace(line, "")
    for page, here in changes.items():
        text = text.replace(page, here)
    config = folder / f"{name}.conf"
    wrapped = {
        "nginx": _NGINX.format(folder=folder, block=text),
        "caddy": _CADDY.format(block=text),
        "haproxy": text,
        "apache": _APACHE.format(folder=folder, modules=_MODULES, port=https.port, block=text),
    }
    config.write_text(wrapped[name], encoding="utf-8")
    command = {
        "nginx": [program, "-p", str(folder), "-c", str(config), "-g", "daemon off;"],
        "caddy": [program, "run", "--adapter", "caddyfile", "--config", str(config)],
        "haproxy": [program, "-db", "-f", str(config)],
        "apache": [program, "-DFOREGROUND", "-d", str(folder), "-f", str(config)],
    }
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command[name],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env={**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        )
    try:
        _wait(process, https, log)
        yield Proxy(https, tcp)
    except BaseException:
        print(log.read_text(encoding="utf-8", errors="replace")[-4000:])
        raise
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], address: Address, log: Path) -> None:
    """Until the proxy accepts connections."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        with contextlib.suppress(OSError), socket.create_connection(address, 5):
            return
        assert process.poll() is None, log.read_text(encoding="utf-8", errors="replace")[-4000:]
        assert time.monotonic() < deadline, "the proxy does not listen"
        time.sleep(0.05)
