"""Bodies of every fate for tests of a whole running system, and the questions whether all of it is accounted for."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from typing import Any

from nats.aio.client import Client

from schemas import subjects
from tests.brokers import on_broker
from tests.polling import ANSWER_TIMEOUT_S, eventually
from tests.system import System

SETTLE_DEADLINE_S = 120.0
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Sender:
    """Sends into one channel of a system with the key `up` made."""

    def __init__(self, system: System, channel: int) -> None:
        self.system = system
        self.channel = channel
        self.key = str(system.ready["api_key"])
        self.began_s = int(time.time()) - 60

    def envelope(self, body: bytes) -> int:
        """The status of the answer to a Sentry envelope."""
        return self._post(f"/api/{self.channel}/envelope/?sentry_key={self.key}", body, {})

    def event(self, message: str, event_id: str = "", **fields: Any) -> int:
        """One Sentry event."""
        event_id = event_id or uuid.uuid4().hex
        head = json.dumps({"event_id": event_id}).encode()
        return self.envelope(
            head + b'\n{"type":"event"}\n' + json.dumps({"message": message, **fields}).encode() + b"\n"
        )

    def spans(self, *spans: dict[str, Any], trace_id: str = TRACE, resource: dict[str, str] | None = None) -> int:
        """OTLP spans as JSON; each needs a spanId. `resource` are attributes of their resource."""
        times = {"startTimeUnixNano": f"{self.began_s}000000000", "endTimeUnixNano": f"{self.began_s + 1}000000000"}
        records = [{"traceId": trace_id, "name": "work", **times, **span} for span in spans]
        named = {"attributes": otlp_attributes(resource or {})}
        body = {"resourceSpans": [{"resource": named, "scopeSpans": [{"spans": records}]}]}
        return self._post("/v1/traces", json.dumps(body).encode(), self._otlp_headers())

    def mixture(self) -> None:
        """Bodies of every fate: rows, several rows of one, refused, dropped, dead, and the same record twice."""
        trace, start = uuid.uuid4().hex, self.began_s
        transaction = {
            "type": "transaction",
            "transaction": "checkout",
            "start_timestamp": start,
            "timestamp": start + 2,
            "contexts": {"trace": {"trace_id": trace, "span_id": "a" * 16, "op": "http"}},
            "spans": [
                {"trace_id": trace, "span_id": f"{n:016x}", "start_timestamp": start, "timestamp": start + 1}
                for n in range(1, 4)
            ],
        }
        log = {"timestamp": start, "trace_id": trace, "level": "info", "body": "stored"}
        head = json.dumps({"event_id": uuid.uuid4().hex}).encode()
        items = [
            (b'{"type":"event"}', b'{"message":"stored"}'),
            (b'{"type":"transaction"}', json.dumps(transaction).encode()),
            (b'{"type":"log","item_count":3}', json.dumps({"items": [log, log | {"body": "too"}, 7]}).encode()),
            (b'{"type":"profile"}', b"{}"),
            (b'{"type":"event"}', b"not json"),
        ]
        assert self.envelope(b"\n".join([head, *(line for item in items for line in item)]) + b"\n") == 200
        assert self.envelope(b'{}\n{"type":"event","length":99}\n%s' % uuid.uuid4().hex.encode()) == 400
        span = uuid.uuid4().hex[:16]
        assert self.spans({"spanId": span}, {"spanId": "0" * 16}, trace_id=trace) == 200
        assert self.spans({"spanId": span, "name": "once more"}, trace_id=trace) == 200

    def _otlp_headers(self) -> dict[str, str]:
        told = {"X-API-Key": self.key, "X-Axonpush-Channel": str(self.channel)}
        return told | {"Content-Type": "application/json"}

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        request = urllib.request.Request(self.system.ready["url"] + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


def otlp_attributes(values: dict[str, str]) -> list[dict[str, Any]]:
    """Texts as attributes in OTLP/JSON."""
    return [{"key": key, "value": {"stringValue": text}} for key, text in values.items()]


def status(system: System, *, check: bool = True) -> dict[str, Any]:
    """What `axonpush status --json` says; with `check` the test fails if there is a problem."""
    found: dict[str, Any] = json.loads(system.cli("status", "--json", check=check).stdout)
    return found


def is_idle(found: dict[str, Any]) -> bool:
    """Whether no message of any stream waits for a worker."""
    return not any(one["pending"] or one["in_flight"] for one in found["workers"])


def settled(system: System) -> dict[str, Any]:
    """The status once nothing is under way."""

    async def waiting(client: Client) -> int:
        js = client.jetstream(timeout=ANSWER_TIMEOUT_S)
        infos = [await js.consumer_info(one.stream, one.durable) for one in subjects.SOURCES.values()]
        return sum((one.num_pending or 0) + (one.num_ack_pending or 0) for one in infos)

    def idle() -> dict[str, Any]:
        # The command takes seconds, the question a moment.
        found = {} if on_broker(system.ready["nats_url"], waiting, **system.broker_user()) else status(system)
        return found if found and is_idle(found) else {}

    return eventually(idle, "every worker to be idle", SETTLE_DEADLINE_S)


def account(found: dict[str, Any], channel: int) -> dict[str, int]:
    """One channel's totals."""
    return next(one for one in found["reconciliation"]["channels"] if one["channel"] == channel)


def view(system: System, channel: int) -> bytes:
    """All of a channel's rows as SQL shows them, byte for byte, but for their version."""
    return system.query_only(
        "SELECT * EXCEPT version FROM events WHERE channel_id = {channel:UInt64} "
        "ORDER BY item_type, timestamp, event_id FORMAT JSONEachRow",
        channel=channel,
    )


def outcomes(system: System, channel: int) -> list[dict[str, Any]]:
    """A channel's outcomes."""
    return system.query("SELECT * FROM outcomes WHERE channel_id = {channel:UInt64} ORDER BY ALL", channel=channel)
