"""The `sentry` CLI alone, the logs of sentry-cli, and the MCP server: what they find of a trace with an error."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.clients.mcp_session import McpSession
from tests.clients.sentry_clients import npm_pin, run
from tests.clients.toolchains import npm_project, require_node

pytestmark = pytest.mark.clients

TOOLKIT = ("sentry (CLI)", npm_pin("sentry-toolkit", "sentry"))
MCP = ("@sentry/mcp-server", npm_pin("sentry-mcp", "@sentry/mcp-server"))
TIMEOUT_S = 60


@dataclass(frozen=True)
class Shop:
    """What was sent: the kind of its error, its issue, its trace, and the text of its log."""

    kind: str
    issue: str
    trace: str
    log: str


@pytest.fixture(scope="module")
def shop(system: Any, sql_of_system: Any) -> Shop:
    """One transaction with two spans, a log and an error, all in one trace."""
    ready, trace, kind, began_s = system.ready, uuid.uuid4().hex, f"Error{uuid.uuid4().hex[:12]}", time.time() - 60
    times = {"start_timestamp": began_s, "timestamp": began_s + 0.5}
    root = {"trace_id": trace, "span_id": "a" * 16, "op": "http.server", "status": "ok"}
    spans = [
        {"trace_id": trace, "span_id": f"{number:016x}", "parent_span_id": "a" * 16, "op": "db"} for number in (1, 2)
    ]
    spans = [span | {"description": f"SELECT {kind}"} | times for span in spans]
    transaction = {
        "type": "transaction",
        "transaction": f"/{kind}",
        "contexts": {"trace": root},
        "spans": spans,
        **times,
    }
    log = {"timestamp": began_s, "trace_id": trace, "level": "warn", "body": f"slow {kind}", "span_id": "a" * 16}
    frames = [{"filename": "pay.py", "function": kind, "lineno": 1, "in_app": True}]
    error = {
        "exception": {"values": [{"type": kind, "value": "no payment", "stacktrace": {"frames": frames}}]},
        "timestamp": began_s,
        "tags": {"till": "seven"},
        "contexts": {"trace": {"trace_id": trace, "span_id": f"{2:016x}"}},
    }
    items = [[{"type": "transaction"}, transaction], [{"type": "log", "item_count": 1}, {"items": [log]}]]
    for lines in ([line for item in items for line in item], [{"type": "event"}, error]):
        body = "\n".join(map(json.dumps, [{"event_id": uuid.uuid4().hex}, *lines])) + "\n"
        url = f"{ready['url']}/api/1/envelope/?sentry_key={ready['api_key']}"
        assert urllib3.request("POST", url, body=body, timeout=TIMEOUT_S).status == 200
    sql_of_system.wait(f"SELECT 1 FROM events WHERE trace_id = '{trace}'", 5)
    headers = {"Authorization": f"Bearer {ready['auth_token']}"}
    url = f"{ready['console_url']}/api/0/organizations/default/issues/?query=error.type:{kind}"
    (issue,) = urllib3.request("GET", url, headers=headers, timeout=TIMEOUT_S).json()
    return Shop(kind, issue["shortId"], trace, log["body"])


@pytest.fixture
def sentry(ready: Any, tmp_path: Path) -> Any:
    """Runs the CLI with nothing but the token, in a home of its own."""
    program = npm_project("sentry-toolkit") / "node_modules" / "sentry" / "dist" / "bin.cjs"
    settings = {
        "SENTRY_AUTH_TOKEN": ready["auth_token"],
        "SENTRY_ORG": "default",
        "SENTRY_URL": ready["console_url"],
        "HOME": str(tmp_path),
    }
    return lambda *arguments: run([require_node(), program, *arguments], tmp_path, **settings)


@pytest.mark.proves(
    *TOOLKIT, "`issue list`, `view`, `events`, `tags`, `resolve`; `event list`", "search, tags and states of issues"
)
def test_issues_with_the_new_cli(sentry: Any, ready: Any, shop: Shop) -> None:
    """By short id, as people copy it from a page."""
    project = f"default/{ready['project']}"
    listed = json.loads(sentry("issue", "list", project, "--query", f"error.type:{shop.kind}", "--json"))
    assert shop.issue in json.dumps(listed)
    assert shop.kind in sentry("issue", "view", shop.issue, "--json")
    assert "seven" in sentry("issue", "tags", shop.issue, "till", "--json")
    assert "no payment" in sentry("event", "list", shop.issue, "--json")
    sentry("issue", "resolve", shop.issue)
    assert '"resolved"' in sentry("issue", "view", shop.issue, "--json")
    sentry("issue", "unresolve", shop.issue)


@pytest.mark.proves(
    *TOOLKIT,
    "`log list`, `log view`, `span list`, `trace list`, `trace view`, `trace logs`, `explore`",
    "logs, spans and the tree of a trace; groups with functions",
)
def test_logs_spans_and_traces_with_the_new_cli(sentry: Any, ready: Any, shop: Shop) -> None:
    """Of one trace."""
    project = f"default/{ready['project']}"
    logs = json.loads(sentry("log", "list", project, "--query", f"trace:{shop.trace}", "--json"))
    assert shop.log in json.dumps(logs)
    item = (logs["data"] if isinstance(logs, dict) else logs)[0]["sentry.item_id"]
    assert shop.log in sentry("log", "view", project, item, "--json")
    assert f"SELECT {shop.kind}" in sentry("span", "list", project, "--query", f"trace:{shop.trace}", "--json")
    assert shop.trace in sentry("trace", "list", project, "--query", f"transaction:/{shop.kind}", "--json")
    assert f"SELECT {shop.kind}" in sentry("trace", "view", f"{project}/{shop.trace}", "--json")
    assert shop.log in sentry("trace", "logs", f"default/{shop.trace}", "--json")
    grouped = sentry(
        *("explore", project, "--dataset", "errors", "--field", "title", "--agg", "count()"),
        *("--query", f"error.type:{shop.kind}", "--json"),
    )
    assert shop.kind in grouped


def of_both(feature: str, result: str) -> pytest.MarkDecorator:
    """The same test for both versions of sentry-cli, with a claim of each."""
    titles = {"sentry-cli": "sentry-cli", "sentry-cli-2": "sentry-cli 2"}
    versions = {name: npm_pin(name, "@sentry/cli") for name in titles}
    cases = [
        pytest.param(name, marks=pytest.mark.proves(title, versions[name], feature, result))
        for name, title in titles.items()
    ]
    return pytest.mark.parametrize("name", cases)


@of_both("`logs list`", "logs by query")
def test_logs_with_sentry_cli(ready: Any, shop: Shop, tmp_path: Path, name: str) -> None:
    """It needs the organisation beside the token."""
    program = npm_project(name) / "node_modules" / ".bin" / "sentry-cli"
    settings = {"SENTRY_AUTH_TOKEN": ready["auth_token"], "SENTRY_PROJECT": ready["project"], "SENTRY_ORG": "default"}
    assert shop.log in run(
        [program, "logs", "list", "--query", f"severity:warn trace:{shop.trace}"], tmp_path, **settings
    )
    listed = run([program, "logs", "list", "--query", f"severity:error trace:{shop.trace}"], tmp_path, **settings)
    assert shop.log not in listed


@pytest.mark.proves(
    *MCP,
    "`find_organizations`, `find_projects`, `search_issues`, `search_events` (errors, spans, logs), "
    "`get_sentry_resource`, `update_issue`; by `execute_sentry_tool`: `get_issue_details`, `get_issue_tag_values`, "
    "`get_issue_activity`, `search_issue_events`, `get_trace_details`, `find_releases`, `find_alert_rules`, "
    "`find_dsns`",
    "an assistant finds, reads and resolves issues, and follows their traces",
)
def test_an_assistant_asks(ready: Any, shop: Shop, tmp_path: Path) -> None:
    """Over standard input and output, with the token that `up` made."""
    program = npm_project("sentry-mcp") / "node_modules" / "@sentry" / "mcp-server" / "dist" / "index.js"
    place = ready["console_url"].removeprefix("http://")
    flags = (f"--access-token={ready['auth_token']}", f"--host={place}", "--insecure-http", "--all-skills")
    with McpSession([require_node(), program, *flags], HOME=str(tmp_path)) as session:
        assert {"search_events", "search_issues", "update_issue", "execute_sentry_tool"} <= session.tools()
        of_default = {"organizationSlug": "default"}
        of_issue = of_default | {"issueId": shop.issue}

        def execute(name: str, **arguments: Any) -> str:
            return session.call("execute_sentry_tool", name=name, arguments=of_default | arguments)

        assert '"default"' in session.call("find_organizations")
        assert ready["project"] in session.call("find_projects", **of_default)
        assert shop.issue in session.call("search_issues", query=f"error.type:{shop.kind}", **of_default)
        for dataset, query, expected in (
            ("errors", f"error.type:{shop.kind}", "no payment"),
            ("spans", f"span.op:db trace:{shop.trace}", f"SELECT {shop.kind}"),
            ("logs", f"severity:warning trace:{shop.trace}", shop.log),
        ):
            assert expected in session.call("search_events", dataset=dataset, query=query, **of_default)
        counted = {"dataset": "errors", "fields": ["issue", "count()"], "sort": "-count()", **of_default}
        assert shop.issue in session.call("search_events", query=f"error.type:{shop.kind}", **counted)
        read = session.call("get_sentry_resource", resourceType="issue", resourceId=shop.issue, **of_default)
        assert "no payment" in read
        assert "pay.py" in execute("get_issue_details", issueId=shop.issue)
        assert "seven" in execute("get_issue_tag_values", issueId=shop.issue, tagKey="till")
        assert "no payment" in execute("search_issue_events", issueId=shop.issue, query="till:seven")
        assert f"SELECT {shop.kind}" in execute("get_trace_details", traceId=shop.trace)
        assert f"{ready['url'].removeprefix('http://')}/1" in execute("find_dsns", projectSlug=ready["project"])
        execute("find_alert_rules", projectSlug=ready["project"])
        execute("find_releases")
        assert "resolved" in session.call("update_issue", status="resolved", **of_issue)
        assert "set_resolved" in execute("get_issue_activity", issueId=shop.issue)
