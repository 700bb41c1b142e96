"""What each user of ops/deploy/nats/accounts.conf may do, found by trying everything on a server with that file.

The tables here are what is allowed. Whatever else is tried has to be refused: every command of JetStream on every
stream and bucket, every subject of ours and of the server, publishing and subscribing.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from console.alerts.bucket import Bucket
from console.api.errors import ApiError
from console.storage.alerts_link import BrokerAlertsLink
from ops.local import nats_server
from ops.operator_requests.serve import ANSWER_SUBJECTS
from ops.provisioning.migrate import migrate_broker
from ops.provisioning.streams import MIB, Budgets, consumers, streams
from ops.runtime.artifacts.object_store import ObjectStore
from ops.runtime.nats_options import Role
from ops.runtime.registry.registry_log import RegistryLog
from ops.runtime.settings import Settings
from ops.runtime.stream_config import stream_config
from schemas.registry import Key
from schemas.subjects import ALERT_SECRETS_BUCKET, ALERTS_ASK, OPERATOR_REQUESTS
from tests.cluster import PASSWORDS
from tests.polling import ANSWER_TIMEOUT_S, eventually
from tests.servers import HOST, ROOT, environment, free_port

pytestmark = pytest.mark.live

T = TypeVar("T")
BUDGETS = Budgets(
    **{f"{name}_max_bytes": 16 * MIB for name in ("raw", "items", "dead", "replay")}, idempotency_max_bytes=MIB
)
SECRET_BODY = b'{"told":"in confidence"}'
STREAMS = tuple(str(one.name) for one in streams(BUDGETS, 1))
DURABLES = {stream: str(made[0].durable_name) for stream, made in consumers().items()}

# Every command of the server's JetStream API, {s} for a stream and {c} for a consumer.
OF_A_STREAM = (
    *(
        f"$JS.API.STREAM.{verb}.{{s}}"
        for verb in ("CREATE", "UPDATE", "INFO", "DELETE", "PURGE", "SNAPSHOT", "RESTORE")
    ),
    *(f"$JS.API.STREAM.{verb}.{{s}}" for verb in ("MSG.GET", "MSG.DELETE", "PEER.REMOVE", "LEADER.STEPDOWN")),
    *("$JS.API.DIRECT.GET.{s}", "$JS.API.DIRECT.GET.{s}.raw.event.5", "$JS.API.DIRECT.GET.{s}.$KV.registry.key.0"),
    *("$JS.API.CONSUMER.CREATE.{s}", "$JS.API.CONSUMER.CREATE.{s}.{c}", "$JS.API.CONSUMER.CREATE.{s}.{c}.raw.event.5"),
    *("$JS.API.CONSUMER.DURABLE.CREATE.{s}.{c}", "$JS.API.CONSUMER.LIST.{s}", "$JS.API.CONSUMER.NAMES.{s}"),
    *(
        f"$JS.API.CONSUMER.{verb}.{{s}}.{{c}}"
        for verb in ("INFO", "DELETE", "PAUSE", "UNPIN", "RESET", "LEADER.STEPDOWN")
    ),
    *("$JS.API.CONSUMER.MSG.NEXT.{s}.{c}", "$JS.ACK.{s}.{c}.1.1.1.1.0", "$JS.FC.{s}.{c}.1", "$JS.SNAPSHOT.ACK.{s}.1"),
)
OF_THE_ACCOUNT = (
    *("$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.STREAM.CREATE.NEW"),
    *("$JS.API.META.LEADER.STEPDOWN", "$JS.API.SERVER.REMOVE", "$JS.API.ACCOUNT.PURGE.AXONPUSH"),
    *("$JS.API.ACCOUNT.STREAM.MOVE.AXONPUSH.RAW", "$JS.EVENT.ADVISORY.API", "$SRV.PING", "$SYS.REQ.SERVER.PING"),
    *("$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.ACCOUNT.AXONPUSH.CONNECT"),
)
OF_OURS = (
    *("raw.event.5", "item.event.5", "dead.event.event.5", "refused.event.event.5", "replay.raw.event.5"),
    *("quota.use", "quota.rows", "quota.ask", "quota.other", "other.subject"),
    *("_INBOX.receiver.a.1", "_INBOX.worker.a.1", "_INBOX.operator.a.1", "_INBOX.other", "_R_.a.b", "$G"),
    *(f"$KV.{stream.removeprefix('KV_')}.key.0" for stream in STREAMS if stream.startswith("KV_")),
    *("$O.artifacts.C.nuid", "$O.artifacts.M.bmFtZQ==", "$KV.control.late_maps.acme.0"),
    *("$JS.API.DIRECT.GET.OBJ_artifacts.$O.artifacts.M.bmFtZQ==", "$JS.API.DIRECT.GET.OBJ_artifacts.$O.artifacts.C.n"),
    "$JS.API.DIRECT.GET.KV_control.$KV.control.late_maps.acme.0",
    *("$KV.control.console.session_key", "$JS.API.DIRECT.GET.KV_control.$KV.control.console.session_key"),
    *("$KV.alert_secrets.a.url", "$JS.API.DIRECT.GET.KV_alert_secrets.$KV.alert_secrets.a.url", "alerts.ask"),
    "_INBOX.console.a.1",
    *("operator.requests", "operator.other"),
)
READING_ARTIFACTS = (*("$JS.API.DIRECT.GET.OBJ_artifacts", "$JS.API.DIRECT.GET.OBJ_artifacts.$O.artifacts.M.bmFtZQ=="),)
EVERYTHING = (
    *(one.format(s=stream, c=DURABLES.get(stream, "any")) for stream in (*STREAMS, "OTHER") for one in OF_A_STREAM),
    *OF_THE_ACCOUNT,
    *OF_OURS,
)
MAY_PUBLISH: dict[Role, set[str]] = {
    "receiver": {
        *("raw.event.5", "quota.use"),
        *("$JS.API.STREAM.INFO.KV_registry", "$JS.API.DIRECT.GET.KV_registry"),
        *(f"$JS.API.DIRECT.GET.KV_registry.{name}" for name in ("raw.event.5", "$KV.registry.key.0")),
        *(f"$KV.{bucket}.key.0" for bucket in ("idempotency", "idempotency_public")),
        *(f"$JS.API.STREAM.INFO.KV_{bucket}" for bucket in ("idempotency", "idempotency_public")),
        *(
            f"$JS.API.DIRECT.GET.KV_{bucket}.{name}"
            for bucket in ("idempotency", "idempotency_public")
            for name in ("raw.event.5", "$KV.registry.key.0")
        ),
    },
    "worker": {
        *("item.event.5", "dead.event.event.5", "refused.event.event.5", "replay.raw.event.5", "_INBOX.receiver.a.1"),
        "quota.rows",
        *(f"$JS.API.CONSUMER.INFO.{stream}.{name}" for stream, name in DURABLES.items()),
        *(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}" for stream, name in DURABLES.items()),
        *(f"$JS.ACK.{stream}.{name}.1.1.1.1.0" for stream, name in DURABLES.items()),
        *READING_ARTIFACTS,
    },
    "console": {
        *("$JS.API.STREAM.INFO.KV_registry", "$JS.API.DIRECT.GET.KV_registry"),
        *(f"$JS.API.DIRECT.GET.KV_registry.{name}" for name in ("raw.event.5", "$KV.registry.key.0")),
        *("$O.artifacts.C.nuid", "$O.artifacts.M.bmFtZQ==", "$KV.control.late_maps.acme.0", *READING_ARTIFACTS),
        *("$JS.API.STREAM.INFO.OBJ_artifacts", "$JS.API.STREAM.PURGE.OBJ_artifacts"),
        "$JS.API.DIRECT.GET.KV_control.$KV.control.late_maps.acme.0",
        *("$KV.control.console.session_key", "$JS.API.DIRECT.GET.KV_control.$KV.control.console.session_key"),
        *("$KV.alert_secrets.a.url", "$KV.alert_secrets.key.0", "alerts.ask"),
        "operator.requests",
    },
    "alerts": {
        *("$JS.API.STREAM.INFO.KV_registry", "$JS.API.DIRECT.GET.KV_registry"),
        *(f"$JS.API.DIRECT.GET.KV_registry.{name}" for name in ("raw.event.5", "$KV.registry.key.0")),
        *("$KV.alerts.key.0", "$KV.alert_secrets.key.0", "$KV.alert_secrets.a.url"),
        *(f"$JS.API.STREAM.INFO.KV_{bucket}" for bucket in ("alerts", "alert_secrets")),
        *(
            f"$JS.API.DIRECT.GET.KV_{bucket}.{name}"
            for bucket in ("alerts", "alert_secrets")
            for name in ("raw.event.5", "$KV.registry.key.0")
        ),
        "$JS.API.DIRECT.GET.KV_alert_secrets.$KV.alert_secrets.a.url",
        *(f"$JS.API.STREAM.INFO.{stream}" for stream in ("RAW", "ITEMS")),
        *(f"$JS.API.CONSUMER.INFO.{stream}.{DURABLES[stream]}" for stream in ("RAW", "ITEMS")),
        *("_INBOX.console.a.1", "_R_.a.b"),
    },
}
LISTENABLE = (
    *(">", "*", "*.>", "raw.>", "raw.event.5", "item.>", "dead.>", "refused.>", "replay.>", "other.subject"),
    *("operator.>", "operator.requests"),
    *("quota.>", "quota.use", "quota.rows", "quota.ask"),
    *("_INBOX.>", "_INBOX.*", "_INBOX.*.>", "_INBOX.receiver.>", "_INBOX.worker.>", "_INBOX.operator.>", "_R_.>"),
    *("_INBOX.console.>", "_INBOX.alerts.>", "alerts.ask", "alerts.>", "$KV.alerts.>"),
    *("$KV.>", "$KV.registry.>", "$KV.control.>", "$KV.idempotency.>", "$KV.idempotency_public.>"),
    *("$JS.>", "$JS.API.>", "$JS.ACK.>", "$JS.FC.>", "$JS.EVENT.>", "$SYS.>", "$SRV.>", "_INBOX.receiver.a.1"),
)
MAY_LISTEN: dict[Role, set[str]] = {
    "receiver": {"_INBOX.receiver.>", "_INBOX.receiver.a.1", "quota.use", "quota.rows", "quota.ask"},
    "worker": {"_INBOX.worker.>", "quota.ask"},
    "console": {"_INBOX.console.>"},
    "alerts": {"_INBOX.alerts.>", "alerts.ask"},
}


class Place:
    """One server with ops/deploy/nats/accounts.conf, migrated, with one body in RAW and one key in the registry."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        shutil.copy(ROOT / "ops" / "deploy" / "nats" / "accounts.conf", folder)
        config = folder / "nats.conf"
        config.write_text(
            f'listen: "{HOST}:{self.port}"\nmax_payload: 8MB\njetstream {{ store_dir: "{folder}/js" }}\n'
            "include accounts.conf\n"
        )
        told = {f"AXONPUSH_NATS_{role.upper()}_PASSWORD": json.dumps(text) for role, text in PASSWORDS.items()}
        self.log = (folder / "nats.log").open("wb")
        self.process = subprocess.Popen(
            nats_server.command(config), env=environment(**told), stdout=self.log, stderr=self.log
        )

    def connect(self, role: Role, refused: list[str] | None = None) -> Awaitable[Client]:
        async def on_error(error: Exception) -> None:
            if refused is not None:
                refused.append(str(error))

        return nats.connect(
            f"nats://{HOST}:{self.port}",
            user=role,
            password=PASSWORDS[role],
            inbox_prefix=f"_INBOX.{role}",
            error_cb=on_error,
        )

    def on(self, role: Role, work: Callable[[Client], Awaitable[T]]) -> T:
        async def run() -> T:
            client = await self.connect(role)
            try:
                return await work(client)
            finally:
                await client.close()

        return asyncio.run(run())

    def accepts(self) -> bool:
        """Whether it takes connections. Raises OSError."""
        with socket.create_connection((HOST, self.port), 1):
            return True

    def fill(self) -> None:
        """As little as there must be for something to be read."""
        settings = Settings(
            nats_url=f"nats://{HOST}:{self.port}", nats_user="operator", nats_password=PASSWORDS["operator"]
        )
        asyncio.run(migrate_broker(settings, BUDGETS, dry_run=False))

        async def work(client: Client) -> None:
            js = client.jetstream(timeout=ANSWER_TIMEOUT_S)
            for subject in ("raw.event.5", "item.event.5", "dead.event.event.5", "replay.raw.event.5"):
                for _ in range(3):
                    await js.publish(subject, SECRET_BODY)
            await (await js.key_value("registry")).put("channel.5", b'{"id":5,"organisation":"default"}')

        self.on("operator", work)

    def contents(self) -> dict[str, dict[str, int]]:
        """Messages by subject, of every stream; a stream that is gone is missing."""

        async def work(client: Client) -> dict[str, dict[str, int]]:
            js = client.jetstream(timeout=ANSWER_TIMEOUT_S)
            names = [str(one.config.name) for one in await js.streams_info()]
            return {name: (await js.stream_info(name, subjects_filter=">")).state.subjects or {} for name in names}

        return self.on("operator", work)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.log.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A server for each test: some of them try to break it."""
    found = Place(tmp_path)
    try:
        eventually(found.accepts, "the broker")
        found.fill()
        yield found
    finally:
        found.end()


def refused(place: Place, role: Role, work: Callable[[Client], Awaitable[None]]) -> set[str]:
    """The subjects that the server refused a user, in lower case as the client library tells them."""
    errors: list[str] = []

    async def run() -> None:
        client = await place.connect(role, errors)
        try:
            await work(client)
            await client.flush()  # the library sends its ping before what is waiting to be sent ...
            await client.flush()  # ... and the server answers in order: all refusals come before this one's answer
        finally:
            await client.close()

    asyncio.run(run())
    return {error.partition('"')[2].partition('"')[0] for error in errors if "permissions violation" in error}


@pytest.mark.parametrize("role", MAY_PUBLISH)
def test_every_command_and_subject_that_is_not_allowed_is_refused(place: Place, role: Role) -> None:
    """Each is tried; what was not refused is exactly the table."""

    async def work(client: Client) -> None:
        for subject in EVERYTHING:
            await client.publish(subject, b"")

    no = refused(place, role, work)
    assert {subject for subject in EVERYTHING if subject.lower() not in no} == MAY_PUBLISH[role]


@pytest.mark.parametrize("role", MAY_LISTEN)
def test_every_subject_that_is_not_allowed_cannot_be_listened_to(place: Place, role: Role) -> None:
    """Bodies, items, buckets, commands, other users' replies; alone and in a queue group."""
    for queue in ("", "a"):

        async def work(client: Client, queue: str = queue) -> None:
            for subject in LISTENABLE:
                await client.subscribe(subject, queue=queue)

        no = refused(place, role, work)
        assert {subject for subject in LISTENABLE if subject.lower() not in no} == MAY_LISTEN[role], queue


def test_a_receiver_is_told_no_body(place: Place) -> None:
    """Whatever it asks, in every form of a question: no answer holds what others sent."""
    questions = (
        b"",
        b'{"seq":1}',
        b'{"last_by_subj":"raw.event.5"}',
        b'{"next_by_subj":"raw.event.5","seq":1}',
        b'{"seq":1,"batch":10,"next_by_subj":">"}',
        b'{"multi_last":[">"]}',
        b'{"stream_name":"RAW","config":{"deliver_subject":"_INBOX.receiver.spy","deliver_policy":"all"}}',
        b"1",
    )
    heard: list[bytes] = []

    async def work(client: Client) -> None:
        async def on_message(message: Msg) -> None:
            heard.append(message.data)

        await client.subscribe("_INBOX.receiver.>", cb=on_message)
        await client.subscribe("quota.use", cb=on_message)
        for subject in EVERYTHING:
            for question in questions:
                await client.publish(subject, question, reply="_INBOX.receiver.spy")
        for _ in range(3):
            await client.flush()

    refused(place, "receiver", work)
    assert len(heard) > len(questions), "something was answered"
    for told in (SECRET_BODY, base64.b64encode(SECRET_BODY)):
        assert not [one for one in heard if told in one]


def test_a_console_asks_the_janitor_across_accounts(place: Place) -> None:
    """The answer arrives; the janitor sees a subject of the broker's in the place of the inbox, and takes no other."""
    heard: list[str] = []

    async def run() -> bytes:
        operator, console = await place.connect("operator"), await place.connect("console")
        try:

            async def answer(message: Msg) -> None:
                heard.append(message.reply)
                await message.respond(b"done")

            await operator.subscribe(OPERATOR_REQUESTS, queue="operators", cb=answer)
            await operator.flush()
            target = "$KV.registry.key.forged"
            await console.publish(OPERATOR_REQUESTS, b"{}", reply=target)
            return (await console.request(OPERATOR_REQUESTS, b"{}", timeout=ANSWER_TIMEOUT_S)).data
        finally:
            await operator.close()
            await console.close()

    before = place.contents()
    assert asyncio.run(run()) == b"done"
    assert len(heard) == 2
    assert all(reply.startswith(ANSWER_SUBJECTS) for reply in heard)
    assert place.contents() == before


def test_an_answer_cannot_be_sent_where_its_asker_may_not_write(place: Place) -> None:
    """A server answers on the subject that the asker names. A forged key, a command, an item must not come of that."""
    forged = Key(sha256="0" * 64, organisation="default", environment="production", kind="secret")
    targets = [subject for subject in EVERYTHING if subject not in MAY_PUBLISH["receiver"]]
    contents = (forged.model_dump_json().encode(), b"{}", b"")
    before = place.contents()

    async def work(client: Client) -> None:
        for content in contents:
            await client.publish("$KV.idempotency.evil", content)
            await client.flush()
            for target in targets:
                await client.publish("$JS.API.DIRECT.GET.KV_idempotency.$KV.idempotency.evil", b"", reply=target)
        for target in targets:
            await client.publish("$KV.idempotency.evil", b"{}", reply=target)
            await client.publish("$JS.API.STREAM.INFO.KV_idempotency", b"", reply=target)
            await client.publish("$JS.API.DIRECT.GET.KV_registry", b'{"seq":1}', reply=target)

    refused(place, "receiver", work)
    after = place.contents()
    assert after.pop("KV_idempotency") == {"$KV.idempotency.evil": 1}
    before.pop("KV_idempotency")
    assert after == before


def test_a_worker_makes_no_key_and_gives_no_command_by_an_answer(place: Place) -> None:
    """What it reads it may have delivered anywhere; messages keep their subjects: no bucket takes one for its own."""
    targets = [subject for subject in EVERYTHING if subject not in MAY_PUBLISH["worker"]]
    before = place.contents()

    async def work(client: Client) -> None:
        for target in targets:
            for stream, durable in DURABLES.items():
                await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}", b'{"batch":1}', reply=target)

    refused(place, "worker", work)
    after = place.contents()
    assert after.keys() == before.keys(), "no stream was deleted or made"
    for name, subjects in before.items():
        assert {subject for subject in after[name] if subject.startswith("$KV.")} == {
            subject for subject in subjects if subject.startswith("$KV.")
        }
        assert sum(after[name].values()) >= sum(subjects.values()), f"{name} was purged"

    async def entries(client: Client) -> list[str]:
        return [one.name for one in await RegistryLog(client, 5.0).read_all()]

    assert place.on("operator", entries) == ["cluster.desired", "channel.5"]


def test_a_receiver_reads_the_registry_from_an_account_of_its_own(place: Place) -> None:
    """Its own account answers, too, that it has no JetStream: that answer counts for nothing, even if it is first."""

    async def read(client: Client) -> tuple[list[str], bool]:
        names = [one.name for one in await RegistryLog(client, 5.0).read_all()]
        return names, bool((await stream_config(client, "KV_idempotency", 5.0)).allow_direct)

    for _ in range(5):
        assert place.on("receiver", read) == (["cluster.desired", "channel.5"], True)


def test_a_console_reads_the_registry_and_nothing_else(place: Place) -> None:
    """From an account of its own too; other buckets do not answer it."""

    async def read(client: Client) -> list[str]:
        return [one.name for one in await RegistryLog(client, 5.0).read_all()]

    assert place.on("console", read) == ["cluster.desired", "channel.5"]


@pytest.mark.parametrize(
    "told",
    [{"Nats-Rollup": "all"}, {"Nats-Rollup": "sub"}, {"Nats-Schedule": "@every 1s"}, {"Nats-Incr": "+1"}],
    ids=str,
)
def test_no_header_turns_a_message_into_a_command(place: Place, told: dict[str, str]) -> None:
    """What a user may write, it may not use to remove what is there."""
    before = place.contents()
    tries: list[tuple[Role, str]] = [
        *(("receiver", subject) for subject in ("raw.event.5", "$KV.idempotency.a", "$KV.idempotency_public.a")),
        *(("worker", subject) for subject in ("item.event.5", "dead.event.event.5", "replay.raw.event.5")),
        ("console", "$KV.alert_secrets.a.url"),
    ]
    for role, subject in tries:

        async def work(client: Client, subject: str = subject) -> bytes:
            try:
                return (await client.request(subject, b"x", headers=dict(told), timeout=ANSWER_TIMEOUT_S)).data
            except NatsError as error:
                return repr(error).encode()

        assert b'"error"' in place.on(role, work), (role, subject)
    assert place.contents() == before


async def asked_until_it_is_heard(link: BrokerAlertsLink) -> dict[str, object]:
    """The other account hears of a subscription a little later."""
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        while True:
            with contextlib.suppress(ApiError):
                return await link.ask({"do": "test"})
            await asyncio.sleep(0.05)


def test_a_console_stores_secrets_of_alerts_which_only_alerts_reads(place: Place) -> None:
    """Written and removed over the border of accounts; a question to the process that evaluates is answered."""

    async def store(client: Client) -> None:
        link = BrokerAlertsLink(client)
        await link.store({"a.url": "https://hooks.test/secret", "b.url": "gone"})
        await link.remove(["b.url"])

    async def read(client: Client) -> list[bytes]:
        bucket = Bucket(client, ALERT_SECRETS_BUCKET)
        return [(await bucket.get(name))[0] for name in ("a.url", "b.url", "c.url")]

    async def answered() -> dict[str, object]:
        alerts, console = await place.connect("alerts"), await place.connect("console")

        async def on_request(message: Msg) -> None:
            await message.respond(b'{"results":[]}')

        await alerts.subscribe(ALERTS_ASK, cb=on_request)
        await alerts.flush()
        try:
            return await asked_until_it_is_heard(BrokerAlertsLink(console))
        finally:
            await alerts.close()
            await console.close()

    place.on("console", store)
    assert place.on("alerts", read) == [b"https://hooks.test/secret", b"", b""]
    assert asyncio.run(answered()) == {"results": []}


def test_a_console_uploads_from_its_own_account_and_a_worker_reads_it(place: Place) -> None:
    """Put, replace, list, delete over the border of accounts; a worker's direct requests read it."""

    async def upload(client: Client) -> None:
        store = ObjectStore(client, "artifacts")
        await store.put("chunk/acme/a", b"old")
        await store.put("chunk/acme/a", b"x" * 3_000_000)
        await store.put("chunk/acme/b", b"gone")
        assert await store.delete("chunk/acme/b")
        assert (await store.used_bytes())[0] > 3_000_000

    async def read(client: Client) -> tuple[bytes | None, list[str]]:
        store = ObjectStore(client, "artifacts")
        return await store.get("chunk/acme/a"), [one.name for one in await store.objects() if not one.is_deleted]

    place.on("console", upload)
    assert place.on("worker", read) == (b"x" * 3_000_000, ["chunk/acme/a"])
    assert place.on("console", read) == (b"x" * 3_000_000, ["chunk/acme/a"])
