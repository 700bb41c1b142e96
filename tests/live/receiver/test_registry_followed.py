"""Receivers follow the registry: whatever changes, and whatever happens to the broker."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterator

import pytest
from nats.js import JetStreamContext

from ops.registry.changes import RegistryWriter
from ops.registry.key_options import KeyOptions
from ops.runtime.registry.registry_log import BATCH
from schemas.registry import key_hash
from tests.brokers import on_broker
from tests.polling import ANSWER_TIMEOUT_S, DEADLINE_S, eventually
from tests.receivers import CHANNEL, Receiver, Site
from tests.servers import Server

pytestmark = pytest.mark.live

# A change takes a second at a receiver; nothing but following the registry would ever bring it.
FOLLOWED_S = DEADLINE_S


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, nats_server_of_file: Server, clickhouse_server: Server
) -> Iterator[Site]:
    """A broker of this file's own, with two receivers."""
    made = Site(tmp_path_factory.mktemp("site"), nats_server_of_file, clickhouse_server)
    try:
        made.receiver()
        made.receiver()
        yield made
    finally:
        made.end()


def new_text() -> str:
    return f"ak_{uuid.uuid4().hex}"


def mint(site: Site, text: str, environment: str = "production") -> None:
    site.registry(lambda registry: registry.mint(KeyOptions(environment), text))


def revoke(site: Site, text: str) -> None:
    site.registry(lambda registry: registry.revoke(text))


def all_answer(site: Site, text: str, status: int) -> Callable[[], bool]:
    return lambda: all(receiver.send(text) == status for receiver in site.receivers)


def follows(site: Site) -> None:
    """A key that was tried before it existed works as soon as it does, and a revoked one no more, everywhere."""
    text = new_text()
    assert all_answer(site, text, 401)()
    mint(site, text)
    eventually(all_answer(site, text, 200), "the new key everywhere", FOLLOWED_S)
    revoke(site, text)
    eventually(all_answer(site, text, 401), "the revocation everywhere", FOLLOWED_S)


def on_jetstream(site: Site, work: Callable[[JetStreamContext], Awaitable[None]]) -> None:
    on_broker(site.broker.url, lambda client: work(client.jetstream(timeout=ANSWER_TIMEOUT_S)))


def test_every_change_reaches_every_receiver(site: Site) -> None:
    """Keys minted, revoked and deleted; channels made after somebody has asked for them."""
    follows(site)
    text = new_text()
    mint(site, text)
    eventually(all_answer(site, text, 200), "the key", FOLLOWED_S)

    async def delete(js: JetStreamContext) -> None:
        await (await js.key_value("registry")).delete(f"key.{key_hash(text)}")

    on_jetstream(site, delete)
    eventually(all_answer(site, text, 401), "a deleted key everywhere", FOLLOWED_S)
    channel_comes(site)


def channel_comes(site: Site) -> None:
    text = new_text()
    mint(site, text)
    path = f"/api/{CHANNEL + 1}/envelope/?sentry_key={text}"

    def answers(status: int) -> bool:
        return all(receiver.get(path, b"{}\n" + uuid.uuid4().hex.encode()) == status for receiver in site.receivers)

    eventually(lambda: answers(404), "no such channel", FOLLOWED_S)
    site.registry(lambda registry: registry.create_channel(CHANNEL + 1))
    eventually(lambda: answers(200), "the new channel everywhere", FOLLOWED_S)


def test_receivers_make_no_consumers(site: Site) -> None:
    """Whoever may make one may have the registry delivered anywhere; following it needs none."""
    follows(site)
    found: list[str] = []

    async def consumers(js: JetStreamContext) -> None:
        found.extend(str(info.name) for info in await js.consumers_info("KV_registry"))

    on_jetstream(site, consumers)
    assert found == []


def test_many_changes_at_once_are_all_followed(site: Site) -> None:
    """More than one reading of the bucket brings; a receiver that starts after them knows them too."""
    texts = [new_text() for _ in range(BATCH + 20)]

    async def mint_all(registry: RegistryWriter) -> None:
        for text in texts:
            await registry.mint(KeyOptions("production"), text)

    site.registry(mint_all)
    late = site.receiver()
    for receiver in site.receivers:
        eventually(lambda receiver=receiver: receiver.send(texts[-1]) == 200, "the last key", FOLLOWED_S)
    lookups = late.metric("axonpush_receiver_registry_lookups_total")
    assert [late.send(text) for text in (texts[0], texts[BATCH - 1], texts[BATCH])] == [200] * 3
    assert late.metric("axonpush_receiver_registry_lookups_total") == lookups
    revoke(site, texts[0])
    eventually(all_answer(site, texts[0], 401), "the revocation everywhere", FOLLOWED_S)
    site.receivers.remove(late)
    late.end()


def test_receivers_follow_a_restarted_broker(site: Site) -> None:
    """While it is away known keys get 503 and nobody gets 401; back from kill -9, changes arrive as before."""
    text = new_text()
    mint(site, text)
    eventually(all_answer(site, text, 200), "the key", FOLLOWED_S)
    site.broker.kill()
    eventually(lambda: all(receiver.get("/ready") == 503 for receiver in site.receivers), "everybody to notice")
    assert all_answer(site, text, 503)()
    assert all_answer(site, new_text(), 503)()
    site.broker.start()
    eventually(lambda: all(receiver.get("/ready") == 200 for receiver in site.receivers), "everybody to be back")
    revoke(site, text)
    eventually(all_answer(site, text, 401), "the revocation", FOLLOWED_S)
    follows(site)


def test_a_flood_of_made_up_keys_stops_nobody(site: Site) -> None:
    """Each is refused, none is looked up twice, and a good key is served meanwhile."""
    text = new_text()
    mint(site, text)
    receiver: Receiver = site.receivers[0]
    eventually(lambda: receiver.send(text) == 200, "the key", FOLLOWED_S)
    made_up = [new_text() for _ in range(100)]
    lookups = "axonpush_receiver_registry_lookups_total"
    before = receiver.metric(lookups)
    for _ in range(2):
        assert {receiver.send(one) for one in made_up} == {401}
        assert receiver.send(text) == 200
    assert receiver.metric(lookups) - before == len(made_up)
