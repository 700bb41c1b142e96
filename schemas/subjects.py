"""Names on the broker: streams, subjects, durables, buckets.

ops/provisioning/streams.py has their configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RAW: Final = "RAW"
ITEMS: Final = "ITEMS"
DEAD: Final = "DEAD"
# Invalid bodies, whose senders got an error. Kept apart from DEAD, which holds failures of our own; the oldest are
# discarded first.
REFUSED: Final = "REFUSED"
REPLAY: Final = "REPLAY"
REGISTRY_BUCKET: Final = "registry"
CONTROL_BUCKET: Final = "control"
# Answers by idempotency key of native events, and which bodies were refused. Each class of keys has its own bucket:
# anyone can read public tokens in a web page, and must not evict what a secret key wrote.
IDEMPOTENCY_BUCKET: Final = "idempotency"
PUBLIC_IDEMPOTENCY_BUCKET: Final = "idempotency_public"
# The object store of uploaded source maps and mappings (schemas/artifacts), and its stream.
ARTIFACTS_BUCKET: Final = "artifacts"
ARTIFACTS_STREAM: Final = f"OBJ_{ARTIFACTS_BUCKET}"
# Of `axonpush alerts`: who evaluates, the state of each rule with its pending deliveries.
ALERTS_BUCKET: Final = "alerts"
# The entry of who evaluates.
ALERTS_LEASE_ENTRY: Final = "lease"
# Addresses and keys of actions, apart: consoles write them, and may fill no more than this bucket.
ALERT_SECRETS_BUCKET: Final = "alert_secrets"
# The console asks the process that evaluates to send something now; no stream stores it.
ALERTS_ASK: Final = "alerts.ask"
# Keys of the bucket `control`: uploads whose events are to be processed again.
REPROCESSING_PREFIX: Final = "late_maps."
# Sessions of the console's page: the key that signs cookies, ended sessions, the one-time link.
CONSOLE_PREFIX: Final = "console."
# Below it: when a console last wanted the reconciliation (seconds, as text), and the janitor's last one (JSON). For so
# long after a console wanted one, the janitor makes them.
DELIVERY_WANTED_ENTRY: Final = "delivery_wanted"
DELIVERY_REPORT_ENTRY: Final = "delivery"
DELIVERY_LOOK_S: Final = 60.0
# Requests of consoles to the process with the operator's rights (schemas/operator_requests/); no stream stores them.
OPERATOR_REQUESTS: Final = "operator.requests"
# Receivers send each other their counts; no stream stores it.
QUOTA_USE: Final = "quota.use"
# Workers report to receivers how many rows they made, for keys and organisations with a quota of rows; not stored.
QUOTA_ROWS: Final = "quota.rows"
# A message on this subject asks for full reports on both: sent by a starting receiver and `axonpush status`.
QUOTA_ASK: Final = "quota.ask"
# `axonpush status` asks whether a janitor runs; not stored.
JANITOR_ASK: Final = "janitor.ask"

SENTRY_ENVELOPE: Final = "sentry.envelope"
SENTRY_STORE: Final = "sentry.store"
SENTRY_SECURITY: Final = "sentry.security"
SENTRY_MINIDUMP: Final = "sentry.minidump"
SENTRY_CRON: Final = "sentry.cron"
SENTRY_ATTACHMENT: Final = "sentry.attachment"
OTLP_LOGS: Final = "otlp.logs"
OTLP_TRACES: Final = "otlp.traces"
NATIVE_EVENT: Final = "event"
OUTCOME: Final = "outcome"
ROUTES: Final = (
    SENTRY_ENVELOPE,
    SENTRY_STORE,
    SENTRY_SECURITY,
    SENTRY_MINIDUMP,
    SENTRY_CRON,
    SENTRY_ATTACHMENT,
    OTLP_LOGS,
    OTLP_TRACES,
    NATIVE_EVENT,
    OUTCOME,
)


@dataclass(frozen=True, slots=True)
class Source:
    """Where one worker gets its messages: a stream, a subject filter, and a durable."""

    worker: str
    stream: str
    subject: str

    @property
    def durable(self) -> str:
        """The durable's name; the suffix changes only when the meaning of its messages does."""
        return f"{self.worker}-v1"


UNPACK: Final = "unpack"
# The list of workers. Provisioning, the command line and docker-compose.yml are derived from it or checked against it.
SOURCES: Final[dict[str, Source]] = {
    source.worker: source
    for source in (
        Source(UNPACK, RAW, "raw.sentry.>"),
        Source("event", ITEMS, "item.event.*"),
        Source("transaction", ITEMS, "item.transaction.*"),
        Source("span", ITEMS, "item.span.*"),
        Source("log", ITEMS, "item.log.*"),
        Source("check_in", ITEMS, "item.check_in.*"),
        Source("session", ITEMS, "item.session.*"),
        Source("attachment", ITEMS, "item.attachment.*"),
        Source("minidump", ITEMS, "item.minidump.*"),
        Source("csp", ITEMS, "item.csp.*"),
        Source("feedback", ITEMS, "item.feedback.*"),
        Source("trace_metric", ITEMS, "item.trace_metric.*"),
        Source("otlp_log", RAW, f"raw.{OTLP_LOGS}.*"),
        Source("otlp_span", RAW, f"raw.{OTLP_TRACES}.*"),
        Source("native", RAW, f"raw.{NATIVE_EVENT}.*"),
        Source("outcome", RAW, f"raw.{OUTCOME}.*"),
        Source("dead", DEAD, "dead.>"),
    )
}

_REPLAY_PREFIX: Final = "replay."
# The worker of DEAD reads REFUSED as well, through another durable.
REFUSED_SOURCES: Final[dict[str, Source]] = {"dead": Source("dead-refused", REFUSED, "refused.>")}
# First sequence in REFUSED, so that a number alone tells the stream: `axonpush dead show N` needs no second argument.
REFUSED_FIRST_SEQ: Final = 1_000_000_000_000
# The same workers for replayed messages, in a separate stream, so that live messages never wait behind them. Dead
# letters are not replayed as such: a retry publishes the original message.
REPLAY_SOURCES: Final[dict[str, Source]] = {
    worker: Source(f"{worker}-replay", REPLAY, f"{_REPLAY_PREFIX}{source.subject}")
    for worker, source in SOURCES.items()
    if source.stream in {RAW, ITEMS}
}


# Every durable.
ALL_SOURCES: Final = (*SOURCES.values(), *REPLAY_SOURCES.values(), *REFUSED_SOURCES.values())


def replayed(subject: str) -> str:
    """The subject to which a message of RAW or ITEMS is published for another processing."""
    return _REPLAY_PREFIX + subject


def original(subject: str) -> tuple[str, str]:
    """The reverse of `replayed`: stream and subject of the original message."""
    original_subject = subject.removeprefix(_REPLAY_PREFIX)
    return (RAW if original_subject.startswith("raw.") else ITEMS), original_subject


def raw(route: str, channel_id: int) -> str:
    """The subject of a received body of `route` (one of ROUTES)."""
    return f"raw.{route}.{channel_id}"


def item(worker: str, channel_id: int) -> str:
    """The subject of one unpacked item."""
    return f"item.{worker}.{channel_id}"


def dead(stage: str, item_type: str, channel_id: int) -> str:
    """The subject of a dead letter; `stage` is the worker that gave up."""
    return f"dead.{stage}.{item_type}.{channel_id}"


def refused(stage: str, item_type: str, key_id: str, channel_id: int) -> str:
    """The subject of a refused body: that of a dead letter, and the key, because storage is limited per subject."""
    key = key_id if key_id.isascii() and key_id.isalnum() else "unknown"
    return f"refused.{stage}.{item_type}.{key}.{channel_id}"


def dead_stream(seq: int) -> str:
    """The stream of the dead letter with this number."""
    return REFUSED if seq >= REFUSED_FIRST_SEQ else DEAD


def route_of(subject: str) -> str:
    """The route in a raw subject: `raw.otlp.logs.7` -> `otlp.logs`."""
    return subject.split(".", 1)[1].rpartition(".")[0]
