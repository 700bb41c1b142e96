"""Alert rules on the page: one is made, tried and fires; its webhook is told, and the page says so."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import contents
from tests.browser.browser import Browser
from tests.live.console.web_api import Api
from tests.polling import eventually
from tests.receivers_of_alerts import MailServer
from tests.system import System

pytestmark = pytest.mark.clients
ORGANISATION = "/organizations/default"
ADDRESS = "form.rule input[aria-label='Address of message 1']"


class Receiver:
    """A webhook on this machine."""

    def __init__(self) -> None:
        told = self.told = list[dict[str, Any]]()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """It ends with the test."""
    made = Receiver()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()


def test_a_rule_is_made_tried_and_fires(signed_in: Browser, system: System, receiver: Receiver) -> None:
    """Its secret is shown once; an error reaches the webhook; the page names it; it is renamed and deleted."""
    signed_in.visit(f"{ORGANISATION}/alerts/")
    signed_in.do("click", selector="button:has-text('New rule')")
    signed_in.do("fill", selector="form.rule input[name=name]", text=f"Told {contents.MARKUP}")
    signed_in.do("fill", selector="form.rule input[name=environment]", text="")
    signed_in.do("click", selector="form.rule button:has-text('Would it have fired?')")
    signed_in.do("wait", selector="form.rule [role=status]:has-text('It would have fired')")
    assert receiver.told == []
    signed_in.do("fill", selector=ADDRESS, text=receiver.url)
    signed_in.do("click", selector="form.rule button:has-text('Send a test')")
    signed_in.do("wait", selector="form.rule [role=status]:has-text('delivered. HTTP 204')")
    assert len(receiver.told) == 1
    signed_in.do("click", selector="form.rule button:has-text('Make the rule')")
    signed_in.do("wait", selector="dialog code")
    secret = signed_in.do("text", selector="dialog code")
    signed_in.do("click", selector="dialog button:has-text('I have copied it')")
    signed_in.do("wait", selector="#firings")
    rule = signed_in.do("url").rstrip("/").rpartition("/")[2]
    path = f"{ORGANISATION}/alerts/{rule}/"
    eventually(lambda: Api(system)("GET", path)["state"]["status"] == "ok", "the rule to be evaluated")
    contents.envelope(system.ready, ("event", contents.error("AlertMe", contents.MARKUP)))
    eventually(lambda: any("AlertMe" in json.dumps(told) for told in receiver.told), "the message")
    eventually(
        lambda: Api(system)("GET", f"{ORGANISATION}/alerts/deliveries/", rule=rule, status="delivered"), "the delivery"
    )
    signed_in.visit(path)
    signed_in.do("wait", selector="tr:has-text('AlertMe') a")
    signed_in.do("wait", selector="section[aria-labelledby=deliveries] .badge:has-text('delivered')")
    assert secret not in signed_in.do("evaluate", script="document.documentElement.innerHTML")
    signed_in.do("click", selector="button:has-text('Change')")
    signed_in.do("click", selector="form.rule button:has-text('Send a test')")
    signed_in.do("wait", selector="form.rule [role=status]:has-text('delivered. HTTP 204')")
    assert receiver.told[-1]["test"], "by the address that only the server knows"
    signed_in.do("fill", selector="form.rule input[name=name]", text="Renamed rule")
    signed_in.do("click", selector="form.rule button:has-text('Save')")
    signed_in.do("wait", selector="h1:has-text('Renamed rule')")
    assert [action["target"] for action in Api(system)("GET", path)["actions"]] == [receiver.url]
    signed_in.do("click", selector="button:has-text('Delete')")
    signed_in.do("click", selector="dialog button:has-text('Delete')")
    signed_in.do("wait", selector="h1:has-text('Alerts')")
    assert Api(system).answer("GET", path)[0] == 404
    assert signed_in.do("evaluate", script="window.broken") is None


def test_a_rule_tells_by_email(signed_in: Browser, system: System, mail_server: MailServer) -> None:
    """To two receivers: the test, and then the error, whose texts are no markup."""
    address = "team@acme.test"
    signed_in.visit(f"{ORGANISATION}/alerts/new/")
    signed_in.do("fill", selector="form.rule input[name=name]", text="By mail")
    signed_in.do("fill", selector="form.rule input[name=environment]", text="")
    signed_in.do("choose", selector="form.rule select[name=type-1]", value="email")
    signed_in.do("fill", selector=ADDRESS, text=f"ops@acme.test, {address}")
    signed_in.do("click", selector="form.rule button:has-text('Send a test')")
    signed_in.do("wait", selector="form.rule [role=status]:has-text('email: delivered.')")
    assert ["this is a test" in str(mail["Subject"]) for mail in mail_server.to(address)] == [True]
    signed_in.do("click", selector="form.rule button:has-text('Make the rule')")
    signed_in.do("wait", selector="#firings")
    rule = signed_in.do("url").rstrip("/").rpartition("/")[2]
    path = f"{ORGANISATION}/alerts/{rule}/"
    eventually(lambda: Api(system)("GET", path)["state"]["status"] == "ok", "the rule to be evaluated")
    contents.envelope(system.ready, ("event", contents.error("MailMe", contents.MARKUP)))
    eventually(lambda: len(mail_server.to("ops@acme.test")) > 1, "the mail")
    eventually(
        lambda: Api(system)("GET", f"{ORGANISATION}/alerts/deliveries/", rule=rule, status="delivered"), "the delivery"
    )
    (mail,) = mail_server.to(address)[1:]
    assert "MailMe" in str(mail["Subject"])
    single = [part for part in mail.walk() if not part.is_multipart()]
    parts = {part.get_content_type(): str(part.get_payload(decode=True), "utf-8") for part in single}
    assert "<script" in parts["text/plain"]
    assert "<script" not in parts["text/html"]
    signed_in.visit(path)
    signed_in.do("wait", selector="section[aria-labelledby=deliveries] .badge:has-text('delivered')")
    signed_in.do("wait", selector=f"section[aria-labelledby=tells]:has-text('{address}')")
    Api(system)("DELETE", path)


@pytest.mark.parametrize("kind", ["metric", "monitor"])
def test_other_kinds_are_made(signed_in: Browser, system: System, receiver: Receiver, kind: str) -> None:
    """As the API describes them; what cannot be answered is said in the form."""
    signed_in.visit(f"{ORGANISATION}/alerts/new/?kind={kind}")
    signed_in.do("fill", selector=ADDRESS, text=receiver.url)
    if kind == "metric":
        signed_in.do("fill", selector="input[name=aggregate]", text="count(")
        signed_in.do("click", selector="form.rule button:has-text('Make the rule')")
        signed_in.do("waitFor", script="document.querySelector('form.rule .wrong').textContent.includes('expected')")
        signed_in.do("fill", selector="input[name=aggregate]", text="count()")
    signed_in.do("click", selector="form.rule button:has-text('Make the rule')")
    signed_in.do("click", selector="dialog button:has-text('I have copied it')")
    signed_in.do("wait", selector="#firings")
    rule = signed_in.do("url").rstrip("/").rpartition("/")[2]
    found = Api(system)("GET", f"{ORGANISATION}/alerts/{rule}/")
    assert (found["kind"], found["projects"]) == (kind, [system.ready["project"]])
    Api(system)("DELETE", f"{ORGANISATION}/alerts/{rule}/")


def test_a_reader_of_no_alerts_sees_why(browser: Browser, reader: str) -> None:
    """With the scope that is missing."""
    browser.sign_in(reader, f"{ORGANISATION}/alerts/")
    browser.do("wait", selector=".nothing:has-text('alerts:read')")
    browser.visit(f"{ORGANISATION}/alerts/new/")
    browser.do("wait", selector=".nothing:has-text('alerts:write')")
