"""Which certificate authority (CA) a command trusts: `--ca FILE`, else NUN_CA, else those of the system."""

from __future__ import annotations

from typing import NamedTuple

from pynun.cli.errors import UsageError


class Authority(NamedTuple):
    """What was given."""

    option: str | None
    variable: str | None

    def file_for(self, is_encrypted: bool, scheme: str) -> str | None:
        """The CA file for a connection; None for the system's, or without TLS.

        Raises UsageError for an option without effect: the user would believe that the connection is encrypted.
        """
        if not is_encrypted:
            if self.option:
                raise UsageError(f"--ca is for {scheme} addresses: this one is not encrypted")
            return None
        return self.option or self.variable or None


NO_AUTHORITY = Authority(None, None)
