"""Messages by e-mail: text and HTML, over SMTP with STARTTLS or TLS. The client blocks, so it runs in a thread."""

from __future__ import annotations

import asyncio
import html
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from typing import TYPE_CHECKING, Final

from console.alerts.deliver import smtp
from console.alerts.deliver.message import AlertMessage, DeliveryFailed, one_line

if TYPE_CHECKING:
    from console.alerts.settings import AlertsSettings

_SUBJECT: Final = 150
# Mails of rules that are sent side by side, and of tests: neither waits for the other.
MAILS_AT_ONCE: Final = 4
TESTS_AT_ONCE: Final = 4
# Answers of a mail server that another try will not change.
_FINAL: Final = range(550, 560)


class EmailSender:
    """Sends e-mails through the server of the settings, in threads of its own. `close` it."""

    def __init__(self, settings: AlertsSettings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(MAILS_AT_ONCE + TESTS_AT_ONCE, "mail")

    def close(self) -> None:
        """Begins no more of them."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def send(self, message: AlertMessage, to: Sequence[str]) -> str:
        """The answer in a few words. Raises DeliveryFailed; with `left`, if some receivers are to be tried again.

        It waits until the thread has ended: before that nobody knows whether the mail was sent.
        """
        settings = self._settings
        receivers = list(to) or list(settings.default_receivers())
        if not settings.alerts_smtp_host:
            raise DeliveryFailed("no mail server: set AXONPUSH_ALERTS_SMTP_HOST of `axonpush alerts`", is_final=True)
        if not receivers:
            text = "no receivers: name them in the action, or in AXONPUSH_ALERTS_EMAIL_TO of `axonpush alerts`"
            raise DeliveryFailed(text, is_final=True)
        if not all(settings.may_mail(address) for address in receivers):
            text = "AXONPUSH_ALERTS_EMAIL_DOMAINS of `axonpush alerts` does not have the domain of a receiver"
            raise DeliveryFailed(text, is_final=True)
        built = email_of(message, settings.alerts_email_from, receivers)
        loop = asyncio.get_running_loop()
        try:
            refused = await loop.run_in_executor(self._threads, smtp.send, settings, built, receivers)
        except smtplib.SMTPResponseException as error:
            raise DeliveryFailed(
                f"mail server: {error.smtp_code} {one_line(_text(error.smtp_error), 200)}",
                is_final=error.smtp_code in _FINAL,
            ) from None
        except smtplib.SMTPRecipientsRefused as error:
            failed = _refused("all receivers refused", error.recipients)
            failed.left = failed.left if len(failed.left) < len(receivers) else ()  # nobody has it: all of it again
            raise failed from None
        except (smtplib.SMTPException, OSError, TimeoutError) as error:
            raise DeliveryFailed(f"mail server: {_why(error)}") from None
        return self._accepted(refused)

    def _accepted(self, refused: Mapping[str, tuple[int, bytes]]) -> str:
        """Raises DeliveryFailed where a receiver that was refused may be accepted later."""
        accepted = f"accepted by {self._settings.alerts_smtp_host}"
        if not refused:
            return accepted
        failed = _refused("some receivers refused", refused)
        if failed.left:
            raise failed
        return f"{accepted}, but not for {', '.join(sorted(refused))}"


def _refused(text: str, recipients: Mapping[str, tuple[int, bytes]]) -> DeliveryFailed:
    """Final if all are refused for ever. `left`: the others."""
    codes = sorted({code for code, _ in recipients.values()})
    left = tuple(address for address, (code, _) in recipients.items() if code not in _FINAL)
    shown = f"mail server: {text} ({', '.join(map(str, codes))})"
    return DeliveryFailed(shown, is_final=not left, left=left)


def email_of(message: AlertMessage, sender: str, receivers: Sequence[str]) -> EmailMessage:
    """The e-mail. Its id is that of the delivery, so that a second copy can be seen to be one."""
    domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    built = EmailMessage()
    built["Subject"] = one_line(message.headline, _SUBJECT) or "(no title)"
    built["From"] = sender
    built["To"] = ", ".join(receivers)
    built["Date"] = formatdate()
    built["Message-ID"] = f"<{message.delivery_id}@{domain}>"
    built["X-Axonpush-Delivery"] = message.delivery_id
    built["Auto-Submitted"] = "auto-generated"
    built.set_content(_plain(message))
    built.add_alternative(_html(message), subtype="html")
    return built


def _plain(message: AlertMessage) -> str:
    link = f"\n{message.url}\n" if message.url else ""
    return f"{message.headline}\n\n{printable(message.text)}\n{link}\n-- \n{_source(message)}\n"


def _html(message: AlertMessage) -> str:
    text = "<br>".join(html.escape(line) for line in printable(message.text).splitlines())
    link = f'<p><a href="{html.escape(message.url, quote=True)}">Open</a></p>' if message.url else ""
    return (
        f'<div style="border-left:4px solid {message.colour};padding-left:12px;font-family:sans-serif">'
        f"<h2>{html.escape(message.headline)}</h2><p>{text}</p>{link}"
        f'<p style="color:#646b73">{html.escape(_source(message))}</p></div>'
    )


def _source(message: AlertMessage) -> str:
    return one_line(f"Rule {message.rule.name}, project {message.project}, {message.at}", 300)


def printable(text: str) -> str:
    """Without control characters; lines stay lines."""
    return "\n".join("".join(letter if letter.isprintable() else " " for letter in line) for line in text.splitlines())


def _text(error: object) -> str:
    return error.decode("utf-8", "replace") if isinstance(error, bytes) else str(error)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return "its certificate is not valid, or it does not speak TLS"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return "it has no STARTTLS or no login: see AXONPUSH_ALERTS_SMTP_SECURITY"
    return "no connection" if isinstance(error, OSError) else type(error).__name__
