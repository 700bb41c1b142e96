"""Message headers: what the receiver records about a body, and the Origin that workers read from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas.key_masking import mask_keys_in

SCHEMA_VERSION: Final = "1"
# Workers read this version and the previous one. Upgrade workers before receivers.
READABLE_VERSIONS: Final = frozenset({"1"})

# The broker's own.
BROKER_PREFIX: Final = "Nats-"
MESSAGE_ID: Final = "Nats-Msg-Id"
BATCH_ID: Final = "Nats-Batch-Id"
BATCH_SEQUENCE: Final = "Nats-Batch-Sequence"
BATCH_COMMIT: Final = "Nats-Batch-Commit"
EXPECTED_STREAM: Final = "Nats-Expected-Stream"
EXPECTED_SUBJECT_SEQ: Final = "Nats-Expected-Last-Subject-Sequence"
# With the value `sub`, a message replaces all others of its subject.
ROLLUP: Final = "Nats-Rollup"
# After this time the broker forgets a message of a stream that allows it.
MESSAGE_TTL: Final = "Nats-TTL"
STORED_SUBJECT: Final = "Nats-Subject"
STORED_SEQ: Final = "Nats-Sequence"
STORED_SIZE: Final = "Nats-Msg-Size"

# Headers of a raw message: sender, format, and where to send counts.
SCHEMA: Final = "Schema-Version"
ORGANISATION: Final = "Organisation"
CHANNEL: Final = "Channel"
KEY_ID: Final = "Key-Id"
ENVIRONMENT: Final = "Environment"
ENVIRONMENT_OVERRIDE: Final = "Environment-Override"
RECEIVED_AT: Final = "Received-At"
CONTENT_TYPE: Final = "Content-Type"
CONTENT_ENCODING: Final = "Content-Encoding"
SENDER_IP: Final = "Sender-Ip"
USER_AGENT: Final = "User-Agent"
SENTRY_CLIENT: Final = "Sentry-Client"
RESOURCE: Final = "Resource"
QUERY: Final = "Query"
COUNTS_TO: Final = "Counts-To"
# Asks for the answer after the insert instead of before.
SYNC: Final = "Sync"
# Set if the sender has a quota of rows: workers then report the rows they make to the receivers.
COUNT_ROWS: Final = "Count-Rows"
# W3C Trace Context of a traced request (ops/runtime/tracing.py); items carry that of unpack.
TRACE_PARENT: Final = "Traceparent"

# Headers of an item or a reprocessed message: the body that it comes from.
ORIGIN_ID: Final = "Origin-Id"
ORIGIN_SEQ: Final = "Origin-Seq"
ITEM_INDEX: Final = "Item-Index"
REPLAY_GENERATION: Final = "Replay-Generation"
# Item types chosen for a replay, separated by commas; all if missing.
REPLAY_TYPES: Final = "Replay-Types"

# Headers of a dead letter: reason, worker, and the subject for a retry.
DEAD_REASON: Final = "Dead-Reason"
DEAD_STAGE: Final = "Dead-Stage"
DEAD_ERROR: Final = "Dead-Error"
ORIGIN_STREAM: Final = "Origin-Stream"
ORIGIN_SUBJECT: Final = "Origin-Subject"
DELIVERIES: Final = "Deliveries"
OF_DEATH: Final = frozenset({DEAD_REASON, DEAD_STAGE, DEAD_ERROR, ORIGIN_STREAM, ORIGIN_SUBJECT, DELIVERIES})

MAX_VALUE_LENGTH: Final = 512
MAX_QUERY_LENGTH: Final = 4096
# Up to a million generations; sequence and generation share a UInt64.
GENERATION_BITS: Final = 20
MAX_GENERATION: Final = 2**GENERATION_BITS - 1


class UnreadableHeaders(ValueError):
    """The headers of a message are not ours: dead-letter it."""


# Not frozen: that makes construction three times as slow, and one is made per message. Do not change it.
@dataclass(slots=True)
class Origin:
    """What all rows of one message share. Times are nanoseconds since 1970, set once by the receiver.

    `environment` is the resolved one; with `environment_from_event`, one named inside the event replaces it.
    `origin_id` identifies the raw body, `origin_seq` is its sequence in RAW. `wants_sync` asks for the answer after the
    insert instead of before. `resource` is what the path names besides the channel (a monitor slug, an event id).
    `query` is the query string, still percent-encoded, without parameters that contain a key. `counts_rows`: the sender
    has a quota of rows.
    """

    organisation: str
    channel_id: int
    key_id: str
    environment: str
    environment_from_event: bool
    received_at_ns: int
    content_type: str = ""
    content_encoding: str = ""
    sender_ip: str = ""
    user_agent: str = ""
    sentry_client: str = ""
    origin_id: str = ""
    origin_seq: int = 0
    item_index: int = 0
    replay_generation: int = 0
    counts_to: str = ""
    wants_sync: bool = False
    resource: str = ""
    query: str = ""
    counts_rows: bool = False

    @property
    def version(self) -> int:
        """See row_version."""
        return row_version(self.origin_seq, self.replay_generation)


def row_version(origin_seq: int, generation: int) -> int:
    """The ReplacingMergeTree version of a row: a later body wins, and of one body its later replay.

    In the other order, a replay of some bodies would replace rows of later bodies that it does not touch.
    """
    return origin_seq << GENERATION_BITS | generation


def clean(value: str, max_length: int = MAX_VALUE_LENGTH) -> str:
    """Makes a value safe for a NATS header: printable ASCII, one line, limited length, keys masked."""
    value = mask_keys_in(value.strip()[: 4 * max_length])  # a key beyond this is cut off below anyway
    if not value.isascii() or not value.isprintable():
        value = "".join(char if " " <= char <= "~" else "?" for char in value)
    return value.strip()[:max_length]


def write(origin: Origin, message_id: str) -> dict[str, str]:
    """The headers of a raw message. A new dict each time, because nats-py adds to it."""
    headers = {
        SCHEMA: SCHEMA_VERSION,
        MESSAGE_ID: message_id,
        ORGANISATION: origin.organisation,
        CHANNEL: str(origin.channel_id),
        KEY_ID: origin.key_id,
        ENVIRONMENT: origin.environment,
        RECEIVED_AT: str(origin.received_at_ns),
    }
    optional = {
        ENVIRONMENT_OVERRIDE: "1" if origin.environment_from_event else "",
        CONTENT_TYPE: clean(origin.content_type),
        CONTENT_ENCODING: origin.content_encoding,
        SENDER_IP: clean(origin.sender_ip),
        USER_AGENT: clean(origin.user_agent),
        SENTRY_CLIENT: clean(origin.sentry_client),
        SYNC: "1" if origin.wants_sync else "",
        RESOURCE: clean(origin.resource),
        QUERY: clean(origin.query, MAX_QUERY_LENGTH),
        COUNTS_TO: origin.counts_to,
        COUNT_ROWS: "1" if origin.counts_rows else "",
    }
    headers.update((name, value) for name, value in optional.items() if value)
    return headers


def for_item(headers: Mapping[str, str], origin: Origin, item_index: int) -> dict[str, str]:
    """The headers of item `item_index` of a raw message: our headers, and where it came from.

    The broker's headers are not copied: those of an atomic batch would make the item start a new one.
    """
    ours = {name: value for name, value in headers.items() if not name.startswith(BROKER_PREFIX)}
    return {
        **ours,
        MESSAGE_ID: f"{origin.origin_seq}:{item_index}:{origin.replay_generation}",
        ORIGIN_ID: origin.origin_id,
        ORIGIN_SEQ: str(origin.origin_seq),
        ITEM_INDEX: str(item_index),
    }


def read(headers: Mapping[str, str] | None, stream_seq: int) -> Origin:
    """The Origin of a message at `stream_seq`. Raises UnreadableHeaders."""
    headers = headers or {}
    version = headers.get(SCHEMA, "")
    if version not in READABLE_VERSIONS:
        expected = ", ".join(sorted(READABLE_VERSIONS))
        raise UnreadableHeaders(f"expected Schema-Version {expected}, found {version!r}; upgrade the workers first")
    get = headers.get
    try:
        return Origin(
            organisation=headers[ORGANISATION],
            channel_id=int(headers[CHANNEL]),
            key_id=headers[KEY_ID],
            environment=headers[ENVIRONMENT],
            environment_from_event=get(ENVIRONMENT_OVERRIDE) == "1",
            received_at_ns=int(headers[RECEIVED_AT]),
            content_type=get(CONTENT_TYPE, ""),
            content_encoding=get(CONTENT_ENCODING, ""),
            sender_ip=get(SENDER_IP, ""),
            user_agent=get(USER_AGENT, ""),
            sentry_client=get(SENTRY_CLIENT, ""),
            origin_id=get(ORIGIN_ID) or headers[MESSAGE_ID],
            origin_seq=int(get(ORIGIN_SEQ) or stream_seq),
            item_index=int(get(ITEM_INDEX) or 0),
            replay_generation=int(get(REPLAY_GENERATION) or 0),
            counts_to=get(COUNTS_TO, ""),
            wants_sync=get(SYNC) == "1",
            resource=get(RESOURCE, ""),
            query=get(QUERY, ""),
            counts_rows=get(COUNT_ROWS) == "1",
        )
    except (KeyError, ValueError) as error:
        raise UnreadableHeaders(f"expected the headers of a raw message, found {error} missing or malformed") from error
