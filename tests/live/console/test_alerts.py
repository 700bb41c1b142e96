"""Alerts through a running system: an error becomes a webhook and an e-mail; kills and outages between."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import MAIL_PORT
from tests.live.console.web_api import Api, send_error
from tests.polling import eventually
from tests.receivers_of_alerts import MailServer, Webhook
from tests.system import System
from tests.traffic import Sender

pytestmark = pytest.mark.live
ALERTS = "/organizations/default/alerts/"
NEW_ISSUE = {"id": "sentry.rules.conditions.first_seen_event.FirstSeenEventCondition"}


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    with Webhook() as running:
        yield running


@pytest.fixture(scope="module")
def mail_server() -> Iterator[MailServer]:
    with MailServer(MAIL_PORT) as running:
        yield running


@pytest.fixture
def api(operated: System) -> Iterator[Api]:
    """The rules that a test made go with it: each would be evaluated every second until the session ends."""
    asking = Api(operated)
    yield asking
    for rule in asking("GET", ALERTS):
        asking("DELETE", f"{ALERTS}{rule['id']}/")


def make_rule(api: Api, channel: int, url: str, *more: dict[str, Any]) -> dict[str, Any]:
    """A rule about new issues that tells a webhook."""
    actions = [{"type": "webhook", "url": url}, *more]
    document = {"name": "New issues", "conditions": [NEW_ISSUE], "actions": actions, "frequency": 5}
    made: dict[str, Any] = api("POST", f"/projects/default/{channel}/rules/", document)
    return made


def test_a_new_issue_arrives_by_webhook_and_by_email(
    api: Api, sender: Sender, webhook: Webhook, mail_server: MailServer
) -> None:
    """Signed, once, with the issue; the rows say that both were delivered."""
    path, address = f"/{uuid.uuid4().hex}", f"{uuid.uuid4().hex}@acme.test"
    rule = make_rule(api, sender.channel, webhook.url + path, {"type": "email", "to": [address]})
    secret = rule["actions"][0]["secret"]
    send_error(sender, "CardRefused")
    (body,) = eventually(lambda: webhook.bodies(path), "the webhook")
    assert (body["status"], body["rule"]["id"], body["issue"]["title"]) == (
        "firing", rule["id"], "CardRefused: no payment",
    )  # fmt: skip
    _, headers, raw = next(post for post in webhook.posts if post[0] == path)
    told = dict(part.split("=") for part in headers["X-Axonpush-Signature"].split(","))
    assert told["v1"] == hmac.new(secret.encode(), f"{told['t']}.".encode() + raw, hashlib.sha256).hexdigest()
    (mail,) = eventually(lambda: mail_server.to(address), "the e-mail")
    assert "CardRefused: no payment" in str(mail["Subject"])
    rows = eventually(lambda: _delivered(sender.system, rule["id"], 2), "both rows")
    assert {row["type"] for row in rows} == {"webhook", "email"}
    send_error(sender, "CardRefused")
    send_error(sender, "Another")
    eventually(lambda: len(webhook.bodies(path)) > 1, "the next new issue")
    preview = api("POST", f"/organizations/default/alerts/{rule['id']}/preview/", {})
    assert {firing["title"].partition(": ")[2] for firing in preview["firings"]} == {
        "CardRefused: no payment", "Another: no payment",
    }  # fmt: skip
    assert api("GET", f"/projects/default/{sender.channel}/rules/{rule['id']}/")["lastTriggered"] > rule["dateCreated"]
    assert [one["issue"]["title"].partition(":")[0] for one in webhook.bodies(path)] == ["CardRefused", "Another"]


@pytest.mark.long
def test_metric_and_monitor_rules_fire(api: Api, sender: Sender, webhook: Webhook) -> None:
    """More errors than a threshold; a job that failed, and is well again."""
    hook = f"/{uuid.uuid4().hex}"
    action = {"type": "webhook", "url": f"{webhook.url}{hook}"}
    metric = {
        "name": "Many", "dataset": "errors", "aggregate": "count()", "query": "level:error", "timeWindow": 5,
        "thresholdType": 0, "triggers": [{"label": "critical", "alertThreshold": 1, "actions": [action]}],
        "projects": [str(sender.channel)],
    }  # fmt: skip
    number = api("POST", "/organizations/default/alert-rules/", metric)["id"]
    monitor = {"name": "Jobs", "on": ["failed"], "actions": [action]}
    api("POST", f"/projects/default/{sender.channel}/monitor-rules/", monitor)
    for _ in range(2):
        send_error(sender, "KeyError")
    _check_in(sender, "error")
    eventually(lambda: len(webhook.bodies(hook)) >= 2, "both webhooks")
    assert {body["title"] for body in webhook.bodies(hook)} == {"Many: critical", "nightly failed"}
    preview = api("POST", f"/organizations/default/alerts/{number}/preview/", {})
    assert [firing["title"] for firing in preview["firings"]] == ["Many: critical"]
    _check_in(sender, "ok")
    eventually(lambda: any(body["status"] == "resolved" for body in webhook.bodies(hook)), "that it is well again")


@pytest.mark.long
def test_an_issue_that_comes_back_is_told(api: Api, sender: Sender, webhook: Webhook) -> None:
    """Once, after it was resolved; not for its first error."""
    hook = f"/{uuid.uuid4().hex}"
    back = {"id": "sentry.rules.conditions.regression_event.RegressionEventCondition"}
    action = {"type": "webhook", "url": f"{webhook.url}{hook}"}
    rule = {"name": "Back", "conditions": [back], "actions": [action], "frequency": 5}
    api("POST", f"/projects/default/{sender.channel}/rules/", rule)
    send_error(sender, "ComesBack")
    issues = f"/projects/default/{sender.channel}/issues/"
    (issue,) = eventually(lambda: api("GET", issues, query="ComesBack"), "the issue")
    api("PUT", f"/organizations/default/issues/{issue['id']}/", {"status": "resolved"})
    send_error(sender, "ComesBack")
    (body,) = eventually(lambda: webhook.bodies(hook), "the webhook")
    assert "comes back" in body["message"]


def test_a_test_message_shows_its_answer(api: Api, sender: Sender, webhook: Webhook) -> None:
    """Of a stored rule and of one that is not stored; what a receiver does not take is said."""
    path = f"/{uuid.uuid4().hex}"
    rule = make_rule(api, sender.channel, webhook.url + path)
    (result,) = api("POST", f"{ALERTS}{rule['id']}/test/", {})["results"]
    assert (result["delivered"], result["answer"]) == (True, "HTTP 200")
    assert webhook.bodies(path)[0]["test"] is True
    unsaved = {"actions": [{"type": "slack", "url": f"{webhook.url}{path}"}]}
    (result,) = api("POST", f"{ALERTS}test/", unsaved)["results"]
    assert result["delivered"]
    assert webhook.bodies(path)[1]["attachments"]
    closed = {"actions": [{"type": "webhook", "url": "http://169.254.169.254/latest/"}]}
    (result,) = api("POST", f"{ALERTS}test/", closed)["results"]
    assert (result["delivered"], "AXONPUSH_ALERTS_ALLOWED_NETWORKS" in result["answer"]) == (False, True)


@pytest.mark.long
def test_a_kill_while_a_message_waits(api: Api, sender: Sender, webhook: Webhook) -> None:
    """The process that takes over sends it with the same id; it is one firing."""
    path = f"/{uuid.uuid4().hex}"
    rule = make_rule(api, sender.channel, webhook.url + path)
    webhook.status = 500
    try:
        send_error(sender, "Killed")
        eventually(lambda: webhook.bodies(path), "the first try")
        (pid,) = sender.system.ready["pids"]["alerts"]
        os.kill(pid, signal.SIGKILL)
    finally:
        webhook.status = 200
    (row,) = eventually(lambda: _delivered(sender.system, rule["id"], 1), "its delivery by another process")
    ids = {headers["Idempotency-Key"] for headers in webhook.headers(path)}
    assert ids == {row["delivery_id"]}
    counted = "SELECT uniqExact(firing_id) AS number FROM alert_firings WHERE rule_id = {rule:UInt64}"
    assert sender.system.query(counted, rule=int(rule["id"])) == [{"number": 1}]


@pytest.mark.long
def test_clickhouse_stops_and_comes_back(tmp_path: Path) -> None:
    """Errors that came meanwhile are told afterwards, once."""
    system = System(tmp_path, AXONPUSH_ALERTS_INTERVAL_S="1")
    with Webhook() as webhook:
        try:
            system.start()
            sender = Sender(system, 1)
            make_rule(Api(system), 1, f"{webhook.url}/hook")
            (pid,) = system.ready["pids"]["clickhouse"]
            os.kill(pid, signal.SIGSTOP)
            event = {"exception": {"values": [{"type": "Meanwhile", "value": "away"}]}, "timestamp": time.time()}
            assert sender.event("", uuid.uuid4().hex, **event) == 200
            os.kill(pid, signal.SIGKILL)
            (body,) = eventually(lambda: webhook.bodies("/hook"), "the webhook after the outage")
            assert body["issue"]["title"] == "Meanwhile: away"
        finally:
            system.end()


def _delivered(system: System, rule: str, number: int) -> list[dict[str, Any]]:
    """The rows of delivered messages, once there are so many."""
    sql = (
        "SELECT delivery_id, type FROM alert_deliveries "
        "WHERE rule_id = {rule:UInt64} AND status = 'delivered' AND NOT is_test"
    )
    rows = system.query(sql, rule=int(rule))
    return rows if len(rows) >= number else []


def _check_in(sender: Sender, status: str) -> None:
    check_in = json.dumps({"check_in_id": uuid.uuid4().hex, "monitor_slug": "nightly", "status": status})
    assert sender.envelope(f'{{}}\n{{"type":"check_in"}}\n{check_in}'.encode()) == 200
