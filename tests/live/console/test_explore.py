"""Discover and traces of a running system: what is answered equals what SQL says, for errors, spans and logs."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from console.query.datasets import ERRORS, LOGS, SPANS
from tests.live.console.web_api import Api, send_error
from tests.polling import eventually
from tests.system import System
from tests.traffic import Sender

pytestmark = pytest.mark.live
EVENTS = "/organizations/default/events/"


@pytest.fixture(scope="module")
def api(operated: System) -> Api:
    """With the token that `up` made."""
    return Api(operated)


def shop_trace(sender: Sender) -> str:
    """A transaction with two spans, one of which failed, an OpenTelemetry span below it, two logs and an error."""
    trace, began_s = uuid.uuid4().hex, sender.began_s
    times = {"start_timestamp": began_s, "timestamp": began_s + 0.5}
    children = [
        {"span_id": f"{number:016x}", "parent_span_id": "a" * 16, "op": "db", "description": text, "status": status}
        | {"trace_id": trace, "start_timestamp": began_s, "timestamp": began_s + number / 10}
        for number, text, status in ((1, "SELECT 1", "ok"), (2, "SELECT 2", "internal_error"))
    ]
    root = {"trace_id": trace, "span_id": "a" * 16, "op": "http.server", "status": "ok"}
    transaction = {
        "type": "transaction",
        "transaction": "/pay",
        "contexts": {"trace": root},
        "spans": children,
        **times,
    }
    log = {"timestamp": began_s + 0.1, "trace_id": trace, "level": "warn", "body": "card is slow", "span_id": "a" * 16}
    logs = [log, log | {"timestamp": began_s + 0.2, "level": "info", "body": "paid"}]
    lines: list[Any] = [{"event_id": uuid.uuid4().hex}, {"type": "transaction"}, transaction]
    lines += [{"type": "log", "item_count": 2}, {"items": logs}]
    assert sender.envelope("\n".join(map(json.dumps, lines)).encode() + b"\n") == 200
    otlp = {"spanId": "b" * 16, "parentSpanId": f"{1:016x}", "name": "charge"}
    assert sender.spans(otlp, trace_id=trace) == 200
    send_error(sender, "PaymentRefused", contexts={"trace": {"trace_id": trace, "span_id": f"{2:016x}"}})
    stored = "SELECT 1 FROM events WHERE channel_id = {channel:UInt64} AND trace_id = {trace:String}"
    sender.system.rows(stored, 7, channel=sender.channel, trace=trace)
    return trace


def test_groups_of_errors_equal_sql(api: Api, operated: System, sender: Sender) -> None:
    """`field=title&field=count()`, as scripts ask; conditions on functions, orders, pages."""
    for user, release in (("ada", "web@1"), ("bob", "web@1"), ("ada", "web@2")):
        send_error(sender, "PaymentRefused", user=user, release=release, tags={"till": "seven", "left": "2.5"})
    send_error(sender, "KeyError")

    def ask(*fields: str, **more: Any) -> list[dict[str, Any]]:
        found = api("GET", EVENTS, field=fields, project=sender.channel, statsPeriod="24h", **more)
        rows: list[dict[str, Any]] = found["data"]
        return rows

    said = operated.query(
        "SELECT title, count() AS times, uniqExact(user_id) AS users FROM events "
        "WHERE channel_id = {channel:UInt64} AND is_error GROUP BY title ORDER BY times DESC",
        channel=sender.channel,
    )
    groups = ask("title", "count()", "count_unique(user.id)", sort="-count")
    assert [(row["title"], row["count()"]) for row in groups] == [(row["title"], row["times"]) for row in said]
    assert [row["count_unique(user.id)"] for row in groups] == [2, 0]
    assert [row["count()"] for row in ask("title", "count()", query="count():>1")] == [3]
    assert ask("count_if(till,equals,seven)", "avg(left)", "count()") == [
        {"count_if(till,equals,seven)": 3, "avg(left)": 2.5, "count()": 4}
    ]
    assert ask("count_if(`release:web@1`)", query="is:unresolved") == [{"count_if(`release:web@1`)": 2}]
    newest = ask("title", "till", "issue", "user.display", "timestamp", sort="-timestamp", per_page=1)
    (issue,) = api("GET", f"/projects/default/{sender.channel}/issues/", query="KeyError")
    assert (newest[0]["issue"], newest[0]["till"]) == (issue["shortId"], None)
    assert newest[0]["timestamp"] == issue["lastSeen"]
    assert [row["title"][:8] for row in ask("title", cursor="0:1:0", per_page=2)] == ["PaymentR", "PaymentR"]
    assert ask("title", query=f"issue:{issue['shortId']}")[0]["title"] == newest[0]["title"]
    points = api(
        "GET", "/organizations/default/events-stats/", project=sender.channel, interval="1h", statsPeriod="24h"
    )
    assert sum(point[1][0]["count"] for point in points["data"]) == 4
    assert {"till", "left"} <= {
        tag["key"] for tag in api("GET", "/organizations/default/tags/", project=sender.channel)
    }


def test_spans_logs_and_the_trace_they_make(api: Api, sender: Sender) -> None:
    """Of Sentry and OpenTelemetry in one tree; the error and the logs at their place."""
    trace = shop_trace(sender)

    def ask(dataset: str, *fields: str, **more: Any) -> list[dict[str, Any]]:
        found = api("GET", EVENTS, dataset=dataset, field=fields, project=sender.channel, statsPeriod="24h", **more)
        rows: list[dict[str, Any]] = found["data"]
        return rows

    assert ask("spans", "span.op", "count()", "p50(span.duration)", query="span.op:db") == [
        {"span.op": "db", "count()": 2, "p50(span.duration)": 150.0}
    ]
    assert ask("spans", "failure_rate()", query="span.op:db") == [{"failure_rate()": 0.5}]
    assert ask("spans", "transaction", query="is_transaction:true span.duration:>300ms") == [{"transaction": "/pay"}]
    assert [row["id"] for row in ask("spans", "id", sort="-span.duration", per_page=1)] == ["b" * 16]
    slow = {"severity": "warning", "message": "card is slow", "trace": trace}
    assert ask("logs", *slow, query="severity:warn") == [slow]
    by_id = ask("logs", "sentry.item_id", "timestamp_precise", query="paid")[0]
    assert abs(by_id["timestamp_precise"] / 1e9 - sender.began_s - 0.2) < 0.01
    (log,) = ask("logs", "message", query=f"sentry.item_id:[{by_id['sentry.item_id']}]")
    assert log == {"message": "paid"}
    (root,) = api("GET", f"/organizations/default/trace/{trace}/")
    assert (root["span_id"], root["transaction"], root["is_transaction"]) == ("a" * 16, "/pay", True)
    below = {child["description"]: child for child in root["children"]}
    assert [child["description"] for child in below["SELECT 1"]["children"]] == ["charge"]
    assert [error["title"] for error in below["SELECT 2"]["errors"]] == ["PaymentRefused: no payment"]
    meta = api("GET", f"/organizations/default/trace-meta/{trace}/")
    assert (meta["span_count"], meta["errors"], meta["logs"], meta["span_count_map"]["db"]) == (4, 1, 2, 2)
    logs = api("GET", "/organizations/default/trace-logs/", traceId=trace, statsPeriod="24h", sort="timestamp")
    assert [one["message"] for one in logs["data"]] == ["card is slow", "paid"]
    item = api("GET", f"/projects/default/{sender.channel}/trace-items/{'b' * 16}/", trace_id=trace, item_type="spans")
    assert {"name": "name", "type": "str", "value": "charge"} in item["attributes"]
    names = api("GET", "/organizations/default/trace-items/attributes/", itemType="spans", substringMatch="span.op")
    assert "span.op" in [one["key"] for one in names]


def test_nothing_of_another_organisation_is_explored(api: Api, operated: System, sender: Sender) -> None:
    """Neither by a project's number, nor by a trace that is known, nor by a query that could be wider."""
    trace = shop_trace(sender)
    operated.cli("organisations", "create", f"o{trace[:8]}")
    minted = operated.cli("tokens", "mint", "--organisation", f"o{trace[:8]}", "--json").stdout
    theirs = Api(operated, json.loads(minted)["token"])
    own = f"/organizations/o{trace[:8]}"
    eventually(lambda: theirs.answer("GET", "/organizations/")[0] == 200, "the other token")
    assert theirs.answer("GET", EVENTS, field="title")[0] == 404
    assert theirs.answer("GET", f"/organizations/default/trace/{trace}/")[0] == 404
    assert theirs("GET", f"{own}/trace/{trace}/") == []
    assert theirs("GET", f"{own}/trace-meta/{trace}/")["span_count"] == 0
    for query in ("", "a:1 OR !a:1", f"trace:{trace}", "!has:nothing"):
        assert theirs("GET", f"{own}/events/", dataset="spans", field="count()", query=query)["data"] == []
    assert theirs.answer("GET", f"{own}/events/", field="title", project=sender.channel)[0] == 404
    assert theirs.answer("GET", f"{own}/events/", field="title", query=f"project:{sender.channel}")[0] == 400


def test_every_column_of_every_dataset_can_be_asked(api: Api, sender: Sender) -> None:
    """As a field, a condition, an order, and in functions: all of it is SQL that the engine runs, or a 400.

    There are rows of all datasets: columns are asked of events that were found.
    """
    shop_trace(sender)
    for dataset in (ERRORS, SPANS, LOGS):
        every = {id(field): name for name, field in dataset.fields.items() if name not in dataset.refused}
        names = sorted(name for name in every.values() if not dataset.fields[name].of_issue)
        for name in set(every.values()) - set(names) - {"issue.category", "issue.type"}:
            assert api.answer("GET", EVENTS, dataset=dataset.name, field=name)[0] == 400
        for start in range(0, len(names), 30):
            part = names[start : start + 30]
            query = " ".join(f"has:{name}" for name in part)
            assert "data" in api("GET", EVENTS, dataset=dataset.name, field=part, query=query, statsPeriod="1h")
        condition = "`has:release OR !has:release`"
        functions = ("max({})", "count_unique({})", f"any_if({condition},{{}})")
        asked = [function.format(name) for function in functions for name in names]
        for start in range(0, len(asked), 39):
            field = [*asked[start : start + 39], "epm()"]
            assert "data" in api("GET", EVENTS, dataset=dataset.name, field=field, statsPeriod="1h")


def test_the_largest_questions_are_answered_or_refused(api: Api) -> None:
    """Never an error of the server: as many terms, values and fields as a request may have."""
    values = ",".join(f"{number}" for number in range(99))
    questions = [
        {"query": " ".join(f"t{number}:[{values}]" for number in range(13))},
        {"query": " ".join(f"t{number}:*a*" for number in range(50))},
        {"query": " ".join(f"t{number}:>1" for number in range(50))},
        {"query": "(" * 8 + "a:1" + ")" * 8 + " OR b:2" * 40},
        {"query": "firstSeen:-999999w release:latest"},
        {"statsPeriod": "99999w", "sort": "title"},
        {"field": [f"p95(tags[n{number},number])" for number in range(40)]},
        {"field": [f"count_if(`{'a:b ' * 50}`)" for number in range(3)]},
    ]
    for question in questions:
        status, document = api.answer("GET", EVENTS, **{"field": "count()", "statsPeriod": "1h"} | question)
        assert status in (200, 400), (question, document)
