"""Headers between receivers and workers of different versions: names, defaults and ids as literals."""

from __future__ import annotations

import pytest

from schemas import headers
from schemas.headers import Origin, UnreadableHeaders
from schemas.rows import row_id

LEAST = {
    "Schema-Version": "1",
    "Nats-Msg-Id": "m1",
    "Organisation": "acme",
    "Channel": "7",
    "Key-Id": "0123456789abcdef",
    "Environment": "production",
    "Received-At": "1763700000000000000",
}
ALL = LEAST | {
    "Environment-Override": "1",
    "Content-Type": "application/json",
    "Content-Encoding": "gzip",
    "Sender-Ip": "192.0.2.1",
    "User-Agent": "curl",
    "Sentry-Client": "sentry.python/2",
    "Sync": "1",
    "Resource": "nightly",
    "Query": "a=b",
    "Counts-To": "_INBOX.r.1",
    "Count-Rows": "1",
}
FULL = Origin(
    organisation="acme",
    channel_id=7,
    key_id="0123456789abcdef",
    environment="production",
    environment_from_event=True,
    received_at_ns=1_763_700_000_000_000_000,
    content_type="application/json",
    content_encoding="gzip",
    sender_ip="192.0.2.1",
    user_agent="curl",
    sentry_client="sentry.python/2",
    origin_id="m1",
    origin_seq=9,
    counts_to="_INBOX.r.1",
    wants_sync=True,
    resource="nightly",
    query="a=b",
    counts_rows=True,
)


def test_the_headers_of_a_raw_message_are_these() -> None:
    """Names and values as literals: a receiver may be older or newer than the workers that read it."""
    assert headers.write(FULL, "m1") == ALL


def test_they_are_read_back() -> None:
    """All of them; place and origin are those of the raw message itself."""
    assert headers.read(ALL, 9) == FULL


def test_the_least_is_enough() -> None:
    """A raw message is item 0 of itself, was never replayed, and came without anything optional."""
    assert headers.read(LEAST, 9) == Origin(
        "acme", 7, "0123456789abcdef", "production", False, 1_763_700_000_000_000_000, origin_id="m1", origin_seq=9
    )


def test_an_item_says_where_it_came_from() -> None:
    """The broker's own headers stay behind; the message id is a function of body, place and generation."""
    told = headers.read(ALL | {"Replay-Generation": "3"}, 9)
    written = headers.for_item(ALL | {"Nats-Batch-Id": "x", "Replay-Generation": "3"}, told, 2)
    assert written == ALL | {
        "Nats-Msg-Id": "9:2:3",
        "Origin-Id": "m1",
        "Origin-Seq": "9",
        "Item-Index": "2",
        "Replay-Generation": "3",
    }
    assert headers.read(written, 500) == told.__class__(
        **{name: getattr(told, name) for name in told.__slots__} | {"item_index": 2}
    )


@pytest.mark.parametrize("name", LEAST)
def test_nothing_of_the_least_may_be_missing(name: str) -> None:
    """It is said what is missing, or which version was expected."""
    with pytest.raises(UnreadableHeaders):
        headers.read({key: value for key, value in LEAST.items() if key != name}, 9)


def test_a_later_body_beats_a_replay_of_an_earlier_one() -> None:
    """The sequence stands above the generation in the version of a row."""
    assert Origin("", 0, "", "", False, 0, origin_seq=2).version == 2 << 20
    assert Origin("", 0, "", "", False, 0, origin_seq=1, replay_generation=2**20 - 1).version == (2 << 20) - 1


def test_row_ids_are_what_they_were_in_every_version() -> None:
    """A redelivery after an upgrade must replace the row, not stand beside it."""
    assert row_id("raw-1", 0, "event") == 0xB8452B5504AEC55B81C39779DB675EE2
    assert row_id("ab", "c") != row_id("a", "bc")
