"""axe finds nothing serious in any view, in both themes and sizes; nothing is wider than the window."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser import contents
from tests.browser.browser import DESKTOP, PHONE, Browser
from tests.live.console.web_api import Api
from tests.system import System

pytestmark = pytest.mark.clients

ORGANISATION = "/organizations/default"
READY = (
    "main table tbody tr, main .line, main .snippet, main .src, main .ledger, main .talk, main form.rule, main .nothing"
)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_view(running_browser: Browser, system: System, issues: Any, size: Any, dark: bool) -> None:
    """With the page's policy off, because axe is put into the page."""
    running_browser.window(size, dark=dark, bypass=True)
    running_browser.visit("/sign-in")
    running_browser.do("wait", selector="#token")
    found = {"sign-in": _serious(running_browser)}
    running_browser.sign_in(system.ready["auth_token"])
    letter = Api(system)("GET", f"{ORGANISATION}/delivery/dead-letters/")[0]["number"]
    rule = contents.alert_rule(Api(system))
    for path in (
        *("/issues/", f"/issues/{issues['CardRefused']}/", "/traces/", f"/traces/{contents.TRACE}/"),
        *("/logs/?statsPeriod=24h", "/monitors/", "/monitors/nightly-import/", "/releases/", "/releases/2.4.1/"),
        *(
            "/delivery/",
            "/delivery/?letter=invalid/unpack/sentry_envelope",
            f"/delivery/?letter={letter}",
            "/settings/",
        ),
        *("/traces/?tab=ai", f"/traces/{contents.AI_TRACE}/?view=ai"),
        *("/alerts/new/", "/alerts/new/?kind=metric", "/alerts/new/?kind=monitor", "/alerts/", f"/alerts/{rule}/"),
        *(f"/alerts/{rule}/?edit=1", "/alerts/?tab=firings", "/alerts/?tab=deliveries"),
    ):
        running_browser.visit(ORGANISATION + path)
        running_browser.do("wait", selector=READY)
        found[path] = _serious(running_browser)
        width = running_browser.do("evaluate", script="document.documentElement.scrollWidth")
        if width > size[0]:
            found[path].append(f"{width} px wide")
        if running_browser.do("count", selector="h1") != 1:
            found[path].append("not one h1")
    assert {path: problems for path, problems in found.items() if problems} == {}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_dialog(running_browser: Browser, system: System, size: Any, dark: bool) -> None:
    """What is asked over the page, and the list of suggestions."""
    running_browser.window(size, dark=dark, bypass=True)
    running_browser.sign_in(system.ready["auth_token"])
    found: dict[str, list[Any]] = {}
    for path, opener, shown in (
        ("/settings/", "button:has-text('New key')", "dialog form"),
        ("/settings/", "button:has-text('New project')", "dialog form"),
        ("/settings/", "td button:has-text('Revoke')", "dialog"),
        ("/delivery/", "section[aria-labelledby=dead] button:has-text('Drop')", "dialog"),
    ):
        running_browser.visit(ORGANISATION + path)
        running_browser.do("click", selector=opener)
        running_browser.do("wait", selector=shown)
        found[opener] = _serious(running_browser)
    running_browser.visit(f"{ORGANISATION}/issues/")
    running_browser.do("wait", selector=READY)
    running_browser.do("fill", selector=".query input", text="level:")
    running_browser.do("wait", selector=".suggestions li")
    found["suggestions"] = _serious(running_browser)
    assert {name: problems for name, problems in found.items() if problems} == {}


def _serious(browser: Browser) -> list[Any]:
    return [one for one in browser.do("axe") if one["impact"] in ("serious", "critical")]
