"""TLS for connections to NATS."""

from __future__ import annotations

import ssl

from ops.runtime.settings import Settings


def tls_context(settings: Settings) -> ssl.SSLContext:
    """The TLS context: CA certificates and client certificate. Raises OSError if a file is missing or not PEM."""
    context = ssl.create_default_context(cafile=settings.nats_tls_ca or None)
    if settings.nats_tls_cert:
        context.load_cert_chain(settings.nats_tls_cert, settings.nats_tls_key or None)
    return context
