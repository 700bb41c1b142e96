"""sentry-cli 2 and 3 against the Web API: one token configures them; issues and releases from a pipeline."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.clients.sentry_clients import npm_pin, run
from tests.clients.toolchains import npm_project

pytestmark = pytest.mark.clients

VERSIONS = {"sentry-cli": npm_pin("sentry-cli", "@sentry/cli"), "sentry-cli-2": npm_pin("sentry-cli-2", "@sentry/cli")}
DOMAIN_S = 60

Cli = Callable[..., str]


def proves(name: str, feature: str, result: str) -> Any:
    """A test of one version with its claim."""
    title = "sentry-cli" if name == "sentry-cli" else "sentry-cli 2"
    return pytest.param(name, marks=pytest.mark.proves(title, VERSIONS[name], feature, result))


def each_proves(feature: str, result: str) -> pytest.MarkDecorator:
    """The same test for both versions."""
    return pytest.mark.parametrize("name", [proves(name, feature, result) for name in VERSIONS])


@pytest.fixture
def cli(ready: Any, tmp_path: Path) -> Callable[[str], Cli]:
    """Runs one version with nothing but the token, in a folder of its own."""

    def of(name: str) -> Cli:
        program = npm_project(name) / "node_modules" / ".bin" / "sentry-cli"
        settings = {"SENTRY_AUTH_TOKEN": ready["auth_token"], "SENTRY_PROJECT": ready["project"]}
        return lambda *arguments: run([program, *arguments], tmp_path, **settings)

    return of


@pytest.fixture
def api(ready: Any) -> Callable[..., Any]:
    """The Web API with the token that `up` made."""
    pool = urllib3.PoolManager(headers={"Authorization": f"Bearer {ready['auth_token']}"})

    def ask(path: str, **query: str) -> Any:
        answer = pool.request("GET", f"{ready['console_url']}/api/0{path}", fields=query, retries=False, timeout=60)
        assert answer.status == 200, answer.data
        return json.loads(answer.data)

    return ask


def send_error(ready: Any, sql: Any, release: str) -> str:
    """One error of its own kind; returns the kind once it is a row."""
    kind, event_id = f"Error{uuid.uuid4().hex[:12]}", uuid.uuid4().hex
    frames = [{"filename": "pay.py", "function": kind, "lineno": 1, "in_app": True}]
    error = {"type": kind, "value": "no payment", "stacktrace": {"frames": frames}}
    event = {"exception": {"values": [error]}, "timestamp": time.time(), "release": release}
    lines = [{"event_id": event_id}, {"type": "event"}, event]
    url = f"{ready['url']}/api/1/envelope/?sentry_key={ready['api_key']}"
    answer = urllib3.request("POST", url, body="\n".join(map(json.dumps, lines)) + "\n", timeout=DOMAIN_S)
    assert answer.status == 200
    sql.wait(f"SELECT 1 FROM error_rows WHERE event_id = '{uuid.UUID(event_id)}'", 1)
    return kind


@each_proves(
    "`info`, `organizations`, `projects`, `repos`, `monitors`: lists", "address and organisation from the token"
)
def test_a_token_is_all_that_it_needs(cli: Any, ready: Any, name: str) -> None:
    """SENTRY_URL and SENTRY_ORG are in the token."""
    tool = cli(name)
    assert VERSIONS[name] in tool("--version")
    said = tool("info")
    assert ready["console_url"] in said
    assert "project:releases" in said
    assert " default " in tool("organizations", "list")
    assert f" {ready['project']} " in tool("projects", "list")
    tool("repos", "list")
    tool("monitors", "list")


@each_proves("`issues list`, `issues resolve`, `events list`", "search by query; resolved here and in the page")
def test_issues_are_listed_and_resolved(cli: Any, api: Any, ready: Any, sql: Any, name: str) -> None:
    """By number; the list says so afterwards."""
    tool, kind = cli(name), send_error(ready, sql, f"shop@{uuid.uuid4().hex}")
    assert kind in tool("issues", "list", "--query", f"is:unresolved error.type:{kind}")
    (issue,) = api("/organizations/default/issues/", query=f"error.type:{kind}")
    assert issue["shortId"] in tool("issues", "list", "--query", kind)
    assert "resolved" in tool("issues", "resolve", "--id", issue["id"])
    assert kind not in tool("issues", "list", "--query", f"is:unresolved error.type:{kind}")
    assert api(f"/organizations/default/issues/{issue['id']}/")["status"] == "resolved"
    assert kind in tool("events", "list", "--max-rows", "20")


@each_proves(
    "`releases new`, `set-commits`, `finalize`, `list`, `info`, `archive`, `restore`, `delete`, `deploys`",
    "a release with commits and deploys; its new issues and errors beside it",
)
def test_a_release_of_a_pipeline(*, cli: Any, api: Any, ready: Any, sql: Any, tmp_path: Path, name: str) -> None:
    """Each step, and what the API and SQL say then."""
    tool, release = cli(name), f"shop@{uuid.uuid4().hex}"
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for command in (("init", "--quiet"), ("commit", "--quiet", "--allow-empty", "--message", "Takes payments")):
        subprocess.run([*git, *command], cwd=tmp_path, check=True, timeout=DOMAIN_S)
    assert release in tool("releases", "new", release)
    tool("releases", "set-commits", release, "--local")
    tool("deploys", "new", "--release", release, "--env", "production")
    tool("releases", "finalize", release)
    send_error(ready, sql, release)
    found = api(f"/organizations/default/releases/{release}/")
    assert (found["commitCount"], found["newGroups"], found["eventCount"]) == (1, 1, 1)
    assert found["lastCommit"]["message"].strip() == "Takes payments"
    assert found["lastDeploy"]["environment"] == "production"
    assert found["dateReleased"]
    assert release in tool("releases", "list")
    assert release in tool("releases", "info", release)
    assert "production" in tool("deploys", "list", "--release", release)
    (row,) = sql.rows(f"SELECT errors, new_issues FROM releases WHERE version = '{release}'")
    assert row == {"errors": 1, "new_issues": 1}
    tool("releases", "archive", release)
    assert api(f"/organizations/default/releases/{release}/")["status"] == "archived"
    tool("releases", "restore", release)
    tool("releases", "delete", release)
    assert sql.rows(f"SELECT 1 FROM releases WHERE version = '{release}'") == []
