"""Idempotency keys over a broker in memory: who was first, who races, what is forgotten."""

from __future__ import annotations

import asyncio

import nats.errors
import pytest
from nats.js.errors import APIError

from receiver.delivery.idempotency import BodyResult, BucketFirstAnswers, FirstBody, RecordOwner
from receiver.delivery.publish import Unavailable
from receiver.delivery.record_sets import (
    ATTEMPTS,
    SET_BYTES,
    Record,
    RecordKind,
    RecordSets,
    decode,
    encode,
    sets_in_share,
)
from schemas.subjects import IDEMPOTENCY_BUCKET, PUBLIC_IDEMPOTENCY_BUCKET
from tests.unit.broker_fake import BrokerFake, bucket

NOW_NS = 10**18
KIND = RecordKind("key", share=1.0, kept_ns=1_000)
SECRET, PUBLIC = RecordOwner("acme", "secret"), RecordOwner("acme", "public")
NAME = b"n" * 16
MINE = FirstBody(NOW_NS, b"f" * 16, "mine")
OTHER = FirstBody(NOW_NS + 1, b"g" * 16, "other")


def broker(max_bytes: int = 1_000_000) -> BrokerFake:
    return BrokerFake(
        bucket(IDEMPOTENCY_BUCKET, max_bytes=max_bytes), bucket(PUBLIC_IDEMPOTENCY_BUCKET, max_bytes=max_bytes)
    )


def sets(made: BrokerFake, now_ns: int = NOW_NS) -> RecordSets:
    return RecordSets(made, IDEMPOTENCY_BUCKET, 5.0, lambda: now_ns)  # type: ignore[arg-type]


def answers(made: BrokerFake, now_ns: int = NOW_NS) -> BucketFirstAnswers:
    return BucketFirstAnswers(made, 5.0, lambda: now_ns)  # type: ignore[arg-type]


def record(name: bytes = NAME, made_at_ns: int = NOW_NS, value: bytes = b"v") -> Record:
    return Record(name, made_at_ns, value)


def changing_first(made: BrokerFake, change: Record, times: int = 1) -> None:
    """Another receiver writes `change` between our reading and our writing, `times` times."""
    left = [times]

    def before(subject: str) -> None:
        if left[0]:
            left[0] -= 1
            stream = made.streams[f"KV_{IDEMPOTENCY_BUCKET}"]
            stream.last_seq += 1
            held = stream.messages.pop(stream.last_of(subject), None)
            kept = [one for one in decode(held.data) if one.name != change.name] if held else []
            made.store(stream, subject, encode([*kept, change]), {})

    made.before = before


@pytest.mark.asyncio
async def test_a_name_is_claimed_once() -> None:
    """The second hears what the first has stored, and changes nothing."""
    made = broker()
    assert await answers(made).claim(SECRET, NAME, MINE) is None
    assert await answers(made).claim(SECRET, NAME, OTHER) == MINE
    assert await answers(made).find(SECRET, NAME) == MINE


@pytest.mark.asyncio
async def test_a_bucket_of_any_kind_is_used() -> None:
    """Also one that has no limit of its own, or whose replicas do not answer in place of the leader."""
    made = BrokerFake(bucket(IDEMPOTENCY_BUCKET, max_bytes=0, is_direct=False))
    names = [bytes([number]) * 16 for number in range(8)]
    for name in names:
        assert await sets(made).add("acme", KIND, record(name)) is None
        assert await sets(made).find("acme", KIND, name) == record(name)
    assert len(made.streams[f"KV_{IDEMPOTENCY_BUCKET}"].messages) == len(names), "each in a set of its own"


@pytest.mark.asyncio
async def test_a_bucket_is_asked_once_for_its_size() -> None:
    """Not by every request."""
    made = broker()
    target = sets(made)
    asked = 0
    request = made.request

    async def counting(subject: str, payload: bytes = b"", timeout: float = 0) -> object:
        nonlocal asked
        asked += 1
        return await request(subject, payload, timeout)

    made.request = counting  # type: ignore[method-assign]
    for number in range(3):
        await target.add("acme", KIND, record(bytes([number]) * 16))
    assert asked == 1


@pytest.mark.asyncio
async def test_whoever_writes_first_is_first() -> None:
    """Another receiver claimed the name after we looked: our write is refused, and we hear of it."""
    made = broker()
    rival = record(value=b"rival")
    changing_first(made, rival)
    assert await sets(made).add("acme", KIND, record()) == rival
    assert await sets(made).find("acme", KIND, NAME) == rival


@pytest.mark.asyncio
async def test_a_write_in_between_is_not_lost() -> None:
    """Another name of the same set: both are there afterwards."""
    made = broker(max_bytes=1)
    rival = record(b"r" * 16, value=b"rival")
    changing_first(made, rival)
    assert await sets(made).add("acme", KIND, record()) is None
    assert await sets(made).find("acme", KIND, rival.name) == rival
    assert await sets(made).find("acme", KIND, NAME) == record()


@pytest.mark.asyncio
async def test_a_race_that_never_ends_is_unavailable() -> None:
    """After so many attempts the sender is told to come back."""
    made = broker(max_bytes=1)
    changing_first(made, record(b"r" * 16), times=ATTEMPTS)
    with pytest.raises(Unavailable, match="contended"):
        await sets(made).add("acme", KIND, record())
    changing_first(made, record(b"r" * 16), times=ATTEMPTS - 1)
    assert await sets(made).add("acme", KIND, record()) is None


@pytest.mark.asyncio
async def test_of_many_at_once_one_is_first() -> None:
    """In one process they take turns."""
    made = broker()
    target = answers(made)
    claims = [FirstBody(NOW_NS + number, bytes([number]) * 16) for number in range(20)]
    found = await asyncio.gather(*(target.claim(SECRET, NAME, claim) for claim in claims))
    assert found.count(None) == 1
    [winner] = {one for one in found if one is not None}
    assert winner in claims


@pytest.mark.asyncio
async def test_what_becomes_of_a_body_is_noted_in_its_place() -> None:
    """The same claim, with its sequence and its fate; nothing else of the set is touched."""
    made = broker(max_bytes=1)
    target = answers(made)
    await target.claim(SECRET, b"o" * 16, OTHER)
    await target.claim(SECRET, NAME, MINE)
    noted = FirstBody(MINE.received_at_ns, MINE.fingerprint, MINE.identifier, 9, BodyResult.ROWS)
    await target.mark(SECRET, NAME, noted)
    assert await target.find(SECRET, NAME) == noted
    assert await target.find(SECRET, b"o" * 16) == OTHER
    await target.mark(SECRET, b"p" * 16, noted)
    assert await target.find(SECRET, b"p" * 16) == noted, "one that was not known is noted too"


@pytest.mark.asyncio
async def test_only_its_own_claim_is_given_back() -> None:
    """A later claim of the same name stays."""
    target = answers(broker())
    await target.claim(SECRET, NAME, MINE)
    await target.release(SECRET, NAME, OTHER)
    assert await target.find(SECRET, NAME) == MINE
    await target.release(SECRET, NAME, MINE)
    assert await target.find(SECRET, NAME) is None
    assert await target.claim(SECRET, NAME, OTHER) is None


@pytest.mark.asyncio
async def test_classes_of_keys_and_organisations_know_nothing_of_each_other() -> None:
    """A public token claims nothing of a secret key's, an organisation nothing of another's."""
    target = answers(broker())
    await target.claim(PUBLIC, NAME, MINE)
    for owner in (SECRET, RecordOwner("other", "public"), RecordOwner("other", "secret")):
        assert await target.claim(owner, NAME, OTHER) is None
    assert await target.find(PUBLIC, NAME) == MINE


@pytest.mark.asyncio
async def test_refused_bodies_are_known_for_a_while() -> None:
    """Under their message ids, apart from claims; where there is no bucket, nothing was refused."""
    made = broker()
    message_id = NAME.hex()
    assert not await answers(made).was_refused(SECRET, message_id)
    await answers(made).refuse(SECRET, message_id)
    assert await answers(made).was_refused(SECRET, message_id)
    assert await answers(made).find(SECRET, NAME) is None
    assert await answers(made, NOW_NS + 599 * 10**9).was_refused(SECRET, message_id)
    assert not await answers(made, NOW_NS + 601 * 10**9).was_refused(SECRET, message_id)
    assert not await answers(BrokerFake()).was_refused(SECRET, message_id)


@pytest.mark.asyncio
async def test_claims_are_known_for_a_day() -> None:
    """And then the name is free again."""
    made = broker()
    await answers(made).claim(SECRET, NAME, MINE)
    day_ns = 24 * 3600 * 10**9
    assert await answers(made, NOW_NS + day_ns - 1).find(SECRET, NAME) == MINE
    assert await answers(made, NOW_NS + day_ns).find(SECRET, NAME) is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (APIError(code=500, err_code=10003, description="x"), "idempotency_bucket"),
        (nats.errors.TimeoutError(), "idempotency_bucket"),
        (OSError("gone"), "idempotency_bucket"),
    ],
)
@pytest.mark.asyncio
async def test_a_broker_that_does_not_answer_is_unavailable(error: Exception, reason: str) -> None:
    """Nobody is told that a name was free."""
    made = broker()
    made.error = error
    with pytest.raises(Unavailable, match=reason):
        await answers(made).claim(SECRET, NAME, MINE)


@pytest.mark.asyncio
async def test_without_a_connection_or_a_bucket_it_is_unavailable() -> None:
    """Each with its own reason."""
    made = broker()
    made.is_connected = False
    with pytest.raises(Unavailable, match="disconnected"):
        await answers(made).find(SECRET, NAME)
    with pytest.raises(Unavailable, match="idempotency_bucket_missing"):
        await answers(BrokerFake()).find(SECRET, NAME)


@pytest.mark.asyncio
async def test_a_set_that_cannot_be_read_is_replaced() -> None:
    """Another version wrote it: what it held is forgotten, not an error."""
    made = broker()
    await sets(made).add("acme", KIND, record())
    [held] = made.streams[f"KV_{IDEMPOTENCY_BUCKET}"].messages.values()
    held.data = b"odd"
    assert await sets(made).find("acme", KIND, NAME) is None
    assert await sets(made).add("acme", KIND, record()) is None
    assert await sets(made).find("acme", KIND, NAME) == record()


def test_a_full_set_drops_its_oldest() -> None:
    """What is left fits, is the newest, and is in order."""
    records = [record(bytes([number]) * 16, value=b"v" * 100) for number in range(40)]
    kept = decode(encode(records))
    assert kept == records[-len(kept) :]
    assert SET_BYTES - 125 < len(encode(records)) <= SET_BYTES
    assert decode(encode(records[:3])) == records[:3]


@pytest.mark.parametrize("data", [b"x", encode([record()])[:-1], encode([record()]) + b"x"])
def test_what_is_no_set_is_said(data: bytes) -> None:
    """Cut short or with more behind it."""
    with pytest.raises(ValueError, match="expected"):
        decode(data)


def test_a_share_is_at_least_one_set() -> None:
    """And eight organisations fill a bucket."""
    assert sets_in_share(1, 0.25) == 1
    assert sets_in_share(8 * 2_240 * 10, 1.0) == 10
    assert sets_in_share(8 * 2_240 * 10, 0.75) == 7
    assert sets_in_share(0, 1.0) == sets_in_share(-1, 1.0) == 512 * 1024**2 // 8 // 2_240


@pytest.mark.parametrize("identifier", ["", "mine", "ü" * 100])
def test_a_claim_is_read_back(identifier: str) -> None:
    """All of it; an identifier that is too long is left out."""
    claim = FirstBody(NOW_NS, b"f" * 16, identifier, 2**40, BodyResult.PARTLY)
    assert FirstBody.of(claim.record(NAME)) == claim
    long = FirstBody(NOW_NS, b"f" * 16, "x" * 300)
    assert FirstBody.of(long.record(NAME)) == FirstBody(NOW_NS, b"f" * 16)
    with pytest.raises(ValueError, match="idempotency key"):
        FirstBody.of(record(value=b"short"))
