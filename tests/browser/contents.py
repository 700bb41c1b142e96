"""What the tests of the page send: a shop's errors, a trace with logs, check-ins, sessions, and hostile events."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
from typing import Any
from uuid import uuid4

import pytest

Ready = dict[str, Any]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
REVERSED = "\u202egnp.exe"
MARKUP = "<script>window.broken=1</script><img src=x onerror=window.broken=1>"


def post(ready: Ready, path: str, body: bytes, **headers: str) -> None:
    """To the receiver, as a server does."""
    request = urllib.request.Request(ready["url"] + path, body, headers)
    with urllib.request.urlopen(request) as answer:
        assert answer.status in (200, 201, 202)


def envelope(ready: Ready, *items: tuple[str, dict[str, Any]], channel: int = 0) -> None:
    """One envelope with these items."""
    lines = [b"{}"]
    for kind, payload in items:
        lines += [json.dumps({"type": kind}).encode(), json.dumps(payload).encode()]
    post(
        ready, f"/api/{channel or ready['channel']}/envelope/?sentry_key={ready['api_key']}", b"\n".join(lines) + b"\n"
    )


def frame(function: str, path: str, line: int, *, ours: bool = True, **more: Any) -> dict[str, Any]:
    """A frame with five lines of source."""
    shown = {"function": function, "filename": path, "lineno": line, "in_app": ours, "module": path.replace("/", ".")}
    if ours:
        shown |= {
            "pre_context": [
                f"def {function}(body, retries):",
                "    answer = post(GATEWAY, json=body, timeout=10)",
                "    if answer.status == 402:",
            ],
            "context_line": "        raise CardRefused(f\"card refused for order {body['order']}\")",
            "post_context": ["    answer.raise_for_status()", '    return answer.json()["answer"]'],
        }
    return shown | more


def error(kind: str, value: str, **more: Any) -> dict[str, Any]:
    """An error as an SDK of Sentry sends it."""
    now = time.time()
    library = [
        frame(f"call_{number}", f"{name}/app.py", 10 + number, ours=False)
        for number, name in enumerate(("uvicorn", "starlette", "starlette", "starlette", "uvicorn", "starlette"))
    ]
    frames = [*library, frame("checkout", "shop/views.py", 58), frame("charge", "shop/payments.py", 31)]
    last = frame(
        "gateway_call",
        "shop/payments.py",
        11,
        vars={"body": '{"order": 4013, "amount": 250}', "retries": "0", "answer": "<Response 402>"},
    )
    crumbs = [
        {
            "timestamp": now - 2.114,
            "category": "http",
            "level": "info",
            "data": {"method": "GET", "url": "/cart/4013", "status_code": 200},
        },
        {
            "timestamp": now - 1.87,
            "category": "query",
            "level": "debug",
            "message": "SELECT id, price FROM cart_items WHERE cart = %s",
        },
        {"timestamp": now - 0.64, "category": "log", "level": "warning", "message": "stock low for sku K-11 (2 left)"},
    ]
    return {
        "event_id": uuid4().hex,
        "timestamp": now,
        "level": "error",
        "platform": "python",
        "release": "2.4.1",
        "environment": "production",
        "server_name": "web-2",
        "user": {"id": "104"},
        "tags": {"plan": "team"},
        "sdk": {"name": "sentry.python", "version": "2.75.0"},
        "exception": {"values": [{"type": kind, "value": value, "stacktrace": {"frames": [*frames, last]}}]},
        "breadcrumbs": {"values": crumbs * 3},
        "request": {"method": "POST", "url": "https://shop.example/checkout", "headers": {"User-Agent": "Mozilla/5.0"}},
        "contexts": {
            **({"trace": {"trace_id": TRACE, "span_id": "00f067aa0ba902b7"}} if kind == "CardRefused" else {}),
            "runtime": {"name": "CPython", "version": "3.11.9"},
        },
        **more,
    }


SHOP = (
    ("CardRefused", "card refused for order 4013", {}),
    ("OutOfMemory", "worker 7 killed while resizing product images (limit 512 MB)", {"level": "fatal"}),
    ("TypeError", "Cannot read properties of undefined (reading 'price')", {}),
    ("TimeoutError", "POST https://pay.example/v1/charges took longer than 10 s", {}),
    ("OperationalError", "deadlock detected on relation order_lines", {}),
    ("KeyError", "'answer'", {}),
    ("java.lang.IllegalStateException", "Cart 88121 is already paid", {}),
    ("panic", "runtime error: index out of range [9] with length 3", {}),
    ("RuntimeError", "could not read quantity", {}),
    ("Slow", "nightly import took longer than 30 minutes", {"level": "warning"}),
    ("Cached", "feature flag service answered from its cache", {"level": "info"}),
    ("ValueError", "not a number: 'seven'", {}),
)


def shop(ready: Ready) -> None:
    """Twelve issues, the first with several events and users."""
    for number, (kind, value, more) in enumerate(SHOP):
        for times in range(1 + (12 - number) % 5):
            own = [frame(f"step_{number}", f"shop/part_{number}.py", 11, vars={"n": str(times)})] if number else None
            made = error(kind, value, user={"id": f"{number}-{times}"}, **more)
            if own:
                made["exception"]["values"][0]["stacktrace"]["frames"] += own
            envelope(ready, ("event", made))


def hostile() -> dict[str, Any]:
    """Markup, turned text, NUL and huge values in every field, and ten thousand tags."""
    bad = f"{MARKUP}{REVERSED}\u2066\u0000" + "x" * 20_000
    long = bad[:1_500]
    return error(
        f"{MARKUP}Type{REVERSED}",
        bad,
        transaction=bad,
        logger=bad,
        server_name=bad[:300],
        release=f"{MARKUP}"[:60].replace("/", "_"),
        tags={f"tag{number}{MARKUP}": f"{number}{REVERSED}" for number in range(10_000)},
        user={"id": bad, "email": MARKUP, "username": REVERSED},
        extra={MARKUP: {"deep": [bad, {MARKUP: None}]}, "javascript:alert(1)": "javascript:alert(1)"},
        request={
            "url": "javascript:alert(1)",
            "method": MARKUP,
            "headers": {MARKUP: bad},
            "data": bad,
            "cookies": {MARKUP: MARKUP},
        },
        breadcrumbs={
            "values": [
                {
                    "timestamp": MARKUP,
                    "category": MARKUP,
                    "message": long,
                    "level": MARKUP,
                    "data": {"url": "javascript:alert(1)"},
                }
            ]
            * 100
        },
        contexts={MARKUP: {MARKUP: bad}, "trace": {"trace_id": "6" * 32, "span_id": "7" * 16, MARKUP: bad}},
        exception={
            "values": [
                {
                    "type": f"{MARKUP}Type{REVERSED}",
                    "value": bad,
                    "stacktrace": {
                        "frames": [
                            frame(
                                MARKUP,
                                MARKUP + REVERSED,
                                11,
                                vars={MARKUP: long, "__proto__": MARKUP},
                                context_line=long,
                            )
                        ]
                        * 500
                    },
                }
            ]
        },
    )


def span(span_id: str, parent: str, name: str, begin_ms: float, took_ms: float, **more: Any) -> dict[str, Any]:
    """An OTLP span that began `begin_ms` after the trace."""
    begin = int((more.pop("base_s")) * 1e9 + begin_ms * 1e6)
    made = {"traceId": TRACE, "spanId": span_id, "parentSpanId": parent, "name": name, "kind": more.pop("kind", 1)}
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in more.pop("attributes", {}).items()]
    times = {"startTimeUnixNano": str(begin), "endTimeUnixNano": str(begin + int(took_ms * 1e6))}
    return made | times | {"attributes": attributes} | more


def trace(ready: Ready, trace_id: str = TRACE, *, children: int = 48) -> None:
    """A checkout of three services that fails in the call to the payment gateway."""
    base = time.time() - 5
    failed = {"status": {"code": 2, "message": "402 Payment Required"}}
    spans = [
        ("web", span("00f067aa0ba90201", "", "POST /checkout", 0, 612, kind=2, base_s=base, **failed)),
        (
            "web",
            span(
                "00f067aa0ba90202",
                "00f067aa0ba90201",
                "SELECT cart_items",
                9,
                31,
                kind=3,
                base_s=base,
                attributes={"db.system": "postgresql"},
            ),
        ),
        ("web", span("00f067aa0ba90203", "00f067aa0ba90201", "validate cart", 42, 6, base_s=base)),
        ("web", span("00f067aa0ba90204", "00f067aa0ba90201", "POST api/orders", 172, 96, kind=3, base_s=base)),
        ("api", span("00f067aa0ba90205", "00f067aa0ba90204", "POST /orders", 176, 88, kind=2, base_s=base)),
        (
            "api",
            span(
                "00f067aa0ba90206",
                "00f067aa0ba90205",
                "INSERT order_lines",
                181,
                44,
                kind=3,
                base_s=base,
                attributes={"db.system": "postgresql"},
            ),
        ),
        (
            "api",
            span(
                "00f067aa0ba90207",
                "00f067aa0ba90205",
                "publish order.placed",
                229,
                7,
                kind=4,
                base_s=base,
                attributes={"messaging.system": "nats"},
            ),
        ),
        (
            "worker",
            span(
                "00f067aa0ba90208",
                "00f067aa0ba90207",
                "process order.placed",
                252,
                210,
                kind=5,
                base_s=base,
                attributes={"messaging.system": "nats"},
            ),
        ),
        (
            "web",
            span(
                "00f067aa0ba902b7",
                "00f067aa0ba90201",
                "POST pay.example/v1/charges",
                186,
                414,
                kind=3,
                base_s=base,
                attributes={
                    "http.request.method": "POST",
                    "url.full": "https://pay.example/v1/charges",
                    "order.id": "4013",
                },
                **failed,
            ),
        ),
        (
            "web",
            span(
                "00f067aa0ba90209",
                "00f067aa0ba90201",
                "chat fraud-check",
                196,
                288,
                kind=3,
                base_s=base,
                attributes={"gen_ai.operation.name": "chat", "gen_ai.request.model": "model-x"},
            ),
        ),
        ("web", span("00f067aa0ba9020a", "0123456789abcdef", "late work", 620, 40, base_s=base)),
    ]
    spans += [
        (
            "web",
            span(
                f"10f067aa0b{number:06x}",
                "00f067aa0ba90201",
                "SELECT prices",
                51 + number * 118 / children,
                110 / children,
                kind=3,
                base_s=base,
                attributes={"db.system": "postgresql"},
            ),
        )
        for number in range(children)
    ]
    resources = [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
            "scopeSpans": [{"spans": [one | {"traceId": trace_id} for named, one in spans if named == service]}],
        }
        for service in ("web", "api", "worker")
    ]
    _otlp(ready, "/v1/traces", {"resourceSpans": resources})
    logs(
        ready,
        ("WARN", "stock low for sku K-11 (2 left)"),
        trace_id=trace_id,
        span_id="00f067aa0ba90206",
        at_s=base + 0.2,
    )


AI_TRACE = "a1" * 16


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def ai_run(ready: Ready, trace_id: str = AI_TRACE, **more: str) -> None:
    """An agent that asks a model, calls two tools of which one fails, and asks again; the second model has no price."""
    base = time.time() - 20
    user = _message("user", f"Where is my order 4013? {MARKUP}{REVERSED}")
    called = {
        "role": "assistant",
        "parts": [{"type": "tool_call", "name": "lookup_order", "arguments": {"order": 4013}}],
    }
    chat = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}
    tool = {"gen_ai.operation.name": "execute_tool"}
    failed = {"status": {"code": 2, "message": "CardRefused: card refused for order 4013"}}
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "refund-agent", **more}
    first = chat | {
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": "812",
        "gen_ai.usage.output_tokens": "64",
        "gen_ai.system_instructions": "You help people with their orders.",
        "gen_ai.input.messages": json.dumps([user]),
        "gen_ai.output.messages": json.dumps([_message("assistant", "I will look it up."), called]),
    }
    second = chat | {
        "gen_ai.request.model": "model-x",
        "gen_ai.usage.input_tokens": "1204",
        "gen_ai.usage.output_tokens": "120",
        "gen_ai.input.messages": json.dumps([user, called, _message("tool", "refused")]),
        "gen_ai.output.messages": json.dumps([_message("assistant", "Your card was refused. " + "Long answer. " * 80)]),
    }
    lookup = {"gen_ai.tool.name": "lookup_order", "gen_ai.tool.call.arguments": '{"order": 4013}'}
    lookup |= {"gen_ai.tool.call.result": '{"state": "refused", "amount": 250}'}
    rows = [
        ("a1", "", "invoke_agent refund-agent", 0, 11_200, agent, {}),
        ("a2", "a1", "chat gpt-4o-mini", 400, 1_900, first, {}),
        ("a3", "a1", "execute_tool lookup_order", 2_400, 310, tool | lookup, {}),
        ("a4", "a1", "execute_tool refund", 3_100, 900, tool | {"gen_ai.tool.name": "refund"}, failed),
        ("a5", "a1", "chat model-x", 4_200, 6_800, second, {}),
    ]
    spans = [
        span(one * 8, parent * 8, name, begin, took, base_s=base, attributes=attributes, **state)
        | {"traceId": trace_id}
        for one, parent, name, begin, took, attributes, state in rows
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "support"}}]}
    _otlp(ready, "/v1/traces", {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]})


DEAD_LETTERS = 2


def dead_letters(ready: Ready, number: int = DEAD_LETTERS) -> None:
    """Envelopes that end too early, the first with binary bytes. Each is another: one that is sent again is no news."""
    for at in range(number):
        rest = f"{MARKUP}{uuid4().hex}".encode() if at else b"\xff\x00\x01" + REVERSED.encode() + uuid4().bytes
        body = b'{}\n{"type":"event","length":9999}\n' + rest
        request = urllib.request.Request(
            f"{ready['url']}/api/{ready['channel']}/envelope/?sentry_key={ready['api_key']}", body
        )
        # A 400, or on a busy machine a success: what workers say comes too late then.
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request).close()


def refusal(ready: Ready) -> None:
    """A key that is not known."""
    refuse(ready, f"/api/{ready['channel']}/envelope/?sentry_key=pt_{'a' * 32}", b"{}\n", 401)


def refuse(ready: Ready, path: str, body: bytes, status: int) -> None:
    """A request that the receiver refuses."""
    request = urllib.request.Request(ready["url"] + path, body)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    with refused.value as answer:
        assert answer.code == status


def with_attachment(ready: Ready, kind: str = "CardRefused") -> None:
    """An error with a file whose name and content are hostile."""
    made = error(kind, "card refused for order 4013")
    name = f"../{MARKUP}{REVERSED}.html"
    content = b"<script>window.broken=1</script>"
    header = {"type": "attachment", "length": len(content), "filename": name, "content_type": "text/html"}
    lines = [
        json.dumps({"event_id": made["event_id"]}),
        json.dumps({"type": "event"}),
        json.dumps(made),
        json.dumps(header),
    ]
    body = "\n".join(lines).encode() + b"\n" + content + b"\n"
    post(ready, f"/api/{ready['channel']}/envelope/?sentry_key={ready['api_key']}", body)


def logs(ready: Ready, *lines: tuple[str, str], trace_id: str = "", span_id: str = "", at_s: float = 0.0) -> None:
    """Log records of the service `web`."""
    numbers = {"DEBUG": 5, "INFO": 9, "WARN": 13, "ERROR": 17}
    records = [
        {
            "timeUnixNano": str(int((at_s or time.time()) * 1e9) + number),
            "severityNumber": numbers[level],
            "severityText": level,
            "body": {"stringValue": body},
            "traceId": trace_id,
            "spanId": span_id,
        }
        for number, (level, body) in enumerate(lines)
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "web"}}]}
    _otlp(ready, "/v1/logs", {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]})


def check_ins(ready: Ready) -> None:
    """Runs of a job: two ended well, one failed."""
    for status in ("ok", "ok", "error"):
        run = {
            "check_in_id": uuid4().hex,
            "monitor_slug": "nightly-import",
            "status": status,
            "duration": 12.5,
            "environment": "production",
        }
        envelope(ready, ("check_in", run))


def sessions(ready: Ready, release: str = "2.4.1") -> None:
    """Four sessions of which one crashed."""
    for status, user in (("exited", "a"), ("crashed", "b"), ("exited", "c"), ("exited", "d")):
        attributes = {"release": release, "environment": "production"}
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        told = {
            "sid": uuid4().hex,
            "did": user,
            "init": True,
            "status": status,
            "started": moment,
            "timestamp": moment,
            "errors": 0,
        }
        envelope(ready, ("session", told | {"attrs": attributes}))


def _otlp(ready: Ready, path: str, document: dict[str, Any]) -> None:
    headers = {
        "Content-Type": "application/json",
        "X-API-Key": ready["api_key"],
        "X-Axonpush-Channel": str(ready["channel"]),
    }
    post(ready, path, json.dumps(document).encode(), **headers)


def alert_rule(api: Any) -> str:
    """A rule about new issues, which tells a machine that does not answer; its id."""
    rule = {
        "name": f"New issues {MARKUP}",
        "conditions": [{"id": "sentry.rules.conditions.first_seen_event.FirstSeenEventCondition"}],
        "actions": [{"type": "webhook", "url": "http://127.0.0.1:9/nobody"}],
    }
    return str(api("POST", "/projects/default/first/rules/", rule)["id"])
