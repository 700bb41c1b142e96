"""What each query of docs/cookbook.md has to answer about the shop of programs/otel-cookbook. Running: elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Row = dict[str, Any]
Rows = list[Row]
Facts = dict[str, Any]
Check = Callable[[Rows, Facts], None]

CHECKS: dict[str, Check] = {}
OLD, NEW = "shop@1.0.0", "shop@2.0.0"


def answers(title: str) -> Callable[[Check], Check]:
    """Registers the check of the question with this heading."""

    def register(check: Check) -> Check:
        assert title not in CHECKS, f"expected one check for {title!r}, found two"
        CHECKS[title] = check
        return check

    return register


def only(rows: Rows, *names: str) -> list[tuple[Any, ...]]:
    """Some columns of every row."""
    return [tuple(row[name] for name in names) for row in rows]


def one(rows: Rows, **values: Any) -> Row:
    """The row that has these values; there is exactly one."""
    (found,) = [row for row in rows if values.items() <= row.items()]
    return found


@answers("Which issues happen most, and whom do they hit?")
def _(rows: Rows, facts: Facts) -> None:
    first, *others = only(rows, "latest_title", "times", "users")
    assert first == ("CardDeclined: card 4 declined", 4, 3)
    # Those with equal counts are in the order of their hashes. The last one is OpenTelemetry's.
    assert sorted(others) == [("ConnectionError: bank is away", 1, 0), ("StockMissing: no apples", 1, 1)]
    assert rows[0]["group_hash"] == facts["issue"]
    assert rows[0]["first_seen"] < rows[0]["last_seen"]


@answers("Which issues are new in the newest release?")
def _(rows: Rows, _facts: Facts) -> None:
    assert only(rows, "newest_release", "type", "times") == [(NEW, "StockMissing", 1)]


@answers("What is the error rate of each release?")
def _(rows: Rows, _facts: Facts) -> None:
    columns = ("release", "requests", "failed", "failed_percent", "errors")
    assert only(rows, *columns) == [(NEW, 1, 1, 100, 2), ("api@7", 111, 2, 1.8, 1), (OLD, 3, 0, 0, 3)]


@answers("Which users have the most errors?")
def _(rows: Rows, _facts: Facts) -> None:
    assert only(rows, "user_id", "errors", "issues") == [("ada", 2, 1), ("bob", 2, 2), ("dee", 1, 1)]
    assert rows[0]["email"] == "ada@example.com"


@answers("What led to an error?")
def _(rows: Rows, _facts: Facts) -> None:
    assert only(rows, "category", "message") == [("cart", "added 3 apples"), ("stock", "asked the warehouse")]
    assert rows[1]["data"] == '{"sku":"A-1"}'


@answers("Which files came with an error?")
def _(rows: Rows, _facts: Facts) -> None:
    columns = ("file", "content_type", "size_bytes", "was_cut", "content")
    assert only(rows, *columns) == [("cart.json", "application/json", 13, 0, '{"apples": 3}')]


@answers("What does the latest error of an issue look like?")
def _(rows: Rows, _facts: Facts) -> None:
    assert only(rows, "title", "release") == [("CardDeclined: card 4 declined", NEW)]
    assert "in pay" in rows[0]["exception_stacktrace"]
    assert len(rows[0]["trace_id"]) == 32


@answers("What do the errors of an issue have in common?")
def _(rows: Rows, _facts: Facts) -> None:
    tills = [row for row in rows if row["tag"] == "till"]
    assert only(tills, "value", "errors", "percent") == [("till-ada", 2, 50), ("till-bob", 1, 25), ("till-dee", 1, 25)]


@answers("Which exceptions do OpenTelemetry services record?")
def _(rows: Rows, facts: Facts) -> None:
    columns = ("service_name", "exception_type", "latest_message", "times", "latest_trace")
    assert only(rows, *columns) == [("api", "ConnectionError", "bank is away", 1, facts["failed_payment"])]


@answers("How many sessions of each release are free of crashes?")
def _(rows: Rows, _facts: Facts) -> None:
    columns = ("release", "sessions", "crashed", "crash_free_percent")
    assert only(rows, *columns) == [(OLD, 3, 0, 100), (NEW, 5, 1, 80)], "two of the five came in an aggregate"


@answers("How far has each release been adopted?")
def _(rows: Rows, _facts: Facts) -> None:
    assert only(rows, "release", "users", "percent", "sessions") == [(NEW, 3, 75, 3), (OLD, 2, 50, 3)]


@answers("Which operations are slowest?")
def _(rows: Rows, _facts: Facts) -> None:
    search = one(rows, service_name="api", name="GET /search")
    assert (search["spans"], search["p50_ms"], search["p95_ms"], search["p99_ms"]) == (100, 51, 96, 100)
    assert rows[0]["name"] == "invoke_agent clerk"


@answers("What does a trace look like, as a tree?")
def _(rows: Rows, _facts: Facts) -> None:
    assert only(rows[:3], "span", "service_name", "starts_ms", "lasts_ms", "depth") == [
        ("click cart", "web", 0, 900, 0),
        ("    GET /cart", "api", 50, 800, 1),
        ("        SELECT item", "api", 70, 40, 2),
    ]
    assert [row["starts_ms"] for row in rows[2:]] == [70 + 50 * item for item in range(12)]


@answers("What was logged during a trace?")
def _(rows: Rows, _facts: Facts) -> None:
    assert only(rows, "message", "severity_number", "service_name") == [
        ("cart has twelve items", 9, "api"),
        ("a price is missing", 13, "api"),
    ]


@answers("Where does the time of a trace go, from the browser to the last service?")
def _(rows: Rows, _facts: Facts) -> None:
    columns = ("service_name", "first_span", "reached_after_ms", "longest_span_ms", "spans", "failed")
    assert only(rows, *columns) == [("web", "click cart", 0, 900, 1, 0), ("api", "GET /cart", 50, 800, 13, 0)]


@answers("Which requests ask the database once per row?")
def _(rows: Rows, facts: Facts) -> None:
    (found,) = rows
    assert (found["trace_id"], found["service"], found["times"], found["total_ms"]) == (facts["cart"], "api", 12, 480)
    assert found["query"] == "SELECT * FROM item WHERE id = $1"


@answers("How much time is spent in each database?")
def _(rows: Rows, _facts: Facts) -> None:
    columns = ("db_system", "queries", "total_ms", "percent", "p95_ms")
    assert only(rows, *columns) == [("postgresql", 12, 480, 96, 40), ("redis", 10, 20, 4, 2)]


@answers("Which spans have a numeric attribute above some value?")
def _(rows: Rows, facts: Facts) -> None:
    assert only(rows, "name", "cart_value", "trace_id") == [("GET /cart", 129.5, facts["cart"])]


@answers("Which service calls which?")
def _(rows: Rows, _facts: Facts) -> None:
    assert only(rows, "caller", "callee", "calls", "p95_ms") == [("web", "api", 1, 800)]


@answers("Which routes answer with 5xx?")
def _(rows: Rows, facts: Facts) -> None:
    payments = one(rows, service_name="api")
    assert (payments["http_method"], payments["route"], payments["requests"]) == ("POST", "/pay", 10)
    assert (payments["server_errors"], payments["percent"]) == (2, 20)
    assert payments["latest_trace"] == facts["failed_payment"]
    assert one(rows, route="POST /pay")["server_errors"] == 1, "the transaction of the Sentry SDK"


@answers("How much of the error budget is left?")
def _(rows: Rows, _facts: Facts) -> None:
    assert only(rows, "requests", "failed", "budget_left") == [(111, 2, -0.802)]


@answers("Which logs contain a word?")
def _(rows: Rows, facts: Facts) -> None:
    assert only(rows, "body", "severity_text", "trace_id") == [("a price is missing", "WARN", facts["cart"])]


@answers("How many logs does each service write, and how bad are they?")
def _(rows: Rows, _facts: Facts) -> None:
    assert only(rows, "service_name", "logs", "warnings", "errors", "text") == [("api", 2, 1, 0, "39.00 B")]


@answers("What do the models cost?")
def _(rows: Rows, _facts: Facts) -> None:
    columns = ("gen_ai_provider", "gen_ai_model", "calls", "input_tokens", "output_tokens", "dollars")
    assert only(rows, *columns) == [("openai", "gpt-4o-mini", 2, 2500, 500, 0.000675)]


@answers("Which tool calls of agents are slowest?")
def _(rows: Rows, _facts: Facts) -> None:
    assert only(rows, "agent", "tool", "p95_ms") == [("clerk", "stock", 1500), ("clerk", "price", 300)]
    assert {row["slowest_conversation"] for row in rows} == {"talk-1"}


@answers("What was said in a conversation?")
def _(rows: Rows, _facts: Facts) -> None:
    assert only(rows, "role", "text") == [
        ("user", "How many apples are left?"),
        ("assistant", "I will look."),
        ("tool", "3"),
        ("assistant", "Three."),
    ]


@answers("Which jobs have not run when they should have?")
def _(rows: Rows, _facts: Facts) -> None:
    assert {row["monitor"] for row in rows} == {"nightly-report", "stock-import"}, "neither has run since"
    assert all(row["seconds"] > 0 and row["last_run"] < row["next_run"] for row in rows)


@answers("Which runs have failed, and which have never ended?")
def _(rows: Rows, _facts: Facts) -> None:
    assert only(rows, "monitor", "run", "result", "seconds") == [
        ("nightly-report", "2" * 32, "failed", 2.5),
        ("stock-import", "3" * 32, "not ended", 0),
    ]


@answers("Which channels are the noisiest?")
def _(rows: Rows, facts: Facts) -> None:
    shop = one(rows, channel_id=facts["channel"])
    assert (shop["rows"], shop["keys"], shop["mostly"]) == (facts["rows"], 1, "app.span")
    assert shop["payload_bytes"] > 10_000


@answers("What was dropped or rejected, and why?")
def _(rows: Rows, _facts: Facts) -> None:
    assert one(rows, item_type="otlp_span", outcome="rejected")["items"] == 1
    assert "invalid_span_id" in one(rows, item_type="otlp_span", outcome="rejected")["reason"]
    told = one(rows, outcome="client_discarded", reason="before_send")
    assert (told["item_type"], told["items"]) == ("event", 1), "the SDK says what it has dropped itself"


@answers("Who was refused, and why?")
def _(rows: Rows, _facts: Facts) -> None:
    refused = one(rows, reason="401:unknown_key")
    assert (refused["key_id"], refused["sender"]) == ("", "loopback")
    assert refused["requests"] >= 1


@answers("How much of what was sent was accepted?")
def _(rows: Rows, facts: Facts) -> None:
    spans = one(rows, item_type="otlp_span")
    assert (spans["accepted"], spans["refused"]) == (facts["spans"], 2), "one has no id, one body was unreadable"
    assert spans["percent"] == round(100 * facts["spans"] / (facts["spans"] + 2), 2)
    assert one(rows, item_type="session")["percent"] == 100


@answers("What is in the dead letters?")
def _(rows: Rows, _facts: Facts) -> None:
    (message,) = rows
    assert (message["messages"], message["stage"], message["reason"]) == (1, "otlp_span", "invalid")
    assert "not JSON" in message["latest_error"]


@answers("What had to be repaired?")
def _(rows: Rows, _facts: Facts) -> None:
    assert one(rows, repair="timestamp_clamped", item_type="otlp_span", sdk_name="opentelemetry")["rows"] == 1


@answers("Which SDKs send, and in which versions?")
def _(rows: Rows, _facts: Facts) -> None:
    assert only(rows, "sdk_name", "mostly")[0] == ("opentelemetry", "otlp_span")
    assert one(rows, sdk_name="sentry.python")["sdk_version"].startswith("2.")


@answers("How late does data arrive?")
def _(rows: Rows, _facts: Facts) -> None:
    spans = one(rows, item_type="otlp_span")
    assert spans["from_the_future"] == 1, "the machine whose clock is wrong"
    assert 60 < spans["p50_s"] < 3600, "they say they were made some minutes ago"
    assert one(rows, item_type="event")["p50_s"] < 60
