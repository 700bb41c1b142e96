"""Messages over HTTP: a signed webhook, and the form that Slack's incoming webhooks take."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from console.alerts.deliver.addresses import AddressRefused, CheckedSockets
from console.alerts.deliver.message import AlertMessage, DeliveryFailed, one_line

if TYPE_CHECKING:
    from console.alerts.settings import AlertsSettings

USER_AGENT: Final = "axonpush-alerts/1"
SIGNATURE_HEADER: Final = "X-Axonpush-Signature"
# Of an answer: enough for an error text, and nobody can fill the memory.
MAX_ANSWER_BYTES: Final = 4_096
_SHOWN_CHARACTERS: Final = 200
_GONE: Final = 410
_LONGEST_WAIT_S: Final = 3_600.0
# Slack refuses longer texts.
_SLACK_TITLE: Final = 150
_SLACK_TEXT: Final = 2_900


class HttpSender:
    """Sends to addresses that are allowed: no redirects, proxies or cookies, bounded time and answer. `close` it."""

    def __init__(self, settings: AlertsSettings, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._timeout = aiohttp.ClientTimeout(total=settings.alerts_timeout_s)
        connector = aiohttp.TCPConnector(
            socket_factory=CheckedSockets(settings.allowed_networks()), use_dns_cache=False, force_close=True
        )
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
        )

    async def close(self) -> None:
        """Closes its connections."""
        await self._session.close()

    async def webhook(self, message: AlertMessage, url: str, key: str) -> str:
        """The answer in a few words. Raises DeliveryFailed."""
        body = orjson.dumps(document(message))
        now_s = int(self._now_s())
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": message.delivery_id,
            "X-Axonpush-Delivery": message.delivery_id,
            "X-Axonpush-Event": f"alert.{'test' if message.is_test else message.status}",
            SIGNATURE_HEADER: signature(key, now_s, body),
        }
        return await self._post(url, body, headers)

    async def slack(self, message: AlertMessage, url: str) -> str:
        """The answer in a few words. Raises DeliveryFailed."""
        return await self._post(url, orjson.dumps(slack_document(message)), {"Content-Type": "application/json"})

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> str:
        try:
            async with self._session.post(
                url,
                data=body,
                headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers},
                allow_redirects=False,
                timeout=self._timeout,
            ) as answer:
                text = (await answer.content.read(MAX_ANSWER_BYTES)).decode("utf-8", "replace")
                return _judged(answer.status, text, answer.headers)
        except TimeoutError:
            raise DeliveryFailed("no answer in time") from None
        except aiohttp.InvalidURL:
            raise DeliveryFailed("the address of the action is none", is_final=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise DeliveryFailed(_why(error)) from None


def signature(key: str, now_s: int, body: bytes) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA256 with the secret over `SECONDS.` and the body."""
    digest = hmac.new(key.encode(), b"%d.%s" % (now_s, body), hashlib.sha256).hexdigest()
    return f"t={now_s},v1={digest}"


def document(message: AlertMessage) -> dict[str, Any]:
    """The body of a webhook: docs/alerts.md describes it."""
    rule = message.rule
    return {
        "version": 1,
        "id": message.firing_id,
        "delivery": message.delivery_id,
        "status": message.status,
        "severity": message.severity,
        "test": message.is_test,
        "at": message.at,
        "rule": {"id": str(rule.rule_id), "name": rule.name, "kind": rule.kind},
        "organisation": rule.organisation,
        "project": message.project,
        "title": message.headline,
        "message": message.text,
        "url": message.url,
        "value": message.value,
        **message.details,
    }


def slack_document(message: AlertMessage) -> dict[str, Any]:
    """Blocks with a coloured strip; texts of senders are plain, so they can mention nobody."""
    title = one_line(message.headline, _SLACK_TITLE)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": title or "(no title)", "emoji": False}},
        {"type": "section", "text": {"type": "plain_text", "text": message.text[:_SLACK_TEXT] or "-", "emoji": False}},
    ]
    link = f"<{escaped(message.url)}|Open> · " if message.url else ""
    named = escaped(one_line(f"{message.rule.name} · {message.project} · {message.at}", 300))
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": f"{link}{named}"}]})
    return {"text": escaped(title), "attachments": [{"color": message.colour, "blocks": blocks}]}


def escaped(text: str) -> str:
    """The three characters that Slack reads."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _judged(status: int, text: str, headers: Mapping[str, str]) -> str:
    if 200 <= status < 300:
        return f"HTTP {status}"
    if 300 <= status < 400:
        raise DeliveryFailed(f"HTTP {status}: redirects are not followed; name the address that it leads to")
    wait_s = _wait_s(headers.get("Retry-After", ""))
    said = one_line(text, _SHOWN_CHARACTERS)
    raise DeliveryFailed(f"HTTP {status}{f': {said}' if said else ''}", is_final=status == _GONE, wait_s=wait_s)


def _wait_s(text: str) -> float:
    return min(float(text), _LONGEST_WAIT_S) if text.isascii() and text.isdigit() and len(text) < 9 else 0.0


def _why(error: Exception) -> str:
    """In words, without the address: its path may be a password."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AddressRefused):
            return str(cause)
        cause = getattr(cause, "os_error", None) or cause.__cause__
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name of the host is not known"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "its certificate is not valid"
    if isinstance(error, aiohttp.ClientConnectorError | ConnectionError):
        return "no connection"
    return f"no answer ({type(error).__name__})"
