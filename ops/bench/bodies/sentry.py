"""Envelopes as the Sentry SDK makes them, for measurements, each in many variants."""

from __future__ import annotations

import contextlib
import linecache
import random
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import orjson
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from sentry_sdk.utils import event_from_exception

from ops.bench.bodies import words

FRAMES: Final = 30
BREADCRUMBS: Final = 20
CHILD_SPANS: Final = 20
LARGE_BYTES: Final = 5_900_000


class _Keep(Transport):
    """A transport that keeps what the SDK would send."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.envelopes: list[Envelope] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)


@cache
def error_parts(variant: int = 0) -> tuple[bytes, bytes, bytes]:
    """An error of FRAMES frames: the part with its ids, the rest, and that rest deflated."""
    body = error(variant)
    at = body.rindex(words.ID) + len(words.ID)
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(body[at:]) + packer.flush()
    return body[:at], body[at:], packed


@cache
def error(variant: int = 0) -> bytes:
    """About 30 KB: FRAMES frames with context lines, BREADCRUMBS breadcrumbs, as sentry_sdk makes it."""
    client, keep = _client()
    seed = variant * words.SEEDS
    with _scope(client) as scope:
        for number in range(BREADCRUMBS):
            scope.add_breadcrumb(
                category="query", message=f"SELECT {words.text(seed + number, 5)}", data={"took_ms": number * 7}
            )
        scope.set_tag("till", str(variant))
        scope.set_tag("basket", words.text(seed, 2))
        scope.set_user({"id": str(variant), "email": f"somebody{variant}@shop.example"})
        try:
            _program(variant)["step_0"]({})
        except Exception as raised:
            event, hint = event_from_exception(raised, client_options=client.options)
            client.capture_event(event, hint, scope=scope)
    return _envelope_bytes(keep.envelopes[0])


@cache
def small_error(variant: int = 0) -> bytes:
    """About 2 KB: an exception without frames."""
    client, keep = _client()
    scope = sentry_sdk.Scope()
    scope.set_tag("till", "7")
    value = {"type": "PaymentRefused", "value": words.text(variant * words.SEEDS + 1, 40)}
    client.capture_event(
        {"exception": {"values": [value]}, "extra": {"order": words.text(variant * words.SEEDS + 2, 120)}}, scope=scope
    )
    return _envelope_bytes(keep.envelopes[0])


@cache
def transaction(variant: int = 0) -> bytes:
    """A transaction with CHILD_SPANS spans."""
    client, keep = _client(traces_sample_rate=1.0)
    with _scope(client), sentry_sdk.start_transaction(name="GET /cart", op="http.server") as root:
        for number in range(CHILD_SPANS):
            with root.start_child(
                op="db.query", name=f"SELECT {words.text(variant * words.SEEDS + number, 4)}"
            ) as span:
                span.set_data("db.rows", number * variant)
    # Spans are identified by their trace: with one id for all, every body would make the same rows.
    return _envelope_bytes(keep.envelopes[0]).replace(root.trace_id.encode(), words.ID)


@cache
def large() -> bytes:
    """An event of nearly the maximum size."""
    text = words.text(3, 40)
    event = {
        "event_id": words.ID.decode(),
        "message": "large",
        "extra": {f"part {n}": text for n in range(LARGE_BYTES // 400)},
    }
    payload = orjson.dumps(event)[:-1]
    filler = b',"filler":"' + b"x" * (LARGE_BYTES - len(payload)) + b'"}'
    return b'{"event_id":"%s"}\n{"type":"event"}\n' % words.ID + payload + filler + b"\n"


def _client(**options: Any) -> tuple[Any, _Keep]:
    keep = _Keep()
    client = sentry_sdk.Client(
        dsn="http://pt_0123456789abcdef@127.0.0.1/1",
        transport=keep,
        default_integrations=False,
        include_local_variables=False,
        release="shop@1.2.3",
        **options,
    )
    return client, keep


@contextlib.contextmanager
def _scope(client: Any) -> Iterator[sentry_sdk.Scope]:
    """The SDK finds its client only in the current scope."""
    scope = sentry_sdk.Scope(client=client)
    with sentry_sdk.scope.use_isolation_scope(scope), sentry_sdk.scope.use_scope(scope):
        yield scope


def _envelope_bytes(envelope: Envelope) -> bytes:
    """As the SDK writes it, with our id, which stands first in the event."""
    header = envelope.headers | {"event_id": words.ID.decode()}
    [item] = envelope.items
    event = item.payload.json or {}
    payload = orjson.dumps({"event_id": words.ID.decode(), **{key: event[key] for key in event if key != "event_id"}})
    item_header = item.headers | {"length": len(payload)}
    return b"\n".join((orjson.dumps(header), orjson.dumps(item_header), payload, b""))


def _program(variant: int) -> dict[str, Any]:
    """Thirty functions, each with its own lines around the call of the next."""
    lines: list[str] = []
    seed = variant * words.SEEDS
    for number in range(FRAMES):
        lines += [f"def step_{number}(order):", *(f"    {line}" for line in _statements(seed + number))]
        lines += [f"    return step_{number + 1}({{**order, {number}: {number}}})"]
        lines += [f"    # {line}" for line in _statements(seed + number + 100)]
    lines += [f"def step_{FRAMES}(order):", "    raise ValueError(f'a value that nobody expected: {order}')"]
    name = f"/srv/shop/checkout/steps_{variant}.py"
    text = "\n".join(lines)
    linecache.cache[name] = (len(text), None, [f"{line}\n" for line in lines], name)
    space: dict[str, Any] = {"__name__": "shop.checkout.steps"}
    exec(compile(text, name, "exec"), space)  # our own source, so that the SDK finds real frames
    return space


def _statements(seed: int) -> list[str]:
    rest = random.Random(seed)
    known = words.vocabulary()
    return [f"{rest.choice(known)}_{rest.choice(known)} = '{' '.join(rest.choices(known, k=6))}'" for _ in range(5)]
