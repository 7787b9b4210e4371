"""Why a broker's server does not let us in, and what to do about it: the same words for every client."""

from __future__ import annotations

import ssl

CHECK_LOGIN = "check the user and the password in its URL"
NAME_AUTHORITY = "name the file of its authority's certificate in SSL_CERT_FILE"


def is_untrusted(error: BaseException | None) -> bool:
    """Say whether the server's certificate is the cause; clients wrap that in errors of their own."""
    seen: set[int] = set()  # RabbitMQ's client raises errors that are their own cause.
    while error is not None and id(error) not in seen:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False
