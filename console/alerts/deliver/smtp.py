"""One mail over SMTP, in the thread of the caller, with one deadline for all answers of the server together.

smtplib limits each wait for bytes, so a server that is slow but never silent could take for ever; and whoever stops
waiting for the thread cannot know whether the mail was sent.
"""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from console.alerts.settings import AlertsSettings

# The answer to the mail itself: the server looks for spam meanwhile. If it does not come, the mail may be sent twice.
LAST_ANSWER_S: Final = 60.0
LEAVE_S: Final = 2.0


def deadline_s(settings: AlertsSettings, receivers: int) -> float:
    """For everything before the mail itself: each receiver is a question."""
    return settings.alerts_timeout_s * (3 + receivers / 2)


def send(settings: AlertsSettings, built: EmailMessage, receivers: Sequence[str]) -> Mapping[str, tuple[int, bytes]]:
    """The receivers that were refused while others were accepted. Raises SMTPException, OSError."""
    context = ssl.create_default_context()
    seconds = deadline_s(settings, len(receivers))
    client: _Client | _TlsClient
    if settings.alerts_smtp_security == "tls":
        client = _TlsClient(seconds, timeout=settings.alerts_timeout_s, context=context)
    else:
        client = _Client(seconds, timeout=settings.alerts_timeout_s)
    try:
        client.connect(settings.alerts_smtp_host, settings.alerts_smtp_port)
        if settings.alerts_smtp_security == "starttls":
            client.starttls(context=context)
        if settings.alerts_smtp_user:
            client.login(settings.alerts_smtp_user, settings.alerts_smtp_password.get_secret_value())
        return client.send_message(built, to_addrs=list(receivers))
    except (smtplib.SMTPServerDisconnected, OSError):
        if client.is_over:
            raise TimeoutError from None
        raise
    finally:
        client.leave()


class _Client(smtplib.SMTP):
    """Its connection is cut when the deadline is over, whatever the thread waits for. The mail has one of its own."""

    def __init__(self, seconds: float, **options: Any) -> None:
        super().__init__(**options)
        self.is_over = False
        self._timer: threading.Timer | None = None
        self._begin_deadline(seconds)

    def data(self, msg: Any) -> tuple[int, bytes]:
        """The mail; not begun after the deadline, and then not given up halfway."""
        if self.is_over:
            raise TimeoutError
        if self.sock is not None:
            self.sock.settimeout(LAST_ANSWER_S)
        self._begin_deadline(LAST_ANSWER_S)
        return super().data(msg)

    def leave(self) -> None:
        """Whatever the server says to that: the mail is sent, or is not."""
        self._begin_deadline(LEAVE_S)
        with contextlib.suppress(smtplib.SMTPException, OSError):
            self.quit()
        self.close()
        self._end_deadline()

    def _end_deadline(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _begin_deadline(self, seconds: float) -> None:
        self._end_deadline()
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def _cut(self) -> None:
        self.is_over = True
        if isinstance(self.sock, socket.socket):
            with contextlib.suppress(OSError):
                # Of the connection itself: the part for TLS is in use by the other thread.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class _TlsClient(_Client, smtplib.SMTP_SSL):
    """The same with TLS from the first byte."""
