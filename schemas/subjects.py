"""Names on the broker: streams, subjects, durables, buckets.

Their configuration lives in ops/provisioning/streams.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RAW: Final = "RAW"
ITEMS: Final = "ITEMS"
DEAD: Final = "DEAD"
# Bodies whose senders were told what is wrong with them: kept apart from what died of our fault, oldest first to go.
REFUSED: Final = "REFUSED"
REPLAY: Final = "REPLAY"
REGISTRY_BUCKET: Final = "registry"
CONTROL_BUCKET: Final = "control"
# What was answered to each idempotency key of native events, and which bodies were refused: for each class of keys a
# bucket of its own, so that public tokens, which anybody may read in a page, push out nothing that a secret key wrote.
IDEMPOTENCY_BUCKET: Final = "idempotency"
PUBLIC_IDEMPOTENCY_BUCKET: Final = "idempotency_public"
# Receivers tell each other what they have counted; no stream keeps it.
QUOTA_USE: Final = "quota.use"
# Workers tell receivers how many rows they made, for keys and organisations with a quota of rows; no stream keeps it.
QUOTA_ROWS: Final = "quota.rows"
# Whoever publishes this hears everything on both: a receiver that starts, `axonpush status`.
QUOTA_ASK: Final = "quota.ask"

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
    """Where one worker takes its messages: a stream, the subject filter within it, and the durable that remembers."""

    worker: str
    stream: str
    subject: str

    @property
    def durable(self) -> str:
        """The durable's name; the suffix changes only when the meaning of its messages does."""
        return f"{self.worker}-v1"


UNPACK: Final = "unpack"
# The one list of workers. Provisioning, the command line and docker-compose.yml are derived from or checked against it.
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
# The worker that reads DEAD reads these as well; they have a stream and so a durable of their own.
REFUSED_SOURCES: Final[dict[str, Source]] = {"dead": Source("dead-refused", REFUSED, "refused.>")}
# Numbers in REFUSED begin here, so that a number tells the stream: `axonpush dead show N` needs no second argument.
REFUSED_FIRST_SEQ: Final = 1_000_000_000_000
# The same workers once more, for messages that are processed again: in a stream of their own, so that live ones never
# queue behind them. What is dead is not replayed as such: a retry replays the message it was.
REPLAY_SOURCES: Final[dict[str, Source]] = {
    worker: Source(f"{worker}-replay", REPLAY, f"{_REPLAY_PREFIX}{source.subject}")
    for worker, source in SOURCES.items()
    if source.stream in {RAW, ITEMS}
}


# Every durable there is.
ALL_SOURCES: Final = (*SOURCES.values(), *REPLAY_SOURCES.values(), *REFUSED_SOURCES.values())


def replayed(subject: str) -> str:
    """Where a message of RAW or ITEMS is published to be processed again."""
    return _REPLAY_PREFIX + subject


def original(subject: str) -> tuple[str, str]:
    """The reverse of `replayed`: stream and subject of the message that is processed again."""
    found = subject.removeprefix(_REPLAY_PREFIX)
    return (RAW if found.startswith("raw.") else ITEMS), found


def raw(route: str, channel_id: int) -> str:
    """The subject of a body as it came in through `route` (one of ROUTES)."""
    return f"raw.{route}.{channel_id}"


def item(worker: str, channel_id: int) -> str:
    """The subject of one unpacked item."""
    return f"item.{worker}.{channel_id}"


def dead(stage: str, item_type: str, channel_id: int) -> str:
    """The subject of a dead letter; `stage` is the worker that gave up on it."""
    return f"dead.{stage}.{item_type}.{channel_id}"


def refused(stage: str, item_type: str, key_id: str, channel_id: int) -> str:
    """The subject of a refused body: that of a dead letter, and the key, for what is kept is limited by subject."""
    key = key_id if key_id.isascii() and key_id.isalnum() else "unknown"
    return f"refused.{stage}.{item_type}.{key}.{channel_id}"


def dead_stream(seq: int) -> str:
    """The stream of the dead letter with this number."""
    return REFUSED if seq >= REFUSED_FIRST_SEQ else DEAD


def route_of(subject: str) -> str:
    """The route in a raw subject: `raw.otlp.logs.7` -> `otlp.logs`."""
    return subject.split(".", 1)[1].rpartition(".")[0]
