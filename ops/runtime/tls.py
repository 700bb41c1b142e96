"""TLS for connections to NATS."""

from __future__ import annotations

import ssl

from ops.runtime.failures import Failed
from ops.runtime.settings import Settings


def tls_context(settings: Settings) -> ssl.SSLContext:
    """The TLS context: CA certificates and client certificate. Raises Failed if a file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=settings.nats_tls_ca or None)
    except OSError as error:
        raise _unusable("AXONPUSH_NATS_TLS_CA", settings.nats_tls_ca, "CA certificates", error) from error
    if settings.nats_tls_cert:
        try:
            context.load_cert_chain(settings.nats_tls_cert, settings.nats_tls_key or None)
        except OSError as error:
            files = ", ".join(filter(None, (settings.nats_tls_cert, settings.nats_tls_key)))
            what = "a certificate and its private key"
            raise _unusable("AXONPUSH_NATS_TLS_CERT and AXONPUSH_NATS_TLS_KEY", files, what, error) from error
    return context


def _unusable(variables: str, files: str, what: str, error: OSError) -> Failed:
    reason = "no such file, or no permission to read it"
    if isinstance(error, ssl.SSLError):
        reason = f"other content ({error.reason or 'no PEM'})"
    return Failed(f"{variables}: expected {what} in PEM form in {files}, found {reason}: correct the name or the file")
