"""What one body may cost while it is read: its ratio of inflation, its speed, its pieces, and the loop's time."""

from __future__ import annotations

import asyncio
import gzip
import random
import re
import sys
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.bench.bodies import kinds
from receiver.http.body import FREE_BYTES, MAX_CHUNKS, STEP_BYTES, YIELD_BYTES, BodyLimits
from receiver.http.deadlines import Deadlines
from receiver.settings import ReceiverSettings
from tests.unit.held_requests import Held, settled
from tests.unit.receiver.test_app import ENVELOPE, SECRET, Answered, Client, auth, otlp
from tests.unit.virtual_time import run

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RATIO = 1_100
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda body: gzip.compress(body, 9),
    "deflate": lambda body: zlib.compress(body, 9),
    "br": lambda body: brotli.compress(body, quality=5),
    "zstd": lambda body: zstd.compress(body, 15),
}


# The others cannot inflate that much.
DENSE: dict[str, Callable[[bytes], bytes]] = {coding: CODINGS[coding] for coding in ("br", "zstd")}


def envelope_of(size_bytes: int) -> bytes:
    return ENVELOPE.ljust(size_bytes)


def sent(client: Client, body: bytes, coding: str, cuts: list[int] | None = None) -> Answered:
    ends = [*sorted(cuts or []), len(body)]
    chunks = [body[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    headers = {"x_sentry_auth": auth(), "content_encoding": coding}
    return client.post("/api/42/envelope/", body if cuts is None else chunks, **headers)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_body_of_one_message_in_gzip_may_be_as_large_as_any(coding: str) -> None:
    """The limit of a body is the only one: padding that compresses well is no attack in these codings."""
    client = Client()
    assert sent(client, CODINGS[coding](envelope_of(5_999_999)), coding).status == 200


@pytest.mark.parametrize("coding", DENSE)
def test_a_small_body_that_inflates_too_much_is_refused(coding: str) -> None:
    """128 KiB for any body, beyond it so many times what was sent: the answer says both ratios, nothing is stored."""
    client = Client()
    assert sent(client, CODINGS[coding](envelope_of(FREE_BYTES)), coding).status == 200
    bomb = CODINGS[coding](envelope_of(5_900_000))
    assert len(bomb) * RATIO < 5_900_000
    answer = sent(client, bomb, coding)
    assert answer.status == 413
    assert f"at most {RATIO} times the" in answer.json["detail"]
    assert "AXONPUSH_MAX_INFLATION_RATIO" in answer.json["detail"]
    assert len(client.publisher.published) == 1


@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize("coding", DENSE)
def test_the_answer_to_a_bomb_has_its_true_numbers(coding: str, is_whole: bool) -> None:
    """Bytes sent, bytes allowed for them, bytes found, and their ratio, in this order."""
    bomb = CODINGS[coding](envelope_of(5_900_000))
    answer = sent(Client(), bomb, coding, None if is_whole else [len(bomb) // 2])
    numbers = [int(number) for number in re.findall(r"\d+", answer.json["detail"])]
    ratio, sent_bytes, free_bytes, allowed, found, times = numbers
    assert (ratio, free_bytes) == (RATIO, FREE_BYTES)
    assert sent_bytes <= len(bomb)
    assert allowed == max(FREE_BYTES, RATIO * sent_bytes)
    assert allowed < found <= 5_900_000
    assert times == found // sent_bytes > RATIO


@pytest.mark.asyncio
async def test_a_body_in_pieces_is_refused_at_the_piece_that_is_too_much() -> None:
    """Its sender has not ended it, and may never."""
    request = Held(Client().app, "/api/42/envelope/", {"x_sentry_auth": auth()})
    for _ in range(3):
        request.give(bytes(2_500_000))
    assert (await request.answer()).status == 413
    request.leave()
    await request.task


@pytest.mark.parametrize("coding", DENSE)
@pytest.mark.asyncio
async def test_little_of_a_bomb_is_inflated(coding: str) -> None:
    """It stops a step after what it may inflate to, not at the end."""
    client = Client()
    seen: list[int] = []
    counting = client.steps.refusal_budget
    counting.add = lambda _key, _route, _network, inflated: seen.append(inflated)  # type: ignore[method-assign]
    request = Held(client.app, "/api/42/envelope/", {"x_sentry_auth": auth(), "content_encoding": coding})
    request.give(CODINGS[coding](envelope_of(5_900_000)), more=False)
    assert (await request.answer()).status == 413
    assert seen[0] <= FREE_BYTES + RATIO * 2 * STEP_BYTES


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_body_is_judged_alike_however_it_is_cut(data: st.DataObject) -> None:
    """Packets do not decide: the same bytes in any pieces hear the same status."""
    client = Client(refused_per_minute=0)
    rest = random.Random(1)
    kind = data.draw(st.sampled_from(["bomb", "fair", "bomb first"]))
    noise = rest.randbytes(8_000).hex().encode()
    body = {
        "bomb": ENVELOPE + b" " * 2_000_000,
        "fair": ENVELOPE + noise + b" " * 2_000_000,
        "bomb first": ENVELOPE + b" " * 1_500_000 + noise,
    }[kind]
    wire = gzip.compress(body, 9)
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=8))
    assert sent(client, wire, "gzip", cuts).status == sent(client, wire, "gzip").status


@pytest.mark.parametrize("kind", sorted(kinds.by_name()))
@pytest.mark.parametrize("coding", CODINGS)
def test_no_batch_of_an_sdk_is_refused(kind: str, coding: str) -> None:
    """What real SDKs make, under every coding at its strongest: far below the ratio."""
    made = kinds.by_name()[kind]
    body = made.make(kinds.tokens(1, 1)[0])
    if made.headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    wire = CODINGS[coding](body)
    assert len(body) <= BodyLimits(6_000_000, 30.0, RATIO).inflated_bytes(len(wire))


def test_repetitive_batches_go_in() -> None:
    """Ten thousand native events that differ in a number, records with the same long text: accepted in all codings."""
    client = Client()
    events = [{"identifier": "checkout", "payload": {"step": "pay", "n": n}} for n in range(10_000)]
    text, times = "x y z " * 400, random.Random(1)
    records = [
        {"timeUnixNano": str(1_790_000_000_000_000_000 + times.randrange(10**9)), "body": {"stringValue": text}}
        for n in range(2_000)
    ]
    logs = orjson.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]})
    for coding, pack in CODINGS.items():
        batch = pack(orjson.dumps({"channel_id": 42, "events": events}))
        assert client.post("/event/batch", batch, x_api_key=SECRET, content_encoding=coding).status == 202
        assert client.post("/v1/logs", pack(logs), content_encoding=coding, **otlp()).status == 200


def test_the_default_is_what_was_measured() -> None:
    """The setting and this page agree."""
    assert ReceiverSettings().max_inflation_ratio == RATIO


# --- pieces and turns


def test_a_body_of_endless_pieces_is_refused() -> None:
    """Each piece costs the same however small it is."""
    client = Client()
    pieces = [b" "] * (MAX_CHUNKS + 1)
    answer = client.post("/api/42/envelope/", [ENVELOPE, *pieces], x_sentry_auth=auth())
    assert (answer.status, client.publisher.published) == (413, [])
    assert "chunks" in answer.json["detail"]


@pytest.mark.asyncio
async def test_others_have_their_turn_while_a_large_body_is_inflated() -> None:
    """A body that comes in one piece and inflates to megabytes lets the loop go on in between."""
    client = Client()
    body = gzip.compress(ENVELOPE + random.Random(1).randbytes(10_000).hex().encode() * 280)
    assert len(body) * RATIO > 5_000_000
    request = Held(client.app, "/api/42/envelope/", {"x_sentry_auth": auth(), "content_encoding": "gzip"})
    request.give(body, more=False)
    turns = 0
    while not request.is_answered:
        turns += 1
        await asyncio.sleep(0)
    assert (await request.answer()).status == 200
    assert turns >= 5_000_000 // YIELD_BYTES


# --- speed

WINDOW_S = 0.05


async def slowly(deadlines: Deadlines, steps_bytes: list[int]) -> str:
    """Whether a task that makes this progress, one step a quarter of a window, and then stands still, is ended."""
    task = deadlines.begin()
    try:
        for size_bytes in steps_bytes:
            await asyncio.sleep(WINDOW_S / 4)
            deadlines.came(task, size_bytes)
    except asyncio.CancelledError:
        assert deadlines.is_over(task) or task.cancelling() == 0
        return "slow"
    finally:
        deadlines.end(task)
    return "done"


@pytest.mark.parametrize(
    ("steps_bytes", "end"),
    [([0] * 400, "slow"), ([1_000_000] + [0] * 400, "slow"), ([1] * 400, "slow"), ([100_000] * 40, "done")],
    ids=["nothing", "much at first", "drips", "steady"],
)
def test_who_is_too_slow_is_ended(steps_bytes: list[int], end: str) -> None:
    """In every window, not on average: whoever sent much and then stands still is slow as well."""
    assert run(slowly(Deadlines(600.0, min_bytes_per_s=1_000, window_s=WINDOW_S), steps_bytes)) == end


def test_any_speed_is_allowed_where_it_is_turned_off() -> None:
    """0 bytes a second: only the deadline counts."""
    assert run(slowly(Deadlines(600.0, min_bytes_per_s=0, window_s=WINDOW_S), [0] * 20)) == "done"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/api/42/envelope/", {"x_sentry_auth": auth()}, 408),
        ("/v1/logs", otlp(), 503),
        ("/event", {"x_api_key": SECRET}, 503),
    ],
)
@pytest.mark.asyncio
async def test_a_slow_body_is_refused_in_its_dialect(path: str, headers: dict[str, str], status: int) -> None:
    """Long before the deadline; those that take 408 for final are told to come back. Nothing stays held."""
    client = Client(body_deadline_s=600.0)
    steps = client.steps
    object.__setattr__(steps.bodies.limits, "deadlines", Deadlines(600.0, 500, WINDOW_S))
    request = Held(client.app, path, {**headers, "content_length": "5000000"})
    request.give(b"{" + b" " * 20)
    answer = await request.answer()
    assert answer.status == status
    assert b"bytes a second" in answer.body
    assert steps.bodies.budget.held_bytes == 0
    request.leave()
    await request.task
    await settled()


def test_a_phone_on_a_slow_network_is_let_in() -> None:
    """The slowest network of phones brings a thousand bytes a second, and may be away for some seconds."""
    told: Any = ReceiverSettings()
    assert told.body_min_bytes_per_s <= 1_000 / 2
    assert Deadlines(told.body_deadline_s, told.body_min_bytes_per_s).window_s >= 10.0


@pytest.mark.parametrize("over", [0, 1])
def test_a_body_of_just_the_limit_is_taken(over: int) -> None:
    """One declared byte more is refused before a byte is read."""
    limit = 5_000
    body = envelope_of(limit + over)
    client = Client(max_body_bytes=limit)
    answer = client.post("/api/42/envelope/", body, x_sentry_auth=auth(), content_length=str(len(body)))
    assert answer.status == (413 if over else 200)
