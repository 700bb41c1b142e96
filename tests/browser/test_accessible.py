"""axe finds nothing serious in any view, in both themes and sizes; nothing is wider than the window."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser import contents
from tests.browser.browser import DESKTOP, PHONE, Browser
from tests.system import System

pytestmark = pytest.mark.clients

ORGANISATION = "/organizations/default"
READY = "main table tbody tr, main .line, main .snippet, main .src, main .ledger"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_view(running_browser: Browser, system: System, issues: Any, size: Any, dark: bool) -> None:
    """With the page's policy off, because axe is put into the page."""
    running_browser.window(size, dark=dark, bypass=True)
    running_browser.visit("/sign-in")
    running_browser.do("wait", selector="#token")
    found = {"sign-in": _serious(running_browser)}
    running_browser.sign_in(system.ready["auth_token"])
    for path in (
        *("/issues/", f"/issues/{issues['CardRefused']}/", "/traces/", f"/traces/{contents.TRACE}/"),
        *("/logs/?statsPeriod=24h", "/monitors/", "/monitors/nightly-import/", "/releases/", "/releases/2.4.1/"),
        *("/delivery/", "/settings/"),
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


def _serious(browser: Browser) -> list[Any]:
    return [one for one in browser.do("axe") if one["impact"] in ("serious", "critical")]
