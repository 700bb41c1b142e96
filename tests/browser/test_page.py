"""What a person does on the page, in a real browser."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.browser import contents
from tests.browser.browser import PHONE, Browser
from tests.live.console.web_api import Api
from tests.polling import eventually
from tests.system import System

pytestmark = pytest.mark.clients

ORGANISATION = "/organizations/default"
ISSUES = "/api/0/organizations/default/issues/"
ROW = "table.issues tbody tr"


def row_of(kind: str) -> str:
    return f"{ROW}:has(b:has-text('{kind}'))"


def test_the_link_of_up_signs_in_once_and_leaves_no_code_in_the_address(browser: Browser, system: System) -> None:
    """A second use says what to do."""
    link = system.ready["console_login_url"]
    browser.do("goto", url=link)
    browser.do("wait", selector=ROW)
    assert "code" not in browser.do("url")
    (cookie,) = browser.do("cookies")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    browser.do("clearCookies")
    browser.do("goto", url=link)
    browser.do("waitFor", script="document.querySelector('.wrong')?.textContent.includes('has been used')")
    assert "code" not in browser.do("url")


def test_a_wrong_token_is_refused_and_a_right_one_leads_to_where_one_was_going(
    browser: Browser, system: System
) -> None:
    """The address that was asked for is kept; one of another host is not."""
    browser.visit(f"{ORGANISATION}/logs/?statsPeriod=24h")
    browser.do("wait", selector="#token")
    browser.do("fill", selector="#token", text="sntrys_wrong")
    browser.do("press", key="Enter")
    browser.do("waitFor", script="document.querySelector('.wrong').textContent.includes('not known')")
    browser.do("fill", selector="#token", text=system.ready["auth_token"])
    browser.do("press", key="Enter")
    browser.do("wait", selector="header.top")
    assert browser.do("url") == f"{browser.origin}{ORGANISATION}/logs/?statsPeriod=24h"
    browser.do("clearCookies")
    for next_ in ("//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"):
        browser.do("clearCookies")
        browser.do("goto", url=f"{browser.origin}/sign-in?next={next_}")
        browser.do("fill", selector="#token", text=system.ready["auth_token"])
        browser.do("press", key="Enter")
        browser.do("wait", selector="header.top")
        assert browser.do("url").startswith(f"{browser.origin}{ORGANISATION}/")


def test_find_an_error_resolve_it_and_see_it_come_back(signed_in: Browser, system: System, issues: Any) -> None:
    """By keyboard; the list says what happened, and a new event of it is there without a reload."""
    signed_in.visit(f"{ORGANISATION}/issues/?query=is:unresolved+error.type:KeyError")
    signed_in.do("wait", selector=row_of("KeyError"))
    assert signed_in.do("count", selector=ROW) == 1
    signed_in.do("press", key="j")
    signed_in.do("press", key="e")
    signed_in.do("wait", selector=".toast")
    assert "Resolved" in signed_in.do("text", selector=".toast")
    assert signed_in.do("count", selector="tr.gone") == 1
    assert Api(system)("GET", f"{ORGANISATION}/issues/{issues['KeyError']}/")["status"] == "resolved"
    signed_in.visit(f"{ORGANISATION}/issues/?query=is:unresolved+error.type:KeyError")
    signed_in.do("wait", selector=".nothing")
    again = contents.error("KeyError", "'answer'")
    again["exception"]["values"][0]["stacktrace"]["frames"].append(contents.frame("step_5", "shop/part_5.py", 11))
    contents.envelope(system.ready, ("event", again))
    signed_in.do("wait", selector=row_of("KeyError"))
    assert signed_in.do("text", selector=f"{row_of('KeyError')} .badge") == "came back"


def test_many_are_archived_at_once_and_undone(signed_in: Browser, system: System, issues: Any) -> None:
    """With a step back that is offered."""
    signed_in.do("wait", selector=ROW)
    for kind in ("Slow", "Cached"):
        signed_in.do("click", selector=f"{row_of(kind)} input")
    assert signed_in.do("text", selector=".selected b") == "2 selected"
    signed_in.do("click", selector=".selected button:has-text('Archive')")
    signed_in.do("wait", selector=".toast")
    signed_in.do("waitFor", script="document.querySelector('.toast').textContent.includes('Archived: 2 issues')")
    api = Api(system)
    assert {api("GET", f"{ORGANISATION}/issues/{issues[kind]}/")["status"] for kind in ("Slow", "Cached")} == {
        "ignored"
    }
    signed_in.do("click", selector=".toast button:has-text('Undo')")
    signed_in.do("waitFor", script="!document.querySelector('tr.gone')")
    eventually(lambda: api("GET", f"{ORGANISATION}/issues/{issues['Slow']}/")["status"] == "unresolved", "the undoing")


def test_one_click_to_the_failing_line(signed_in: Browser, issues: Any) -> None:
    """Above the fold, on a desk and on a phone; then back where one was."""
    signed_in.visit(f"{ORGANISATION}/issues/?sort=freq")
    signed_in.do("wait", selector=row_of("CardRefused"))
    signed_in.do("click", selector=f"{row_of('CardRefused')} a.title")
    signed_in.do("wait", selector=".src .hit")
    top = "document.querySelector('.src .hit').getBoundingClientRect().top"
    assert signed_in.do("evaluate", script=top) <= 340
    assert "raise CardRefused" in signed_in.do("text", selector=".src .hit")
    assert "3 of 9 frames are yours" in signed_in.do("text", selector="#stack-trace + p")
    signed_in.do("back")
    signed_in.do("wait", selector=ROW)
    assert "sort=freq" in signed_in.do("url")


def test_the_failing_line_is_above_the_fold_of_a_phone(browser: Browser, system: System, issues: Any) -> None:
    """And nothing is wider than the window."""
    browser.window(PHONE)
    browser.sign_in(system.ready["auth_token"], f"{ORGANISATION}/issues/{issues['CardRefused']}/")
    browser.do("wait", selector=".src .hit")
    assert browser.do("evaluate", script="document.querySelector('.src .hit').getBoundingClientRect().top") <= 420
    assert browser.do("evaluate", script="document.documentElement.scrollWidth") == PHONE[0]


def test_an_event_is_copied_as_markdown_and_paged(signed_in: Browser, issues: Any) -> None:
    """Its facts and frames; older and newer events by key."""
    signed_in.visit(f"{ORGANISATION}/issues/{issues['CardRefused']}/")
    signed_in.do("wait", selector=".src .hit")
    signed_in.do("click", selector="#copy-markdown")
    signed_in.do("waitFor", script="document.getElementById('copy-markdown').textContent.includes('Copied')")
    copied = signed_in.do("evaluate", script="navigator.clipboard.readText()")
    assert copied.startswith("# CardRefused: card refused for order 4013")
    assert "gateway_call in shop/payments.py:11" in copied
    assert len(copied) <= 8_100
    signed_in.do("press", key="[")
    signed_in.do("waitFor", script="location.pathname.includes('/events/')")
    signed_in.do("wait", selector="button[aria-label='Newer event']:not([aria-disabled=true])")


LIKE_ROWS = "[...document.querySelectorAll('.fall .span')].filter(row => row.textContent.includes('SELECT prices'))"


def test_a_trace_is_read_and_leads_to_its_error(signed_in: Browser) -> None:
    """Opens at what failed last; like siblings are one row; arrows open and close."""
    signed_in.visit(f"{ORGANISATION}/traces/{contents.TRACE}/")
    signed_in.do("wait", selector="table.fall tbody tr.at")
    assert "POST pay.example/v1/charges" in signed_in.do("text", selector="tr.at .span")
    assert signed_in.do("count", selector="tbody tr:has-text('SELECT prices \u00d7 48')") == 1
    assert signed_in.do("count", selector="tbody tr:has-text('parent was not sent')") == 1
    signed_in.do("click", selector="tbody tr:has-text('SELECT prices \u00d7 48')")
    signed_in.do("waitFor", script=f"{LIKE_ROWS}.length > 20")
    signed_in.do("press", key="ArrowLeft")
    signed_in.do("waitFor", script=f"{LIKE_ROWS}.length === 1")
    signed_in.do("press", key="n")
    assert "span=" in signed_in.do("url")
    signed_in.do("click", selector="aside a:has-text('Open')")
    signed_in.do("wait", selector=".src .hit")


def test_ten_thousand_spans_stay_a_few_rows(signed_in: Browser, system: System) -> None:
    """Only what is in sight is in the document, at the top and at the end."""
    many = "5" * 32
    contents.trace(system.ready, many, children=9_980)
    signed_in.visit(f"{ORGANISATION}/traces/{many}/")

    def is_whole() -> bool:
        signed_in.do("reload")
        signed_in.do("wait", selector="table.fall tbody tr, .nothing")
        return bool(signed_in.do("evaluate", script="document.querySelector('.facts')?.textContent.includes('9,991')"))

    eventually(is_whole, "all spans")
    signed_in.do("click", selector="tbody tr:has-text('\u00d7 9980')")
    nodes = "document.querySelectorAll('*').length"
    signed_in.do("waitFor", script="document.querySelector('table.fall').getAttribute('aria-rowcount') > 9990")
    assert signed_in.do("evaluate", script=nodes) < 3_000
    signed_in.do("press", key="End")
    signed_in.do("waitFor", script="document.activeElement.dataset.index > 9980")
    assert signed_in.do("evaluate", script=nodes) < 3_000


def test_new_lines_appear_and_wait_while_paused(signed_in: Browser, system: System) -> None:
    """Live logs, with markup as text."""
    signed_in.visit(f"{ORGANISATION}/logs/?live=1")
    signed_in.do("wait", selector=".scroller")
    contents.logs(system.ready, ("ERROR", f"first line {contents.MARKUP}"))
    signed_in.do("wait", selector=".line:has-text('first line <script>')")
    signed_in.do("click", selector=".line:has-text('first line')")
    contents.logs(system.ready, ("INFO", "second line"))
    signed_in.do("wait", selector=".note-line:has-text('Paused. 1 new line')")
    assert signed_in.do("count", selector=".line:has-text('second line')") == 0
    signed_in.do("click", selector=".note-line button")
    signed_in.do("wait", selector=".line:has-text('second line')")


NUMBERS = "[...document.querySelectorAll('.ledger dd')].map(one => Number(one.textContent.replaceAll(',', '')))"
GROUP = "tr:has-text('invalid')"
DEAD = "section[aria-labelledby=dead]"


def reported(system: System, dead_letters: int, since_s: float = 0.0) -> None:
    """The janitor's report has these numbers. It makes one less often where it takes long: the page may be minutes
    behind on a busy machine, so whoever looks at its numbers waits for the report first.
    """

    def is_there() -> bool:
        report = Api(system)("GET", f"{ORGANISATION}/delivery/")
        is_new = (report["checkedSeconds"] or 0) > since_s and report["oldestSeconds"] <= 30
        is_whole = bool(report["total"]) and report["total"]["received"] > 100
        return is_new and is_whole and bool(report["deadLetters"] == dead_letters)

    eventually(is_there, f"a report with {dead_letters} dead letters")


def test_delivery_says_what_became_of_everything(signed_in: Browser, system: System) -> None:
    """With the equation, from the janitor's numbers; the chip says the same; refusals name who can mend them."""
    reported(system, contents.DEAD_LETTERS)
    signed_in.visit(f"{ORGANISATION}/delivery/")
    signed_in.do("wait", selector=".ledger")
    received, *parts, difference = signed_in.do("evaluate", script=NUMBERS)
    assert received > 100
    assert received == sum(parts) + difference
    signed_in.do("waitFor", script="document.querySelector('h1').textContent.includes('dead letter')")
    signed_in.do("waitFor", script="document.querySelector('.pill').textContent.includes('dead letter')")
    signed_in.do("wait", selector="tr:has-text('401'):has-text('mistyped')")


def new_dead_letters(system: System, number: int) -> None:
    """Beside none; they can be read."""
    contents.dead_letters(system.ready, number)
    found = Api(system)
    eventually(lambda: len(found("GET", f"{ORGANISATION}/delivery/dead-letters/")) == number, "the dead letters")


def test_a_dead_letter_is_opened_retried_and_dropped(signed_in: Browser, system: System) -> None:
    """Its bytes are text; what fails again is said; what is dropped is gone, and everything is accounted for."""
    signed_in.visit(f"{ORGANISATION}/delivery/")
    signed_in.do("click", selector=f"{DEAD} {GROUP} button:has-text('Open')")
    signed_in.do("click", selector="section[aria-labelledby=dead-of-reason] button:has-text('Open')")
    signed_in.do("wait", selector="section[aria-labelledby=dead-letter] .raw")
    assert "letter=1000000000" in signed_in.do("url")
    shown = signed_in.do("text", selector="section[aria-labelledby=dead-letter]")
    assert '"length":9999' in shown
    assert "<script>" in shown
    assert signed_in.do("evaluate", script="window.broken") is None
    signed_in.do("click", selector="section[aria-labelledby=dead-letter] button:has-text('Retry')")
    ends = ("1 failed again (invalid)", "not processed yet")
    eventually(lambda: any(words in signed_in.do("text", selector=".said") for words in ends), "the end of the retry")
    eventually(lambda: len(Api(system)("GET", f"{ORGANISATION}/delivery/dead-letters/")) == 2, "both dead letters")
    reported(system, 2, since_s=time.time())
    signed_in.do("waitFor", script=f"document.querySelector({json.dumps(DEAD)}).textContent.includes('2 dead letters')")
    signed_in.do("click", selector=f"{DEAD} .head button:has-text('Drop')")
    signed_in.do("wait", selector="dialog h2:has-text('Drop 2 dead letters?')")
    assert signed_in.do("evaluate", script="document.activeElement.textContent") == "Keep"
    signed_in.do("press", key="Enter")
    signed_in.do("wait", selector="dialog", gone=True)
    assert len(Api(system)("GET", f"{ORGANISATION}/delivery/dead-letters/")) == 2
    signed_in.do("click", selector=f"{DEAD} .head button:has-text('Drop')")
    signed_in.do("click", selector="dialog button:has-text('Drop 2')")
    signed_in.do("waitFor", script="document.querySelector('.said').textContent.includes('Dropped 2 dead letters.')")
    eventually(lambda: not Api(system)("GET", f"{ORGANISATION}/delivery/dead-letters/"), "no dead letter")
    reported(system, 0)
    signed_in.visit(f"{ORGANISATION}/delivery/")
    signed_in.do("waitFor", script="document.querySelector('h1')?.textContent.includes('Everything accepted')")
    signed_in.do("waitFor", script="document.querySelector('.pill').textContent.includes('accounted')")


def test_without_a_janitor_the_page_says_so(signed_in: Browser, system: System) -> None:
    """Nothing is done, and nothing else breaks."""
    signed_in.do(
        "route",
        pattern="**/delivery/dead-letters/retry/*",
        status=503,
        body=json.dumps({"detail": "janitor: expected its answer, found none: does `axonpush janitor` run?"}),
    )
    new_dead_letters(system, 1)
    signed_in.visit(f"{ORGANISATION}/delivery/")
    signed_in.do("click", selector=f"{DEAD} {GROUP} button:has-text('Retry')")
    signed_in.do("waitFor", script="document.querySelector('.said').textContent.includes('axonpush janitor')")
    signed_in.do("forgetFailed")
    drop = Api(system)("POST", f"{ORGANISATION}/delivery/dead-letters/drop/", {"reason": "invalid"})
    assert drop["dropped"] == 1


def test_a_key_is_made_shown_once_and_sends(signed_in: Browser, system: System) -> None:
    """With its DSN to copy; the test event arrives with it; revoked, it is refused."""
    signed_in.visit(f"{ORGANISATION}/settings/")
    signed_in.do("click", selector="button:has-text('New key')")
    signed_in.do("fill", selector="dialog input[name=name]", text=f"shop {contents.MARKUP}")
    signed_in.do("click", selector="dialog button:has-text('Make the key')")
    signed_in.do("wait", selector="dialog.broad code")
    key = signed_in.do("text", selector="dialog.broad code")
    assert key.startswith("pt_")
    assert key in signed_in.do("text", selector="dialog.broad pre")
    signed_in.do("press", key="Escape")
    signed_in.do("wait", selector="dialog.broad")
    signed_in.do("click", selector="dialog button:has-text('I have copied it')")
    signed_in.do("wait", selector="dialog.broad", gone=True)
    assert key not in signed_in.do("evaluate", script="document.body.innerText")
    signed_in.do("click", selector="button:has-text('Send a test event')")
    signed_in.do(
        "waitFor", script="document.querySelector('#try-it').parentNode.parentNode.innerText.includes('readable')"
    )
    signed_in.do("click", selector="tr:has-text('shop <script>') button:has-text('Revoke')")
    signed_in.do("click", selector="dialog button:has-text('Revoke')")
    signed_in.do("wait", selector="tr:has-text('shop <script>') .badge:has-text('revoked')")
    assert signed_in.do("evaluate", script="window.broken") is None
    send = f"/api/{system.ready['channel']}/envelope/?sentry_key={key}"
    contents.refuse(system.ready, send, b"{}\n", 401)


def test_a_project_is_made_and_is_there_at_once(signed_in: Browser) -> None:
    """With its name; a second one of this name is refused in the dialog."""
    signed_in.visit(f"{ORGANISATION}/settings/")
    for _ in range(2):
        signed_in.do("click", selector="button:has-text('New project')")
        signed_in.do("fill", selector="dialog input[name=name]", text="Back office")
        signed_in.do("click", selector="dialog button:has-text('Make the project')")
        signed_in.do(
            "waitFor",
            script="document.querySelector('dialog .wrong')?.textContent || !document.querySelector('dialog')",
        )
    assert "already" in signed_in.do("text", selector="dialog .wrong")
    signed_in.do("click", selector="dialog button:has-text('Cancel')")
    assert signed_in.do("url").endswith("/settings/back-office/")
    signed_in.do("wait", selector="nav a[aria-current=page]:has-text('Back office')")


def test_a_run_of_an_agent_reads_as_a_conversation(signed_in: Browser) -> None:
    """From the list; the user once, the tool that failed, tokens, a price and a price that is not set."""
    signed_in.visit(f"{ORGANISATION}/traces/?tab=ai")
    signed_in.do("click", selector="a:has-text('refund-agent')")
    signed_in.do("wait", selector=".talk")
    told = signed_in.do("text", selector=".talk")
    for words in (
        "Where is my order 4013?",
        "<script>",
        "I will look it up.",
        "lookup_order",
        "CardRefused",
        "model-x",
    ):
        assert words in told
    assert told.count("Where is my order") == 1
    costs = signed_in.do("text", selector="aside")
    assert "price not set" in costs
    assert "$0.00016" in costs
    assert signed_in.do("evaluate", script="window.broken") is None
    signed_in.do("click", selector="button:has-text('Waterfall')")
    signed_in.do("wait", selector="table.fall tbody tr.at")


def test_fields_and_values_are_suggested(signed_in: Browser) -> None:
    """By keyboard: a name, then a value of the last day, which becomes a term."""
    signed_in.visit(f"{ORGANISATION}/issues/")
    signed_in.do("wait", selector=ROW)
    signed_in.do("fill", selector=".query input", text="leve")
    signed_in.do("wait", selector=".suggestions li:has-text('level')")
    signed_in.do("press", key="ArrowDown")
    signed_in.do("press", key="Enter")
    signed_in.do("wait", selector=".suggestions li:has-text('fatal')")
    signed_in.do("click", selector=".suggestions li:has-text('fatal')")
    signed_in.do("wait", selector=".token:has-text('level:fatal')")
    signed_in.do("press", key="Enter")
    signed_in.do("waitFor", script="location.search.includes('level%3Afatal')")
    signed_in.do("wait", selector=row_of("OutOfMemory"))


def test_a_file_of_an_event_is_a_download(signed_in: Browser, issues: Any) -> None:
    """With its name as text; the trace beside it is drawn small."""
    signed_in.visit(f"{ORGANISATION}/issues/{issues['CardRefused']}/")
    signed_in.do("wait", selector="section[aria-labelledby=attachments] a[download]")
    assert "<script>" in signed_in.do("text", selector="section[aria-labelledby=attachments]")
    signed_in.do("wait", selector="svg.strip")
    status = (
        "fetch(document.querySelector('a[download]').href).then(answer => answer.headers.get('content-disposition'))"
    )
    assert signed_in.do("evaluate", script=status).startswith("attachment")


@pytest.mark.parametrize("section", ["monitors", "releases", "settings", "traces", "logs?statsPeriod=24h"])
def test_every_section_shows_what_there_is(signed_in: Browser, section: str) -> None:
    """Reached by its link; the current one is marked."""
    name, _, query = section.partition("?")
    signed_in.visit(f"{ORGANISATION}/{name}/{'?' if query else ''}{query}")
    signed_in.do("wait", selector="main table tbody tr, main .line, main .snippet")
    assert signed_in.do("text", selector="h1").lower().startswith(name)


def test_a_read_only_token_says_why_it_may_not(browser: Browser, reader: str, issues: Any) -> None:
    """The button stays, and does nothing."""
    browser.sign_in(reader, f"{ORGANISATION}/issues/{issues['panic']}/")
    browser.do("wait", selector=".acts")
    button = "document.querySelector('.acts .main')"
    assert browser.do("evaluate", script=f"{button}.getAttribute('aria-disabled')") == "true"
    assert "event:write" in browser.do("evaluate", script=f"{button}.title")
    browser.do("evaluate", script=f"{button}.click()")
    browser.do("press", key="e")
    assert not [one for one in browser.do("noted")["requests"] if one.startswith("PUT")]


def test_a_read_only_token_sees_no_bytes_and_decides_nothing(browser: Browser, reader: str, system: System) -> None:
    """Buttons say which scope is missing."""
    new_dead_letters(system, 2)
    browser.sign_in(reader, f"{ORGANISATION}/delivery/")
    browser.do("wait", selector=f"{DEAD} {GROUP}")
    button = f"document.querySelector('{DEAD} td button[aria-disabled]')"
    assert "delivery:write" in browser.do("evaluate", script=f"{button}.title")
    assert "<script>" not in browser.do("text", selector=DEAD)
    browser.visit(f"{ORGANISATION}/settings/")
    browser.do("wait", selector="main table tbody tr")
    assert "project:admin" in browser.do("evaluate", script="document.querySelector('td button[aria-disabled]').title")
    assert not [one for one in browser.do("noted")["requests"] if one.startswith("POST /api")]
    Api(system)("POST", f"{ORGANISATION}/delivery/dead-letters/drop/", {"reason": "invalid"})


def test_an_ended_session_is_asked_for_and_nothing_is_lost(signed_in: Browser, system: System) -> None:
    """Over the page; the request goes on when one has signed in again."""
    signed_in.do("wait", selector=ROW)
    signed_in.do("clearCookies")
    signed_in.do("click", selector="th button:has-text('Events')")
    signed_in.do("wait", selector="dialog.session #token")
    signed_in.do("fill", selector="dialog #token", text=system.ready["auth_token"])
    signed_in.do("press", key="Enter")
    signed_in.do("wait", selector="dialog.session", gone=True)
    signed_in.do("wait", selector="th[aria-sort]:has-text('Events')")


def test_signing_out_ends_the_session(signed_in: Browser) -> None:
    """The cookie is gone, and the old one is refused."""
    (cookie,) = signed_in.do("cookies")
    signed_in.do("click", selector="header > details summary")
    signed_in.do("click", selector="button:has-text('Sign out')")
    signed_in.do("wait", selector="#token")
    assert signed_in.do("cookies") == []
    status = signed_in.do("evaluate", script=f"fetch('{ISSUES}').then(answer => answer.status)")
    assert status == 401
    signed_in.do("addCookies", cookies=[cookie])
    status = signed_in.do("evaluate", script=f"fetch('{ISSUES}').then(answer => answer.status)")
    assert status == 401


def test_a_failing_console_says_so_and_can_be_tried_again(signed_in: Browser) -> None:
    """The frame of the page stays; the sentence is the console's."""
    signed_in.do(
        "route", pattern="**/api/0/**/issues/?*", status=503, body=json.dumps({"detail": "ClickHouse does not answer"})
    )
    signed_in.visit(f"{ORGANISATION}/issues/?sort=user")
    signed_in.do("wait", selector=".failure")
    assert "ClickHouse does not answer" in signed_in.do("text", selector=".failure")
    signed_in.do("unroute", pattern="**/api/0/**/issues/?*")
    signed_in.do("forgetFailed")
    signed_in.do("click", selector=".failure button")
    signed_in.do("wait", selector=ROW)


def test_a_query_that_is_not_understood_is_said_below_the_field(signed_in: Browser) -> None:
    """In the words of the API, and the bar stays."""
    signed_in.visit(f"{ORGANISATION}/issues/?query=timesSeen:abc")
    signed_in.do("waitFor", script="document.querySelector('.problem')?.textContent.includes('expected')")
    signed_in.do("wait", selector=".token:has-text('timesSeen')")


def test_the_first_view_is_small(browser: Browser, system: System) -> None:
    """Everything that was loaded until the issues stand there, answers of the API included."""
    browser.sign_in(system.ready["auth_token"])
    browser.window()
    browser.sign_in(system.ready["auth_token"])
    browser.do("wait", selector=ROW)
    assert browser.do("noted")["bytes"] < 200_000
    own = "performance.getEntriesByType('resource').filter(one => one.name.includes('/page/'))"
    files = f"{own}.reduce((sum, one) => sum + one.encodedBodySize, 0)"
    assert browser.do("evaluate", script=files) < 120_000
