"""Memory for bodies: only bytes that have come count, and no sender may have all of it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import tracemalloc
import zlib
from typing import Any

import pytest
from prometheus_client import REGISTRY

from receiver.http.answers import Refused
from receiver.http.bodies import UNAUTHENTICATED_BODIES
from receiver.http.budget import FULL_S, MAX_BODIES, SHARES, Budget, network_of
from schemas.encodings import WINDOW_BYTES
from tests.unit.held_requests import Held, settled
from tests.unit.receiver.test_app import ENVELOPE, FOREIGN, PUBLIC, SECRET, Client, auth, otlp
from tests.unit.receiver.test_parts import Clock

LIMIT = 1_000
CROWD = 2_000


def refused(held_by: str) -> float:
    return REGISTRY.get_sample_value("axonpush_receiver_budget_refused_total", {"held_by": held_by}) or 0.0


@pytest.mark.asyncio
async def test_what_has_not_come_is_not_held() -> None:
    """Any number of senders that promise and send nothing leave the whole budget to others."""
    client = Client(in_flight_bytes=100_000)
    promise = {"x_sentry_auth": auth(), "content_length": "65536"}
    crowd = [Held(client.app, "/api/42/envelope/", promise, address=f"192.0.2.{n % 250}") for n in range(CROWD)]
    await settled()
    assert client.steps.bodies.budget.held_bytes == 0
    honest = Held(client.app, "/api/42/envelope/", {"x_sentry_auth": auth()}, address="198.51.100.1")
    honest.give(ENVELOPE.ljust(49_000), more=False)
    assert (await honest.answer()).status == 200
    for one in crowd:
        one.leave()
    await asyncio.gather(*(one.task for one in crowd))
    assert client.steps.bodies.budget.held_bytes == 0


@pytest.mark.asyncio
async def test_half_a_body_holds_what_has_come() -> None:
    """Plain bytes as they are; compressed ones with what their decoder remembers."""
    client = Client()
    plain = Held(client.app, "/api/42/envelope/", {"x_sentry_auth": auth(), "content_length": "65536"})
    plain.give(b"x" * 1_000)
    await settled()
    assert client.steps.bodies.budget.held_bytes == 1_000
    packed = Held(client.app, "/api/42/envelope/", {"x_sentry_auth": auth(), "content_encoding": "deflate"})
    packer = zlib.compressobj()
    packed.give(packer.compress(bytes(900_000)) + packer.flush(zlib.Z_SYNC_FLUSH))
    await settled()
    assert client.steps.bodies.budget.held_bytes > 1_000 + WINDOW_BYTES["deflate"]
    for one in (plain, packed):
        one.leave()
        await one.task
    assert client.steps.bodies.budget.held_bytes == 0


@pytest.mark.parametrize("kind", ["key", "organisation", "address", "visitor"])
def test_no_holder_has_all_of_it(kind: Any) -> None:
    """Each kind of holder ends at its share; another holder's bytes still fit, and it may go on when it gave back."""
    budget = Budget(LIMIT)
    most = int(SHARES[kind] * LIMIT)
    assert most < LIMIT
    before = refused(kind)
    with budget.share((kind, "a")) as first, budget.share((kind, "a")) as second, budget.share((kind, "b")) as other:
        first.grow_to(most // 2)
        second.grow_to(most - most // 2)
        with pytest.raises(Refused) as error:
            second.grow_to(most - most // 2 + 1)
        assert (error.value.status, error.value.retry_after_s) == (503, 2)
        assert refused(kind) == before + 1
        other.grow_to(min(most, LIMIT - most))
    assert budget.held_bytes == 0
    with budget.share((kind, "a")) as again:
        again.grow_to(most)


def test_one_body_fits_however_small_the_share() -> None:
    """A budget that holds two bodies does not refuse each of them for its share."""
    with Budget(LIMIT, least_share_bytes=900).share(("key", "a"), ("address", "b")) as share:
        share.grow_to(900)


def test_a_refused_share_leaves_the_budget_whole() -> None:
    """What did not fit holds nothing afterwards."""
    budget = Budget(10)
    for _ in range(3):
        with pytest.raises(Refused), budget.share() as share:
            share.grow_to(11)
    with budget.share() as share:
        share.grow_to(10)


def test_bodies_of_one_address_are_counted() -> None:
    """Bodies that hold nothing are bounded by number, and one that ends makes room."""
    budget = Budget(LIMIT)
    with contextlib.ExitStack() as held:
        for _ in range(MAX_BODIES):
            held.enter_context(budget.share(("key", "a"), ("address", "b")))
        with pytest.raises(Refused), budget.share(("key", "a"), ("address", "b")):
            pass
        with budget.share(("key", "a"), ("address", "c")):
            pass
    for _ in range(MAX_BODIES + 1):
        with budget.share(("key", "a"), ("address", "b")):
            pass


@pytest.mark.parametrize("kind", sorted({*SHARES} - {"address"}))
def test_bodies_of_other_holders_are_not_counted(kind: Any) -> None:
    """A key or organisation has many senders: only its bytes are bounded."""
    budget = Budget(LIMIT, max_bodies=2)
    with contextlib.ExitStack() as held:
        for number in range(5):
            held.enter_context(budget.share((kind, "a"), ("address", str(number))))
        held.enter_context(budget.share(("address", "0")))
        with pytest.raises(Refused, match="this address sends 2 requests at once"), budget.share(("address", "0")):
            pass


def test_holders_that_are_gone_take_no_memory() -> None:
    """However many senders a receiver has had."""
    budget = Budget(LIMIT)
    tracemalloc.start()
    try:
        for number in range(5_000):
            with budget.share(("key", f"a{number}"), ("address", f"b{number}")):
                pass
        left_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left_bytes < 100_000


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("[2001:db8::1]", "2001:db8::2", True),
        ("unix", "", False),
        ("x" * 1000, "x" * 2000, True),
    ],
)
def test_addresses_that_are_one(one: str, other: str, are_one: bool) -> None:
    """Who has one address of an IPv6 /64 has all of them."""
    assert (network_of(one) == network_of(other)) is are_one


@pytest.mark.asyncio
async def test_a_full_budget_is_not_ready() -> None:
    """Readiness and a metric say that everybody is refused; a key that has its share says nothing of the others."""
    client = Client(in_flight_bytes=LIMIT)
    clock = Clock()
    budget = client.steps.bodies.budget = Budget(LIMIT, clock=clock)
    before = refused("all")
    holders = budget.share(("key", "x")), budget.share(("key", "y")), budget.share(("key", "z"))
    with holders[0] as first, holders[1] as second, holders[2] as third:
        most = int(SHARES["key"] * LIMIT)
        first.grow_to(most)
        with pytest.raises(Refused):
            first.grow_to(most + 1)
        assert (await _ready(client)).status == 200
        second.grow_to(most)
        third.grow_to(LIMIT - 2 * most)
        answer = await _posted(client, ENVELOPE)
        assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert refused("all") == before + 1
    ready = await _ready(client)
    assert (ready.status, ready.json["budget"]) == (503, False)
    clock.now_s += FULL_S
    assert (await _ready(client)).json["budget"] is True


async def _ready(client: Client) -> Any:
    return await Held(client.app, "/ready", method="GET").answer()


async def _posted(client: Client, body: bytes) -> Any:
    request = Held(client.app, "/api/42/envelope/", {"x_sentry_auth": auth()})
    request.give(body, more=False)
    return await request.answer()


@pytest.mark.asyncio
async def test_one_key_leaves_room_for_another() -> None:
    """Half-sent bodies of one public token from many addresses: another organisation's body still goes in."""
    client = Client(in_flight_bytes=200_000, max_body_bytes=50_000)
    client.registry.channels[44] = client.registry.channels[42].model_copy(update={"id": 44, "organisation": "other"})
    crowd = [
        Held(client.app, "/api/42/envelope/", {"x_sentry_auth": auth(PUBLIC)}, address=f"192.0.2.{n}")
        for n in range(20)
    ]
    for one in crowd:
        one.give(b"x" * 40_000)
    await settled()
    answers = [await one.answer() for one in crowd if one.is_answered]
    assert {one.status for one in answers} == {503}
    assert len(answers) == 20 - 100_000 // 40_000
    honest = Held(client.app, "/api/44/envelope/", {"x_sentry_auth": auth(FOREIGN)}, address="198.51.100.1")
    honest.give(ENVELOPE.ljust(50_000), more=False)
    assert (await honest.answer()).status == 200
    for one in crowd:
        one.leave()
    await asyncio.gather(*(one.task for one in crowd))


@pytest.mark.asyncio
async def test_one_visitor_leaves_room_for_another_with_the_same_public_token() -> None:
    """The token can be read by everybody; who fills its share from one address stops nobody at another."""
    client = Client(in_flight_bytes=400_000, max_body_bytes=25_000)
    crowd = [
        Held(client.app, "/api/42/envelope/", {"x_sentry_auth": auth(PUBLIC)}, address="192.0.2.1") for _ in range(20)
    ]
    for one in crowd:
        one.give(b"x" * 20_000)
    await settled()
    honest = Held(client.app, "/api/42/envelope/", {"x_sentry_auth": auth(PUBLIC)}, address="198.51.100.1")
    honest.give(ENVELOPE.ljust(25_000), more=False)
    assert (await honest.answer()).status == 200
    for one in crowd:
        one.leave()
    await asyncio.gather(*(one.task for one in crowd))


# --- tunnels: the key is in the body


def tunnel(dsn: str = SECRET) -> bytes:
    return b'{"dsn":"https://%s@host/42"}\n' % dsn.encode()


@pytest.mark.asyncio
async def test_a_tunnel_holds_nothing_of_the_budget_before_its_key() -> None:
    """What strangers send is held apart and bounded; the budget of known keys is untouched."""
    client = Client()
    steps = client.steps
    crowd = [Held(client.app, "/api/42/envelope/", address=f"192.0.2.{n % 250}") for n in range(300)]
    for one in crowd:
        one.give(b" " * 50_000)
    await settled()
    assert steps.bodies.budget.held_bytes == 0
    statuses = [(await one.answer()).status for one in crowd if one.is_answered]
    assert set(statuses) <= {401, 503}
    honest = Held(client.app, "/api/42/envelope/", {"x_sentry_auth": auth()}, address="198.51.100.1")
    honest.give(ENVELOPE, more=False)
    assert (await honest.answer()).status == 200
    for one in crowd:
        one.leave()
    await asyncio.gather(*(one.task for one in crowd))
    assert steps.bodies.unauthenticated.held_bytes == 0


@pytest.mark.asyncio
async def test_a_tunnel_is_let_in_by_its_first_line() -> None:
    """The key is known as soon as that line has come: a wrong one is refused while the rest is still on its way."""
    client = Client()
    wrong = Held(client.app, "/api/42/envelope/", {"content_length": "5000000"})
    wrong.give(tunnel("ak_" + "x" * 32))
    assert (await wrong.answer()).status == 401
    right = Held(client.app, "/api/42/envelope/", {"content_length": "5000000"})
    right.give(tunnel() + b"x" * 30_000)
    await settled()
    steps = client.steps
    assert (steps.bodies.unauthenticated.held_bytes, steps.bodies.budget.held_bytes) == (0, len(tunnel()) + 30_000)
    right.give(b"\n{}", more=False)
    assert (await right.answer()).status == 200
    wrong.leave()
    await asyncio.gather(wrong.task, right.task)
    assert client.publisher.published[0][1] == tunnel() + b"x" * 30_000 + b"\n{}"


@pytest.mark.parametrize("pieces", [1, 2, 7, 200])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.asyncio
async def test_a_tunnel_is_read_however_it_is_cut(pieces: int, coding: str) -> None:
    """Spread-out headers and compressed ones, in any number of packets, reach the broker as they came."""
    client = Client()
    body = (
        b'\n {"sent_at":"2026-01-01T00:00:00Z",\n"dsn":"https://%s@host/42"\n}\n{"type":"event"}\n{}' % SECRET.encode()
    )
    wire = gzip.compress(body) if coding == "gzip" else body
    request = Held(client.app, "/api/42/envelope/", {"content_encoding": coding})
    size = -(-len(wire) // pieces)
    for start in range(0, len(wire), size):
        request.give(wire[start : start + size])
    request.give(b"", more=False)
    assert (await request.answer()).status == 200
    await request.task
    assert client.publisher.published[0][1] == wire


@pytest.mark.asyncio
async def test_tunnels_that_never_say_whose_they_are() -> None:
    """Bounded in time, in number for one address, and in bytes; each end is said."""
    client = Client(body_deadline_s=0.2)
    crowd = [Held(client.app, "/api/42/envelope/") for _ in range(UNAUTHENTICATED_BODIES + 1)]
    last = await crowd[-1].answer()
    assert last.status == 503
    assert {(await one.answer()).status for one in crowd[:-1]} == {408}
    endless = Held(client.app, "/api/42/envelope/", {"content_encoding": "gzip"})
    empty_blocks = gzip.compress(b"", 0)[:10] + b"\x00\x00\x00\xff\xff" * 100_000
    endless.give(empty_blocks)
    assert (await endless.answer()).status == 401
    for one in (*crowd, endless):
        one.leave()
    await asyncio.gather(*(one.task for one in (*crowd, endless)))


def test_a_body_beside_the_budget_of_its_own_endpoint() -> None:
    """Every endpoint gives back what it held, also where the body is held twice."""
    client = Client()
    event = b'{"identifier":"a","payload":{},"channel_id":42}'
    for path, body, headers in (
        ("/event", gzip.compress(event), {"x_api_key": SECRET, "content_encoding": "gzip"}),
        ("/api/42/store/", gzip.compress(b'{"event_id":"%s"}' % (b"a" * 32)), {"content_encoding": "gzip"}),
        ("/v1/logs", b'{"resourceLogs":[]}', otlp()),
        ("/api/42/minidump/", b"MDMP" * 10_000, {}),
    ):
        given = headers if "x_api_key" in headers else {"x_sentry_auth": auth(), **headers}
        assert client.post(path, body, **given).status in (200, 201)
        assert client.steps.bodies.budget.held_bytes == 0
