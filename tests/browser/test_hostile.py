"""Events that were made to break the page: no script runs, nothing is turned around, nothing widens the page."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser import contents
from tests.browser.browser import DESKTOP, PHONE, Browser
from tests.system import System

pytestmark = pytest.mark.clients

ORGANISATION = "/organizations/default"


@pytest.fixture(scope="session")
def hostile_issue(issues: dict[str, str]) -> str:
    """The issue whose every field is markup, turned text or huge."""
    (found,) = [issue for kind, issue in issues.items() if "script" in kind]
    return found


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_hostile_event_is_text(browser: Browser, system: System, hostile_issue: str, size: Any) -> None:
    """Everything opened; the policy was not even asked to stop anything (see the fixture)."""
    browser.window(size)
    browser.sign_in(system.ready["auth_token"], f"{ORGANISATION}/issues/{hostile_issue}/")
    browser.do("wait", selector=".frame")
    browser.do(
        "evaluate",
        script="document.querySelectorAll('details').forEach((one, index) => { if (index < 60) one.open = true; })",
    )
    browser.do("evaluate", script="document.querySelectorAll('.long button').forEach((one) => one.click())")
    assert browser.do("evaluate", script="window.broken") is None
    assert browser.do("count", selector="main img, main script, main iframe") == 0
    assert browser.do("count", selector="main a[href^='javascript']") == 0
    assert browser.do("evaluate", script="document.documentElement.scrollWidth") <= size[0]
    shown = "document.querySelector('main').textContent"
    for hidden in ("\\u202e", "\\u2066", "\\u0000"):
        assert browser.do("evaluate", script=f"{shown}.includes('{hidden}')") is False
    assert browser.do("evaluate", script=f"{shown}.includes('U+202E')")


def test_a_hostile_event_in_lists_and_copies(signed_in: Browser, hostile_issue: str) -> None:
    """The list of issues, releases, raw JSON, Markdown."""
    signed_in.visit(f"{ORGANISATION}/issues/?query=")
    signed_in.do("wait", selector=f"tr[data-id='{hostile_issue}']")
    assert signed_in.do("evaluate", script="document.documentElement.scrollWidth") == DESKTOP[0]
    height = f"document.querySelector(\"tr[data-id='{hostile_issue}']\").offsetHeight"
    assert signed_in.do("evaluate", script=height) <= 60
    signed_in.visit(f"{ORGANISATION}/issues/{hostile_issue}/?raw=1")
    signed_in.do("wait", selector="pre.raw")
    signed_in.do("click", selector="#copy-markdown")
    signed_in.do("waitFor", script="document.getElementById('copy-markdown').textContent.includes('Copied')")
    copied = signed_in.do("evaluate", script="navigator.clipboard.readText()")
    assert len(copied) < 8_100
    assert "\u202e" not in copied
    signed_in.visit(f"{ORGANISATION}/releases/")
    signed_in.do("wait", selector="table tbody tr")
    assert signed_in.do("evaluate", script="window.broken") is None


def test_hostile_logs_and_spans_are_text(signed_in: Browser, system: System) -> None:
    """One line is one row, whatever is in it."""
    contents.logs(system.ready, ("ERROR", f"hostile\n{contents.MARKUP}{contents.REVERSED}" + "y" * 5_000))
    signed_in.visit(f"{ORGANISATION}/logs/?query=hostile&live=1")
    signed_in.do("wait", selector=".line:has-text('hostile')")
    assert signed_in.do("evaluate", script="document.querySelector('.line').offsetHeight") < 40
    signed_in.do("click", selector=".line:has-text('hostile')")
    signed_in.do("wait", selector=".opened .sheet")
    assert signed_in.do("evaluate", script="document.documentElement.scrollWidth") == DESKTOP[0]
    assert signed_in.do("evaluate", script="window.broken") is None


def test_addresses_are_text_too(signed_in: Browser) -> None:
    """Parts of the address are shown and asked for, never parsed."""
    for path in (
        "/issues/%3Cimg%20src=x%20onerror=window.broken=1%3E/",
        "/traces/%3Cscript%3E/",
        "/nowhere/",
        "/releases/%3Cimg%20src=x%3E/",
    ):
        signed_in.visit(ORGANISATION + path)
        signed_in.do("wait", selector="main .failure, main .nothing")
        assert signed_in.do("evaluate", script="window.broken") is None
    signed_in.visit("/organizations/another/issues/")
    signed_in.do("wait", selector=".nothing")
    assert "sees nothing of another" in signed_in.do("text", selector=".nothing")


def test_text_cannot_become_markup_at_all(signed_in: Browser) -> None:
    """The browser itself refuses it, whatever a script would do; the only test that makes it try."""
    tried = "try { document.createElement('div').innerHTML = '<b>x</b>'; 'parsed'; } catch (error) { error.name; }"
    assert signed_in.do("evaluate", script=tried) == "TypeError"
    noted = signed_in.do("noted")
    assert len(noted["violations"]) >= 1
    signed_in.window()
