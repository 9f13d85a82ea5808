"""What can go wrong when etcd is asked."""

from __future__ import annotations

import ssl
from typing import Final

import trio

from pynun.errors import PynunError

UNAUTHENTICATED: Final = 16
NOT_FOUND: Final = 5
PERMISSION_DENIED: Final = 7
"""Codes of gRPC, as etcd uses them."""


class EtcdError(PynunError):
    """etcd refused a request, and would refuse it again."""

    def __init__(self, code: int, message: str) -> None:
        """`code` is a gRPC status code, `message` etcd's own text."""
        super().__init__(f"etcd: {message}")
        self.code = code
        self.message = message


class BusyError(EtcdError):
    """A member can't answer now (no leader, overloaded, its space used up): another or a later try may succeed."""


class LoginError(EtcdError):
    """The token is missing, expired, or older than the users are: log in, and repeat."""


class UnreachableError(PynunError):
    """No member of etcd answered in time. What was asked for may have happened or not."""


class CompactedError(PynunError):
    """The revision to watch from is gone: read the range again, and watch from there."""


def certificate_trouble(error: BaseException) -> str | None:
    """What is wrong with a certificate, if the connection failed because of one."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted here: {error.verify_message}"
    name = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    _, is_alert, alert = name.partition("_ALERT_")
    if is_alert:
        return f"it does not accept this node's certificate: {alert.replace('_', ' ').lower()}"
    return None


def reason(error: Exception) -> str:
    """Why a member did not answer, in a few words."""
    if isinstance(error, EtcdError):
        return error.message
    if isinstance(error, trio.TooSlowError):
        return "timed out"
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):  # trio tells what became of each address
        cause = cause.exceptions[0]
    for one in (error, cause):
        if one is not None and (trouble := certificate_trouble(one)) is not None:
            return trouble
        if isinstance(one, OSError) and one.strerror:
            return one.strerror
    return str(error) or type(error).__name__
