"""Certificate authorities of the tests' own, and the files that servers and clients want of them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import trustme

from tools.clients.exact_clients import SERVER_NAME

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable
    from pathlib import Path


class Authority:
    """An authority nobody else trusts; its files are in the folder."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self._folder = folder
        self.file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def issue(
        self,
        name: str = "server",
        hosts: Iterable[str] = (SERVER_NAME, "127.0.0.1"),
        not_after: datetime.datetime | None = None,
    ) -> tuple[Path, Path]:
        """Write a new certificate for the hosts, and its key; over the files of that name, if there are any."""
        issued = self._authority.issue_cert(*hosts, not_after=not_after)
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}-key.pem"
        certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        return certificate, key

    def environment(self, name: str = "server") -> dict[str, str]:
        """Issue a certificate and return the settings with which a server uses it."""
        certificate, key = self.issue(name)
        return {"NUN_TLS_CERT": str(certificate), "NUN_TLS_KEY": str(key)}

    def trusting(self) -> ssl.SSLContext:
        """What a client needs to trust this authority."""
        return ssl.create_default_context(cafile=str(self.file))
