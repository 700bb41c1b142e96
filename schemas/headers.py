"""Message headers: what the receiver says about a body, and the Origin every later stage reads it back into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas.key_masking import mask_keys_in

SCHEMA_VERSION: Final = "1"
# Workers read this version and the one before it, so receivers and workers can be deployed in any order.
READABLE_VERSIONS: Final = frozenset({"1"})

BROKER_PREFIX: Final = "Nats-"
MESSAGE_ID: Final = "Nats-Msg-Id"
RECEIVED_AT: Final = "Received-At"
COUNTS_TO: Final = "Counts-To"
ORIGIN_ID: Final = "Origin-Id"
ORIGIN_SEQ: Final = "Origin-Seq"
ITEM_INDEX: Final = "Item-Index"
REPLAY_GENERATION: Final = "Replay-Generation"
# The item types a replay asked for, separated by commas; without it all of them.
REPLAY_TYPES: Final = "Replay-Types"
# A quota of rows holds for the sender: workers count what they make of the body and tell the receivers.
COUNT_ROWS: Final = "Count-Rows"
# W3C Trace Context of the request, where it is traced (ops/runtime/tracing.py); items have that of unpack.
TRACE_PARENT: Final = "Traceparent"

MAX_VALUE_LENGTH: Final = 512
MAX_QUERY_LENGTH: Final = 4096
# A million replays and retries, and 17 million million bodies: sequence and generation share a UInt64.
GENERATION_BITS: Final = 20
MAX_GENERATION: Final = 2**GENERATION_BITS - 1


class UnreadableHeaders(ValueError):
    """The headers of a message are not ours: dead-letter it, there is nobody to answer."""


# Made for every message and every item, and frozen would take 3 us where this takes 1: nobody writes to it.
@dataclass(slots=True)
class Origin:
    """Everything the rows of one message share. Times are nanoseconds since 1970, taken once, in the receiver.

    `environment` is resolved already; `environment_from_event` says that an environment named inside the event may
    still replace it. `origin_id` identifies the raw body, `origin_seq` is its sequence in RAW. `wants_sync` asks for
    the answer after the insert instead of before it. `resource` is what the path named beside the channel (a monitor
    slug, an event id); `query` is the query string, percent-encoded as it came, without anything that holds a key.
    `counts_rows`: its sender has a quota of rows.
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
        """The ReplacingMergeTree version: the later body wins, and of one body its later replay.

        The other way round, a replay of some bodies would beat later bodies that it left alone.
        """
        return self.origin_seq << GENERATION_BITS | self.replay_generation


def clean(value: str, max_length: int = MAX_VALUE_LENGTH) -> str:
    """A value that is safe in a NATS header: printable ASCII, one line, bounded, and no key in it."""
    value = mask_keys_in(value.strip()[: 4 * max_length])  # a key that is cut here would be cut off below
    if not value.isascii() or not value.isprintable():
        value = "".join(char if " " <= char <= "~" else "?" for char in value)
    return value.strip()[:max_length]


def write(origin: Origin, message_id: str) -> dict[str, str]:
    """The headers of a raw message. A new dict each call: nats-py writes into the one it is given."""
    headers = {
        "Schema-Version": SCHEMA_VERSION,
        MESSAGE_ID: message_id,
        "Organisation": origin.organisation,
        "Channel": str(origin.channel_id),
        "Key-Id": origin.key_id,
        "Environment": origin.environment,
        RECEIVED_AT: str(origin.received_at_ns),
    }
    optional = {
        "Environment-Override": "1" if origin.environment_from_event else "",
        "Content-Type": clean(origin.content_type),
        "Content-Encoding": origin.content_encoding,
        "Sender-Ip": clean(origin.sender_ip),
        "User-Agent": clean(origin.user_agent),
        "Sentry-Client": clean(origin.sentry_client),
        "Sync": "1" if origin.wants_sync else "",
        "Resource": clean(origin.resource),
        "Query": clean(origin.query, MAX_QUERY_LENGTH),
        COUNTS_TO: origin.counts_to,
        COUNT_ROWS: "1" if origin.counts_rows else "",
    }
    headers.update((name, value) for name, value in optional.items() if value)
    return headers


def for_item(headers: Mapping[str, str], origin: Origin, item_index: int) -> dict[str, str]:
    """The headers of item `item_index` of a raw message: ours are the same, plus where it came from.

    The broker's own stay behind: those of an atomic batch would make the item the start of another one.
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
    """The Origin of a message taken from a stream at `stream_seq`. Raises UnreadableHeaders."""
    headers = headers or {}
    version = headers.get("Schema-Version", "")
    if version not in READABLE_VERSIONS:
        expected = ", ".join(sorted(READABLE_VERSIONS))
        raise UnreadableHeaders(f"expected Schema-Version {expected}, found {version!r}; upgrade the workers first")
    get = headers.get
    try:
        return Origin(
            organisation=headers["Organisation"],
            channel_id=int(headers["Channel"]),
            key_id=headers["Key-Id"],
            environment=headers["Environment"],
            environment_from_event=get("Environment-Override") == "1",
            received_at_ns=int(headers[RECEIVED_AT]),
            content_type=get("Content-Type", ""),
            content_encoding=get("Content-Encoding", ""),
            sender_ip=get("Sender-Ip", ""),
            user_agent=get("User-Agent", ""),
            sentry_client=get("Sentry-Client", ""),
            origin_id=get(ORIGIN_ID) or headers[MESSAGE_ID],
            origin_seq=int(get(ORIGIN_SEQ) or stream_seq),
            item_index=int(get(ITEM_INDEX) or 0),
            replay_generation=int(get(REPLAY_GENERATION) or 0),
            counts_to=get(COUNTS_TO, ""),
            wants_sync=get("Sync") == "1",
            resource=get("Resource", ""),
            query=get("Query", ""),
            counts_rows=get(COUNT_ROWS) == "1",
        )
    except (KeyError, ValueError) as error:
        raise UnreadableHeaders(f"expected the headers of a raw message, found {error} missing or malformed") from error
