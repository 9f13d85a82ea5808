"""The private CA that a client trusts instead of those of the system, read from a file.

Imported only where TLS is spoken.
"""

from __future__ import annotations

import os
import ssl


def context_trusting(ca: str | None) -> ssl.SSLContext:
    """What a client needs to check the server's certificate and name, TLS 1.2 and up.

    `ca` names a PEM file with the certificates of the authorities that are trusted, and no others; None: the system's.
    Raises ValueError with one line that says what is wrong with the file.
    """
    if ca is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise ValueError(f"the CA file {ca!r} holds no certificate in PEM format") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"the CA file {ca!r} can't be read: {reason}") from None


def explain_distrust(error: ssl.SSLCertVerificationError) -> str:
    """Why a certificate was not accepted, and what to do, as the end of a sentence that names the server."""
    if error.verify_code in _OTHER_NAME_CODES:
        return f"is for another name ({error.verify_message}): name the server as its certificate does"
    text = f"is not trusted ({error.verify_message}): --ca FILE, or NUN_CA, names the authority that signed it"
    system = os.environ.get(_SYSTEM_VARIABLE)
    if system and not os.access(system, os.R_OK):
        text += f" ({_SYSTEM_VARIABLE} names {system!r}, which can't be read)"
    return text


_SYSTEM_VARIABLE = "SSL_CERT_FILE"
"""OpenSSL reads the system's authorities from the file that it names, and does not say when there is none."""

_OTHER_NAME_CODES = frozenset({62, 63, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH, _EMAIL_MISMATCH and _IP_ADDRESS_MISMATCH of OpenSSL's x509_vfy.h."""
