"""TLS of connections to NATS."""

from __future__ import annotations

import ssl

from ops.runtime.settings import Settings


def tls_context(settings: Settings) -> ssl.SSLContext:
    """How NATS servers are checked and what they are shown. Raises OSError for a file that is missing or no PEM."""
    context = ssl.create_default_context(cafile=settings.nats_tls_ca or None)
    if settings.nats_tls_cert:
        context.load_cert_chain(settings.nats_tls_cert, settings.nats_tls_key or None)
    return context
