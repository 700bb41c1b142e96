"""Which function splits the bodies of which Sentry route. A new endpoint is one module and one line here."""

from __future__ import annotations

from typing import Final

from schemas import subjects
from workers.unpack import attachments, cron, envelope, minidump, security, store
from workers.unpack.pieces import Reader

READERS: Final[dict[str, Reader]] = {
    subjects.SENTRY_ENVELOPE: envelope.read,
    subjects.SENTRY_STORE: store.read,
    subjects.SENTRY_CRON: cron.read,
    subjects.SENTRY_SECURITY: security.read,
    subjects.SENTRY_MINIDUMP: minidump.read,
    subjects.SENTRY_ATTACHMENT: attachments.read,
}
