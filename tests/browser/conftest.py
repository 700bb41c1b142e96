"""One running system with a shop's data, and one browser, for all tests of the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import contents
from tests.browser.browser import Browser, open_browser
from tests.live.console.web_api import Api
from tests.polling import eventually
from tests.receivers_of_alerts import MailServer
from tests.system import System

READ_ONLY = ("event:read", "project:read", "org:read")


@pytest.fixture(scope="session")
def mail_server() -> Iterator[MailServer]:
    """Of e-mails of alerts."""
    with MailServer() as running:
        yield running


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory, mail_server: MailServer) -> Iterator[System]:
    """With a shop's errors, traces, logs, check-ins, sessions, a hostile event, dead letters, a refusal, all stored."""
    settings = {"HOST": "127.0.0.1", "PORT": str(mail_server.port), "SECURITY": "none"}
    mail = {f"AXONPUSH_ALERTS_SMTP_{name}": value for name, value in settings.items()}
    made = System(tmp_path_factory.mktemp("page"), **mail)
    try:
        made.start()
        ready = made.ready
        contents.shop(ready)
        contents.trace(ready)
        contents.check_ins(ready)
        contents.sessions(ready)
        contents.envelope(ready, ("event", contents.hostile()))
        contents.ai_run(ready)
        contents.with_attachment(ready)
        contents.dead_letters(ready)
        contents.refusal(ready)
        issues = len(contents.SHOP) + 1
        eventually(lambda: len(Api(made)("GET", "/organizations/default/issues/", query="")) == issues, "all issues")
        eventually(lambda: made.query("SELECT 1 FROM check_ins"), "the check-ins")
        eventually(lambda: made.query("SELECT 1 FROM events WHERE item_type = 'otlp_log'"), "the log")
        eventually(lambda: len(made.query("SELECT 1 FROM dead_letters")) == contents.DEAD_LETTERS, "the dead letters")
        eventually(lambda: made.query("SELECT 1 FROM events WHERE gen_ai_operation != ''"), "the agent")
        eventually(lambda: made.query("SELECT 1 FROM events WHERE item_type = 'attachment'"), "the file")
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def running_browser(system: System) -> Iterator[Browser]:
    """Chromium, started once."""
    with open_browser(system.ready["console_url"]) as browser:
        yield browser


@pytest.fixture
def browser(running_browser: Browser) -> Iterator[Browser]:
    """A new window. Whatever a test does, the page breaks neither its policy nor itself, and asks no other host."""
    running_browser.window()
    yield running_browser
    noted = running_browser.do("noted")
    assert noted["violations"] == []
    assert noted["errors"] == []
    assert noted["foreign"] == []
    assert noted["failed"] == [], "answers of 5xx that no test asked for"


@pytest.fixture
def signed_in(browser: Browser, system: System) -> Browser:
    """Signed in with the token of `up`."""
    browser.sign_in(system.ready["auth_token"])
    return browser


@pytest.fixture(scope="session")
def reader(system: System) -> str:
    """A token that may only read."""
    scopes = [part for scope in READ_ONLY for part in ("--scope", scope)]
    made: dict[str, Any] = json.loads(system.cli("tokens", "mint", "--name", "reader", *scopes, "--json").stdout)
    return str(made["token"])


@pytest.fixture(scope="session")
def issues(system: System) -> dict[str, str]:
    """Ids of issues by the type of their error."""
    found = Api(system)("GET", "/organizations/default/issues/", query="", limit=100)
    return {one["metadata"].get("type", one["title"]): one["id"] for one in found}
