"""Messages as receivers get them: signed webhooks, Slack's form, e-mails; addresses that may be reached."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from console.alerts.deliver.addresses import AddressRefused, CheckedSockets, is_allowed
from console.alerts.deliver.email import EmailSender, email_of
from console.alerts.deliver.message import AlertMessage, DeliveryFailed, RuleName
from console.alerts.deliver.webhook import HttpSender, document, signature, slack_document
from console.alerts.settings import AlertsSettings

MESSAGE = AlertMessage(
    "d1", "f1", RuleName("acme", 5, "issue", "New errors"), "firing", "critical", "2026-11-27T12:00:00.000Z", "web",
    "web: ValueError: no payment", "pay.py in pay\na new issue", "http://console.test/x", 3.0, {"issue": {"id": "7"}},
)  # fmt: skip
KEY = "k" * 32
Handler = Callable[[web.Request], Any]


@asynccontextmanager
async def receiver(handler: Handler) -> AsyncIterator[str]:
    """A receiver on this machine; its address."""
    app = web.Application()
    app.router.add_post("/{tail:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def sending(**settings: Any) -> AsyncIterator[HttpSender]:
    made = {"alerts_allowed_networks": "127.0.0.0/8", "alerts_timeout_s": 5.0} | settings
    sender = HttpSender(AlertsSettings(**made), lambda: 1_790_000_000.5)
    try:
        yield sender
    finally:
        await sender.close()


@pytest.mark.asyncio
async def test_a_webhook_is_signed_over_time_and_body() -> None:
    """A receiver can check both with the secret; id and event are in headers."""
    found: dict[str, Any] = {}

    async def handler(request: web.Request) -> web.Response:
        found.update(headers=request.headers, body=await request.read(), path=request.path_qs)
        return web.Response(status=204)

    async with receiver(handler) as url, sending() as sender:
        assert await sender.webhook(MESSAGE, f"{url}/hook?token=1", KEY) == "HTTP 204"
    given_, body = found["headers"]["X-Axonpush-Signature"], found["body"]
    parts = dict(part.split("=") for part in given_.split(","))
    expected = hmac.new(KEY.encode(), f"{parts['t']}.".encode() + body, hashlib.sha256).hexdigest()
    assert (parts["v1"], found["path"]) == (expected, "/hook?token=1")
    assert found["headers"]["Idempotency-Key"] == found["headers"]["X-Axonpush-Delivery"] == "d1"
    assert found["headers"]["X-Axonpush-Event"] == "alert.firing"
    told = orjson.loads(body)
    assert (told["id"], told["delivery"], told["rule"]["kind"], told["issue"]["id"]) == ("f1", "d1", "issue", "7")


def test_the_signature_depends_on_secret_time_and_body() -> None:
    """Each of them changes it."""
    made = {signature(key, at, body) for key in ("a", "b") for at in (1, 2) for body in (b"x", b"y")}
    assert len(made) == 8


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "headers", "expected", "is_final", "wait_s"),
    [
        (500, {}, "HTTP 500: bad", False, 0.0),
        (404, {}, "HTTP 404: bad", False, 0.0),
        (410, {}, "HTTP 410: bad", True, 0.0),
        (429, {"Retry-After": "120"}, "HTTP 429: bad", False, 120.0),
        (503, {"Retry-After": "99999999"}, "HTTP 503: bad", False, 3_600.0),
        (302, {"Location": "http://169.254.169.254/"}, "HTTP 302: redirects are not followed", False, 0.0),
    ],
)
async def test_an_answer_that_is_no_success(
    status: int, headers: dict[str, str], expected: str, is_final: bool, wait_s: float
) -> None:
    """With the beginning of its text; a redirect is not followed."""

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(status=status, text="bad\n\x1b[2J", headers=headers)

    async with receiver(handler) as url, sending() as sender:
        with pytest.raises(DeliveryFailed, match=expected) as failed:
            await sender.webhook(MESSAGE, url, KEY)
    assert (failed.value.is_final, failed.value.wait_s) == (is_final, wait_s)
    assert "\x1b" not in str(failed.value)


@pytest.mark.asyncio
async def test_a_receiver_that_answers_without_end_is_cut_off() -> None:
    """A few kilobytes are read, and the rest is not waited for."""

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * 65_536)

    async with receiver(handler) as url, sending() as sender:
        assert await sender.webhook(MESSAGE, url, KEY) == "HTTP 200"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"]
)
async def test_this_machine_is_not_reached_by_any_name(host: str) -> None:
    """Nothing arrives, and the text says which setting allows it."""
    arrived = asyncio.Event()

    async def handler(_request: web.Request) -> web.Response:
        arrived.set()
        return web.Response()

    async with receiver(handler) as url, sending(alerts_allowed_networks="") as sender:
        port = url.rpartition(":")[2]
        with pytest.raises(DeliveryFailed) as failed:
            await sender.webhook(MESSAGE, f"http://{host}:{port}/", KEY)
    assert not arrived.is_set()
    # A number that is not written as an address is refused before it is one.
    assert "AXONPUSH_ALERTS_ALLOWED_NETWORKS" in str(failed.value) or "address of the action" in str(failed.value)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1",
        "fd00:ec2::254", "ff02::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1", "2002:7f00:1::", "::127.0.0.1", "2001:db8::1",
        # Teredo: of a public server, for 127.0.0.1 and for 10.0.0.1, whose bits are turned around.
        "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:0:4136:e378:8000:63bf:f5ff:fffe",
        "fec0::1", "3fff::1", "192.0.0.192", "192.88.99.1", "168.63.129.16",
        "::ffff:168.63.129.16", "no address", "",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_closed(address: str) -> None:
    """Private, loopback, link-local, metadata of clouds, documentation, and any of them inside of IPv6."""
    assert not is_allowed(address, [])


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"])
def test_a_public_address_is_open(address: str) -> None:
    """Also through NAT64."""
    assert is_allowed(address, [])


def test_a_network_of_the_settings_is_open_and_nothing_beside_it() -> None:
    """Also where it is written as IPv6."""
    allowed = AlertsSettings(alerts_allowed_networks="10.1.0.0/16, ::1").allowed_networks()
    assert is_allowed("10.1.2.3", allowed)
    assert is_allowed("::ffff:10.1.2.3", allowed)
    assert is_allowed("::1", allowed)
    assert not is_allowed("10.2.0.1", allowed)
    assert not is_allowed("127.0.0.1", allowed)


@given(number=st.integers(0, 2**128 - 1))
def test_what_is_open_is_public(number: int) -> None:
    """Any address of IPv6, hidden ones of IPv4 among them."""
    address = ipaddress.IPv6Address(number)
    if is_allowed(str(address), []):
        assert address.is_global or address in ipaddress.IPv6Network("64:ff9b::/96")
        assert address.ipv4_mapped is None or address.ipv4_mapped.is_global


def test_a_socket_is_made_for_allowed_addresses_only() -> None:
    """The last check, after every look-up of a name."""
    sockets = CheckedSockets([])
    with pytest.raises(AddressRefused):
        sockets((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))
    with pytest.raises(AddressRefused):
        sockets((socket.AF_UNIX, socket.SOCK_STREAM, 0, "", ("/run/docker.sock",)))
    sockets((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 80))).close()


@given(title=st.text(max_size=300), text=st.text(max_size=3_000), name=st.text(max_size=50))
def test_texts_of_senders_are_no_markup_in_slack(title: str, text: str, name: str) -> None:
    """They cannot mention a channel, or break the limits that Slack has."""
    message = replace(MESSAGE, title=f"<!channel>{title}", text=f"<@U1>{text}", rule=RuleName("acme", 5, "issue", name))
    made = slack_document(message)
    assert "<!channel>" not in made["text"]
    header, section, context = made["attachments"][0]["blocks"]
    assert (header["text"]["type"], section["text"]["type"]) == ("plain_text", "plain_text")
    assert len(header["text"]["text"]) <= 150
    assert len(section["text"]["text"]) <= 3_000
    assert context["elements"][0]["text"].count("<") == 1


@given(title=st.text(max_size=300), text=st.text(max_size=1_000), name=st.text(max_size=50))
def test_an_email_has_the_headers_that_we_wrote_and_no_others(title: str, text: str, name: str) -> None:
    """Whatever line breaks and control characters a sender's texts have."""
    message = replace(MESSAGE, title=f"{title}\r\nBcc: evil@x.test", text=text, rule=RuleName("a", 5, "issue", name))
    made = email_of(message, "Alerts <alerts@acme.test>", ["a@b.test"])
    raw = made.as_bytes()
    assert raw.partition(b"\n\n")[0].lower().count(b"\nbcc:") == 0
    assert made["To"] == "a@b.test"
    assert made["Message-ID"] == "<d1@acme.test>"
    plain, rich = made.iter_parts()
    assert (plain.get_content_type(), rich.get_content_type()) == ("text/plain", "text/html")


def test_the_html_of_an_email_shows_markup_as_text() -> None:
    """And the link is ours."""
    made = email_of(replace(MESSAGE, title="<script>x</script>", text="<img src=x>\nb"), "a@b.test", ["c@d.test"])
    rich = list(made.iter_parts())[1].get_content()
    assert "<script>" not in rich
    assert "<img" not in rich
    assert 'href="http://console.test/x"' in rich


@pytest.mark.asyncio
async def test_an_email_without_server_or_receivers_is_given_up() -> None:
    """The text names the setting."""
    with pytest.raises(DeliveryFailed, match="AXONPUSH_ALERTS_SMTP_HOST") as failed:
        await EmailSender(AlertsSettings()).send(MESSAGE, ["a@b.test"])
    assert failed.value.is_final
    with pytest.raises(DeliveryFailed, match="AXONPUSH_ALERTS_EMAIL_TO"):
        await EmailSender(AlertsSettings(alerts_smtp_host="mail.test")).send(MESSAGE, [])


def test_a_test_and_a_resolved_message_say_so() -> None:
    """In the first line and in the body."""
    assert replace(MESSAGE, is_test=True).headline.startswith("[Test] ")
    assert replace(MESSAGE, status="resolved").headline.startswith("Resolved: ")
    assert document(replace(MESSAGE, is_test=True))["test"] is True
