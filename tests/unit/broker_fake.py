"""A broker in memory, at the seam of nats-py's client: what it stores, refuses and forgets, as the server does.

Only what our code asks for: publishing with expectations and atomic batches, reading by sequence and subject, buckets,
consumers that read or acknowledge, purging. The live tests say what the server does; this says what we do with it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import nats.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, PubAck, RawStreamMsg
from nats.js.errors import (
    APIError,
    BadRequestError,
    BucketNotFoundError,
    NoKeysError,
    NoStreamResponseError,
    NotFoundError,
)
from nats.js.kv import KeyValue

STARTED_AT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
FULL = 10077
INFO = "$JS.API.STREAM.INFO."
DIRECT_GET = "$JS.API.DIRECT.GET."


@dataclass
class StoredFake:
    """One message of a stream."""

    seq: int
    subject: str
    data: bytes
    headers: dict[str, str]
    time: dt.datetime


@dataclass
class StreamFake:
    """A stream: `per_subject` 1 makes it a bucket's; `max_messages` refuses what is beyond."""

    name: str
    subjects: tuple[str, ...]
    max_bytes: int = 1_000_000
    per_subject: int = 0
    max_messages: int = 0
    has_batches: bool = True
    # Whether any replica answers, or the leader alone.
    is_direct: bool = True
    messages: dict[int, StoredFake] = field(default_factory=dict)
    last_seq: int = 0
    ids: dict[str, int] = field(default_factory=dict)
    consumers: dict[str, SimpleNamespace] = field(default_factory=dict)

    def last_of(self, subject: str) -> int:
        """Sequence of the newest message on `subject`, 0 without one."""
        return max((seq for seq, one in self.messages.items() if one.subject == subject), default=0)

    @property
    def first_seq(self) -> int:
        return min(self.messages, default=self.last_seq + 1)

    @property
    def size_bytes(self) -> int:
        return sum(len(one.data) for one in self.messages.values())


class InboxFake:
    """A subscription to the answers of one request."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Any] = asyncio.Queue()

    async def next_msg(self, timeout: float = 0) -> Any:
        return await self.answers.get()

    async def unsubscribe(self) -> None:
        pass


def matches(pattern: str, subject: str) -> bool:
    """NATS wildcards."""
    wanted, given = pattern.split("."), subject.split(".")
    for place, token in enumerate(wanted):
        if token == ">":
            return len(given) > place
        if place >= len(given) or token not in ("*", given[place]):
            return False
    return len(wanted) == len(given)


class BrokerFake:
    """Client and JetStream in one. `journal` has every publish; `before` may change the broker before one is stored."""

    def __init__(self, *streams: StreamFake, max_payload: int = 1_000_000) -> None:
        self.streams = {one.name: one for one in streams}
        self.is_connected = True
        self.max_payload = max_payload
        self.now = STARTED_AT
        self.journal: list[tuple[str, dict[str, str]]] = []
        self.error: Exception | None = None
        self.before: Callable[[str], None] = lambda _subject: None
        self._inboxes: dict[str, InboxFake] = {}
        self._batches: dict[str, list[tuple[str, bytes, dict[str, str]]]] = {}

    def jetstream(self, **_: Any) -> Any:
        return self

    # --- publishing

    async def publish(  # noqa: PLR0917 (as nats-py declares it)
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float | None = None,
        stream: str | None = None,
        headers: dict[str, str] | None = None,
        msg_ttl: float | None = None,
    ) -> PubAck:
        # nats-py's client takes the inbox in the place where its JetStream takes the timeout.
        if subject.startswith(INFO):
            await self._answer_info(subject, str(timeout))
            return PubAck(stream="", seq=0)
        if subject.startswith(DIRECT_GET):
            self._answer_entries(subject.removeprefix(DIRECT_GET), json.loads(payload), str(timeout))
            return PubAck(stream="", seq=0)
        told = dict(headers or {})
        self.journal.append((subject, told))
        if self.error is not None:
            raise self.error
        self.before(subject)
        target = self._stream_of(subject, stream)
        batch = told.get("Nats-Batch-Id")
        if batch is None:
            return self.store(target, subject, payload, told)
        self._batches.setdefault(batch, []).append((subject, payload, told))
        if "Nats-Batch-Commit" not in told:
            return PubAck(stream=target.name, seq=0)
        return self._commit(target, self._batches.pop(batch))

    def _commit(self, target: StreamFake, batch: list[tuple[str, bytes, dict[str, str]]]) -> PubAck:
        if not target.has_batches:
            raise BadRequestError(code=400, err_code=10174, description="batch publish not enabled on stream")
        sequences = [told["Nats-Batch-Sequence"] for *_, told in batch]
        if sequences != [str(place) for place in range(1, len(batch) + 1)]:
            raise BadRequestError(code=400, err_code=10176, description="batch publish is incomplete and was abandoned")
        if any(told.get("Nats-Msg-Id") in target.ids for *_, told in batch):
            raise BadRequestError(code=400, err_code=10201, description="batch publish contains duplicate message id")
        if target.max_messages and len(target.messages) + len(batch) > target.max_messages:
            raise APIError(code=503, err_code=FULL, description="maximum messages exceeded")
        return [self.store(target, *one) for one in batch][-1]

    def store(self, target: StreamFake, subject: str, payload: bytes, told: dict[str, str]) -> PubAck:
        expected = told.get("Nats-Expected-Last-Subject-Sequence")
        if expected is not None and int(expected) != target.last_of(subject):
            raise BadRequestError(code=400, err_code=10071, description="wrong last sequence")
        known = target.ids.get(told.get("Nats-Msg-Id", ""))
        if known is not None:
            return PubAck(stream=target.name, seq=known, duplicate=True)
        if target.max_messages and len(target.messages) >= target.max_messages:
            raise APIError(code=503, err_code=FULL, description="maximum messages exceeded")
        target.last_seq += 1
        if target.per_subject:
            for seq in [seq for seq, one in target.messages.items() if one.subject == subject]:
                del target.messages[seq]
        target.messages[target.last_seq] = StoredFake(target.last_seq, subject, payload, told, self.now)
        if message_id := told.get("Nats-Msg-Id"):
            target.ids[message_id] = target.last_seq
        return PubAck(stream=target.name, seq=target.last_seq)

    def _stream_of(self, subject: str, expected: str | None) -> StreamFake:
        found = [one for one in self.streams.values() if any(matches(pattern, subject) for pattern in one.subjects)]
        if not found or (expected and found[0].name != expected):
            raise NoStreamResponseError
        return found[0]

    # --- reading

    def _stream(self, name: str) -> StreamFake:
        if name not in self.streams:
            raise NotFoundError(code=404, err_code=10059, description="stream not found")
        return self.streams[name]

    async def get_last_msg(self, stream_name: str, subject: str, direct: bool | None = False) -> RawStreamMsg:
        return await self.get_msg(stream_name, subject=subject, direct=bool(direct))

    async def get_msg(
        self,
        stream_name: str,
        seq: int | None = None,
        subject: str | None = None,
        direct: bool = False,
        next: bool = False,
    ) -> RawStreamMsg:
        if self.error is not None:
            raise self.error
        target = self._stream(stream_name)
        if direct and not target.is_direct:
            raise nats.errors.NoRespondersError
        wanted = [one for one in target.messages.values() if subject is None or matches(subject, one.subject)]
        if next:
            wanted = sorted((one for one in wanted if one.seq >= (seq or 1)), key=lambda one: one.seq)[:1]
        elif seq:
            wanted = [one for one in wanted if one.seq == seq]
        if not wanted:
            raise NotFoundError(code=404, err_code=10037, description="no message found")
        one = max(wanted, key=lambda one: one.seq)
        return RawStreamMsg(one.subject, one.seq, one.data, headers=one.headers or None, time=one.time)

    async def delete_msg(self, stream_name: str, seq: int) -> bool:
        if self._stream(stream_name).messages.pop(seq, None) is None:
            raise APIError(code=500, err_code=10057, description="no message found")
        return True

    async def purge_stream(self, name: str, seq: int | None = None, **_: Any) -> bool:
        target = self._stream(name)
        for one in [one for one in target.messages if seq is None or one < seq]:
            del target.messages[one]
        return True

    async def stream_info(self, name: str, subjects_filter: str | None = None) -> Any:
        target = self._stream(name)
        found = Counter(
            one.subject for one in target.messages.values() if subjects_filter and matches(subjects_filter, one.subject)
        )
        config = SimpleNamespace(max_bytes=target.max_bytes, allow_direct=True)
        state = SimpleNamespace(
            messages=len(target.messages), first_seq=target.first_seq, last_seq=target.last_seq, subjects=dict(found)
        )
        return SimpleNamespace(config=config, state=state)

    def new_inbox(self) -> str:
        return f"_INBOX.{len(self._inboxes)}"

    async def subscribe(self, inbox: str) -> InboxFake:
        self._inboxes[inbox] = InboxFake()
        return self._inboxes[inbox]

    async def _answer_info(self, subject: str, inbox: str) -> None:
        """Of a server whose client is in another account than its streams: the wrong answer comes too, and first."""
        disabled = {"code": 503, "err_code": 10039, "description": "JetStream not enabled for account"}
        answer = await self.request(subject)
        for data in (json.dumps({"error": disabled}).encode(), answer.data):
            self._inboxes[inbox].answers.put_nowait(SimpleNamespace(data=data))

    def _answer_entries(self, stream: str, asked: dict[str, Any], inbox: str) -> None:
        """Up to `batch` messages from `seq` on, then the status that ends them."""
        if self.error is not None:
            raise self.error
        found = sorted(
            (one for one in self._stream(stream).messages.values() if one.seq >= asked["seq"]), key=lambda one: one.seq
        )[: asked["batch"]]
        for one in found:
            told = one.headers | {"Nats-Subject": one.subject, "Nats-Sequence": str(one.seq)}
            self._inboxes[inbox].answers.put_nowait(SimpleNamespace(headers=told, data=one.data))
        status = "204" if found else "404"
        self._inboxes[inbox].answers.put_nowait(SimpleNamespace(headers={"Status": status}, data=b""))

    async def request(self, subject: str, payload: bytes = b"", timeout: float = 0) -> Any:
        """STREAM.INFO as our own questions ask for it."""
        name = subject.removeprefix(INFO)
        if name not in self.streams:
            error = {"code": 404, "err_code": 10059, "description": "stream not found"}
            return SimpleNamespace(data=json.dumps({"error": error}).encode())
        target = self.streams[name]
        first, last = (target.messages.get(seq) for seq in (target.first_seq, target.last_seq))
        state: dict[str, Any] = {
            "messages": len(target.messages),
            "bytes": target.size_bytes,
            "first_seq": target.first_seq,
            "last_seq": target.last_seq,
            "consumer_count": len(target.consumers),
            "first_ts": (first.time if first else STARTED_AT).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "last_ts": (last.time if last else STARTED_AT).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        config = {"name": name, "max_bytes": target.max_bytes, "allow_direct": target.is_direct}
        if json.loads(payload or b"{}").get("subjects_filter"):
            subjects = Counter(one.subject for one in target.messages.values())
            state |= {"subjects": dict(subjects), "num_subjects": len(subjects)}
        answer = {"created": "2026-01-01T00:00:00Z", "state": state, "config": config}
        return SimpleNamespace(data=json.dumps(answer).encode())

    # --- buckets

    async def key_value(self, bucket: str) -> KeyValue:
        if f"KV_{bucket}" not in self.streams:
            raise BucketNotFoundError
        return BucketFake(self, bucket)

    # --- consumers

    def add_durable(self, stream: str, name: str, *, acknowledged: int, pending: int = 0, policy: Any = None) -> None:
        """A durable that has settled everything up to `acknowledged`."""
        self._stream(stream).consumers[name] = SimpleNamespace(
            name=name,
            config=ConsumerConfig(durable_name=name, ack_policy=policy or AckPolicy.EXPLICIT),
            num_pending=pending,
            num_ack_pending=0,
            ack_floor=SimpleNamespace(stream_seq=acknowledged),
        )

    async def consumers_info(self, stream: str, offset: int = 0) -> list[Any]:
        return list(self._stream(stream).consumers.values())[offset:]

    async def consumer_info(self, stream: str, name: str) -> Any:
        if name not in self._stream(stream).consumers:
            raise NotFoundError(code=404, err_code=10014, description="consumer not found")
        return self._stream(stream).consumers[name]

    async def add_consumer(self, stream: str, config: ConsumerConfig) -> Any:
        target, name = self._stream(stream), f"reader{len(self.journal)}{len(self._stream(stream).consumers)}"
        first = config.opt_start_seq or 1
        if config.deliver_policy == DeliverPolicy.BY_START_TIME:
            since: Any = config.opt_start_time
            first = min((seq for seq, one in target.messages.items() if one.time >= since), default=target.last_seq + 1)
        wanted = sorted(seq for seq, one in target.messages.items() if seq >= first and _is_wanted(config, one.subject))
        made = SimpleNamespace(
            name=name,
            config=config,
            num_pending=len(wanted),
            num_ack_pending=0,
            delivered=SimpleNamespace(stream_seq=first - 1),
            ack_floor=None,
            wanted=wanted,
        )
        target.consumers[name] = made
        return made

    async def delete_consumer(self, stream: str, consumer: str) -> bool:
        self._stream(stream).consumers.pop(consumer, None)
        return True

    async def pull_subscribe_bind(self, consumer: str, stream: str) -> ReaderFake:
        target = self._stream(stream)
        return ReaderFake(target, target.consumers[consumer])


def _is_wanted(config: ConsumerConfig, subject: str) -> bool:
    return not config.filter_subjects or any(matches(pattern, subject) for pattern in config.filter_subjects)


class ReaderFake:
    """What a reader of a moment fetches, with the reply subjects that say where each message stands."""

    def __init__(self, stream: StreamFake, consumer: SimpleNamespace) -> None:
        self._stream = stream
        self._consumer = consumer
        self._delivered = 0

    async def fetch(self, batch: int, timeout: float = 0) -> list[Any]:
        wanted: Iterable[int] = self._consumer.wanted[self._delivered : self._delivered + batch]
        if not wanted:
            raise nats.errors.TimeoutError
        return [self._message(seq) for seq in wanted]

    def _message(self, seq: int) -> Any:
        one = self._stream.messages[seq]
        self._delivered += 1
        left = len(self._consumer.wanted) - self._delivered
        time_ns = int(one.time.timestamp() * 1e9)
        reply = f"$JS.ACK.{self._stream.name}.{self._consumer.name}.1.{seq}.{self._delivered}.{time_ns}.{left}"
        headers_only = self._consumer.config.headers_only
        headers = one.headers | ({"Nats-Msg-Size": str(len(one.data))} if headers_only else {})
        return SimpleNamespace(
            subject=one.subject, data=b"" if headers_only else one.data, headers=headers, reply=reply
        )

    async def unsubscribe(self) -> None:
        pass


class BucketFake(KeyValue):
    """nats-py's own bucket over the fake; its keys come without a watch."""

    def __init__(self, broker: BrokerFake, name: str) -> None:
        super().__init__(name, f"KV_{name}", f"$KV.{name}.", broker, direct=True)  # type: ignore[arg-type]
        self._broker = broker

    async def keys(self, **_: Any) -> list[str]:  # type: ignore[override]
        live = [
            one.subject.removeprefix(self._pre)
            for one in self._broker.streams[self._stream].messages.values()
            if "KV-Operation" not in one.headers
        ]
        if not live:
            raise NoKeysError
        return live


def bucket(name: str, **settings: Any) -> StreamFake:
    """The stream of a bucket."""
    return StreamFake(f"KV_{name}", (f"$KV.{name}.>",), per_subject=1, **settings)
