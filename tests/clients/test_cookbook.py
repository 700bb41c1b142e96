"""Every query of docs/cookbook.md, run on what Sentry and OpenTelemetry SDKs have sent, and its answer checked."""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.clients import cookbook_page
from tests.clients.cookbook_checks import CHECKS
from tests.clients.cookbook_page import Question
from tests.clients.otel_processes import Facts, facts_of
from tests.clients.toolchains import PROGRAMS
from tests.polling import eventually
from tests.system import System

pytestmark = pytest.mark.clients

QUESTIONS = cookbook_page.read()
PROGRAM = PROGRAMS / "otel-cookbook"
# Rows that the two programs make; aggregates of sessions are as many as minutes have passed.
ROWS = {"attachment": 1, "check_in": 4, "event": 5, "otlp_log": 2, "otlp_span": 141, "session": 6, "transaction": 4}
NOT_READ_ONLY = re.compile(r"\b(insert|alter|create|drop|delete|update|truncate|optimize|system|rename|grant)\b", re.I)


def send(url: str, key: str, channel: int, body: str) -> int:
    """POST an OTLP/JSON body of traces; returns the status."""
    headers = {"X-API-Key": key, "X-Axonpush-Channel": str(channel), "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/traces", body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.fixture(scope="module")
def shop(system: System) -> Facts:
    """A channel with everything the shop's programs send, and one body that nobody can read; all of it stored."""
    url = system.ready["url"]
    channel = int(json.loads(system.cli("channels", "create", "--json").stdout)["id"])
    key = system.mint("--channel", str(channel), environment="production")
    eventually(lambda: send(url, key, channel, '{"resourceSpans":[]}') == 200, "the new key to be known")
    dsn = f"{url.replace('://', f'://{key}@')}/{channel}"
    facts = facts_of([sys.executable, PROGRAM / "sentry_shop.py", dsn])
    facts |= facts_of([sys.executable, PROGRAM / "otel_shop.py", url, key, str(channel)])
    assert send(url, key, channel, '{"resourceSpans": "nobody can read this"') == 400
    assert send(url, "ak_" + "u" * 32, channel, '{"resourceSpans":[]}') == 401
    eventually(lambda: _stored(system, channel), f"{ROWS}, an outcome of each kind and a dead letter")
    counts = system.query("SELECT count() AS rows FROM events WHERE channel_id = {channel:UInt64}", channel=channel)
    return facts | {"channel": channel, "spans": ROWS["otlp_span"], **counts[0], "issue": _issue(system, channel)}


def _stored(system: System, channel: int) -> bool:
    query = "SELECT item_type, count() AS rows FROM events WHERE channel_id = {channel:UInt64} GROUP BY item_type"
    rows = {row["item_type"]: row["rows"] for row in system.query(query, channel=channel)}
    count = "SELECT count() AS n FROM %s WHERE channel_id = {channel:UInt64}"
    refused = system.query(f"{count % 'outcomes'} AND outcome != 'accepted'", channel=channel)[0]["n"]
    dead = system.query(count % "dead_letters", channel=channel)[0]["n"]
    unknown = system.query(f"{count % 'outcomes'} AND outcome = 'refused'", channel=channel)[0]["n"]
    return rows.pop("sessions", 0) > 0 and rows == ROWS and refused >= 3 and unknown >= 1 and dead == 1


def _issue(system: System, channel: int) -> str:
    query = (
        "SELECT DISTINCT group_hash FROM events WHERE channel_id = {channel:UInt64} AND exception_type = 'CardDeclined'"
    )
    (row,) = system.query(query, channel=channel)
    return str(row["group_hash"])


def parameters(question: Question, facts: Facts) -> dict[str, Any]:
    """What a reader fills in."""
    known = {
        "channel": facts["channel"],
        "trace": facts["cart"],
        "event": facts["StockMissing"],
        "issue": facts["issue"],
        "service": "api",
        "word": "MISSING",
        "conversation": "talk-1",
        "interval_s": 0.000001,
    }
    return {name: known[name] for name in question.parameters}


def test_each_query_has_a_check_and_each_check_a_query() -> None:
    """A question that nobody checks may be wrong; a check without a question checks nothing."""
    assert set(QUESTIONS) == set(CHECKS)
    assert len(QUESTIONS) == cookbook_page.count_of_blocks() >= 20, "a block that stands below no question"


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_a_query_only_reads_what_users_may_rely_on(question: Question) -> None:
    """One SELECT on the views, and a sentence or two about it."""
    assert question.sql.startswith(("SELECT", "WITH"))
    assert not NOT_READ_ONLY.search(question.sql)
    assert ";" not in question.sql
    assert question.sources, "a query that reads nothing"
    assert question.sources <= cookbook_page.READABLE
    assert question.words
    assert max(map(len, question.sql.splitlines())) <= 120


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_a_query_answers_its_question(system: System, shop: Facts, question: Question) -> None:
    """The answer is right, not only there."""
    rows = system.query(question.sql, **parameters(question, shop))
    assert rows, "no answer"
    CHECKS[question.title](rows, shop)


def test_a_job_that_runs_often_enough_is_not_missed(system: System, shop: Facts) -> None:
    """With an interval longer than the test there is nothing to report."""
    question = QUESTIONS["Which jobs have not run when they should have?"]
    assert system.query(question.sql, **parameters(question, shop) | {"interval_s": 86_400.0}) == []
