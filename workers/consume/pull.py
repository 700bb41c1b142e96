"""The pull loop: a FastStream subscriber that passes messages on at once and fetches none ahead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, NamedTuple, cast

import orjson
import structlog
from faststream import AckPolicy
from faststream.message import StreamMessage
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.subscriber.usecases import BatchPullStreamSubscriber
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from ops.runtime.failures import broker_failure
from schemas.subjects import Source
from workers import metrics

log = structlog.get_logger()

# A pull request that found nothing ends after this; a lost one is noticed then at the latest.
EXPIRES_S: Final = 30.0
# The requests that wait at a broker are lost when it stops, and the other brokers do not know them. After two missing
# heartbeats the request is sent again.
HEARTBEAT_S: Final = 3.0
# How often a waiting fetch checks for a new connection, and a worker checks for its missing durable.
CHECK_S: Final = 1.0
_NO_ANSWER: Final = "no answer: "
_REPORT_EVERY_ATTEMPTS: Final = 60
TOP_UP_TIMEOUT_S: Final = 2.0
GIVEN_BACK_DELAY_S: Final = 1.0
# Above this many bytes nats-py drops messages. Requests ask for `max_bytes` at a time, so it is never reached.
_PENDING_BYTES: Final = 512_000_000
_HEARTBEAT: Final = "100"
_NOTHING_THERE: Final = frozenset({"404", "408"})
_TOO_LARGE_FOR_REST: Final = "Message Size Exceeds MaxBytes"

Handle = Callable[[list[Msg]], Awaitable[None]]
Bound = Callable[[float], None]
# Returns when messages may be fetched.
MayFetch = Callable[[], Awaitable[None]]


class FetchSize(NamedTuple):
    """How much is taken from the broker at once."""

    messages: int
    size_bytes: int


class Unbound(Exception):
    """The server does not know the durable, or not any more."""


class Fetcher:
    """Pull requests on one durable: waits for a first message, then takes the others that are there.

    Nothing is requested while the caller is busy. A message in a client's buffer has no owner that sends heartbeats, so
    under back-pressure it would be redelivered until it is taken for a poison message.
    """

    def __init__(self, client: Client, source: Source, size: FetchSize) -> None:
        self._client = client
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{source.stream}.{source.durable}"
        self._messages, self._size_bytes = size
        self._inbox = client.new_inbox()
        self._requests = 0
        self._alive_s = 0.0
        self._ended: tuple[str, str] | None = None
        self._arrived: list[Msg] = []
        self._changed = asyncio.Event()
        self._topping_up = asyncio.Lock()
        self._closing = False
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        self._subscription = await self._client.subscribe(
            f"{self._inbox}.*", cb=self._receive, pending_bytes_limit=_PENDING_BYTES
        )

    async def unsubscribe(self) -> None:
        """Ends the subscription; messages that were sent already can be taken afterwards. FastStream chose the name.

        Without the wait, messages on their way would be dropped and redelivered only after ack_wait.
        """
        self._closing = True
        self._changed.set()
        async with self._topping_up:
            if self._subscription is not None:
                with contextlib.suppress(NatsError, OSError):
                    await self._subscription.drain()  # type: ignore[no-untyped-call]
                self._subscription = None

    async def fetch(self) -> list[Msg]:
        """At least one message and at most a batch, or none after EXPIRES_S. Raises Unbound, NatsError."""
        if not self._arrived:
            await self._wait_for_first()
        if self._arrived and len(self._arrived) < self._messages and not self._closing:
            async with self._topping_up:
                await self._top_up()
        if self._ended and self._ended[0] not in _NOTHING_THERE and self._ended[1] != _TOO_LARGE_FOR_REST:
            status, reason = self._ended
            self._ended = None
            if not self._arrived:
                raise Unbound(f"{status} {reason}".strip())
        return self.take()

    def take(self) -> list[Msg]:
        """The messages that have arrived and were not taken yet."""
        arrived, self._arrived = self._arrived, []
        return arrived

    def put_back(self, messages: list[Msg]) -> None:
        """The reverse of `take`, for a caller that is stopping."""
        self._arrived = messages + self._arrived

    async def _wait_for_first(self) -> None:
        reconnects = self._client.stats["reconnects"]
        clock = asyncio.get_running_loop().time
        self._alive_s = clock()
        await self._request(batch=1, expires=int(EXPIRES_S * 1e9), idle_heartbeat=int(HEARTBEAT_S * 1e9))
        while clock() - self._alive_s < 2 * HEARTBEAT_S + CHECK_S:
            await self._wait(CHECK_S)
            if self._arrived or self._ended or self._closing or self._client.stats["reconnects"] != reconnects:
                return
            self._changed.clear()  # else the next wait would return at once, and no other task could run

    async def _top_up(self) -> None:
        await self._request(batch=self._messages - len(self._arrived), no_wait=True, max_bytes=self._size_bytes)
        # However the wait ends, the messages that came are used.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TOP_UP_TIMEOUT_S):
                while not self._ended and len(self._arrived) < self._messages:
                    self._changed.clear()
                    await self._changed.wait()

    async def _request(self, **wanted: object) -> None:
        self._requests += 1
        self._ended = None
        self._changed.clear()
        await self._client.publish(self._subject, orjson.dumps(wanted), reply=f"{self._inbox}.{self._requests}")

    async def _wait(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()

    async def _receive(self, message: Msg) -> None:
        if message.reply.startswith("$JS.ACK."):
            self._arrived.append(message)
        elif message.subject == f"{self._inbox}.{self._requests}":
            broker_headers = message.headers or {}
            self._alive_s = asyncio.get_running_loop().time()
            if broker_headers.get("Status") == _HEARTBEAT:
                return  # nothing to wake up for
            self._ended = (broker_headers.get("Status", "?"), broker_headers.get("Description", ""))
        else:  # the late end of an older request, which would end the current wait
            return
        self._changed.set()


class PullLoop(BatchPullStreamSubscriber):
    """FastStream's batch subscriber with the pull loop replaced; lifecycle, supervision and handler call stay its own.

    FastStream's loop waits the whole `PullSub.timeout` unless a batch is full, which would be every message's latency,
    and it creates a missing durable silently, with the client's defaults (docs/decisions/0003-faststream-pump.md).
    """

    # An instance is made by FastStream and becomes a PullLoop afterwards, so the layout must stay the parent's.
    __slots__ = ()

    source: Source
    size: FetchSize
    on_bound: Bound
    may_fetch: MayFetch
    on_reconnect: Callable[[], None]
    # The number of reconnections at the last binding.
    reconnects: int
    fetcher: Fetcher

    async def _create_subscription(self) -> None:
        if self.subscription:
            return
        self.reconnects = self.connection.stats["reconnects"]
        self.fetcher = Fetcher(self.connection, self.source, self.size)
        await self.fetcher.open()
        self.subscription = cast(Any, self.fetcher)
        self.add_task(self._consume_pull)

    async def stop(self) -> None:
        """Waits for the handler for a limited time, then returns messages that were not started."""
        await super().stop()
        if self.subscription is None and (left := getattr(self, "fetcher", None)):
            await self._return(left.take())

    async def _consume_pull(self) -> None:
        while self.running:
            if self._connection_is_new():
                self.reconnects = self.connection.stats["reconnects"]
                self.on_reconnect()
            await self._until_bound()
            await self._pump()

    def _connection_is_new(self) -> bool:
        return bool(self.connection.stats["reconnects"] != self.reconnects)

    async def _pump(self) -> None:
        """Fetches messages and calls the handler until the durable is gone or the broker is away.

        After a reconnection it ends too: the broker may be another system's.
        """
        try:
            while self.running:
                await self.may_fetch()
                messages = await self.fetcher.fetch()
                if self._connection_is_new():
                    await self._return(messages)
                    return
                if not self.running:
                    self.fetcher.put_back(messages)
                elif messages:
                    await self.consume(messages)
        except Unbound as error:
            log.warning("durable_lost", worker=self.source.worker, durable=self.source.durable, error=str(error))
        except (NatsError, OSError):
            await asyncio.sleep(CHECK_S)
        except Exception:
            # Messages that were fetched and not handled are redelivered after ack_wait. The loop must go on.
            log.exception("pump_failed", worker=self.source.worker)
            await asyncio.sleep(CHECK_S)

    async def _until_bound(self) -> None:
        """Returns when the durable exists. What is wrong is logged at once and then once a minute."""
        unbound = metrics.UNBOUND.labels(self.source.worker)
        reported, attempts = "", 0
        while True:
            error = await self._error_of_durable()
            unbound.set(1 if error else 0)
            if not error:
                return
            if error != reported or attempts % _REPORT_EVERY_ATTEMPTS == 0:
                self._report_missing(error)
            reported, attempts = error, attempts + 1
            await asyncio.sleep(CHECK_S)

    def _report_missing(self, error: str) -> None:
        """A missing durable needs an operator or the janitor; a broker that does not answer needs no `migrate`."""
        if error.startswith(_NO_ANSWER):
            log.warning(
                "broker_does_not_answer",
                worker=self.source.worker,
                stream=self.source.stream,
                error=error.removeprefix(_NO_ANSWER),
                remedy="none while a majority of the brokers runs: this worker looks again every second",
            )
            return
        log.error(
            "durable_missing",
            worker=self.source.worker,
            stream=self.source.stream,
            durable=self.source.durable,
            error=error,
            remedy=(
                f"expected durable {self.source.durable} on stream {self.source.stream}: run `axonpush migrate`, or "
                "wait for the janitor, which makes a deleted durable again. This worker looks again every second"
            ),
        )

    async def _error_of_durable(self) -> str:
        """The error of a missing durable, or empty. Passes the ack_wait of an existing one to `on_bound`."""
        try:
            info = await self.jetstream.consumer_info(self.source.stream, self.source.durable)
        except NotFoundError as error:
            return error.description or "not found"
        except (NatsError, OSError) as error:
            return _NO_ANSWER + broker_failure(error)
        if info.config.ack_wait:
            self.on_bound(info.config.ack_wait)
        return ""

    async def _return(self, messages: Iterable[Msg]) -> None:
        """Returns messages to the broker, so that another worker gets them soon and not after ack_wait."""
        for message in messages:
            with contextlib.suppress(NatsError, OSError):
                await message.nak(delay=GIVEN_BACK_DELAY_S)


async def _at_once() -> None:
    """Nothing to wait for."""


def _nothing() -> None:
    """Nobody wants to know."""


async def as_delivered(message: StreamMessage[list[Msg]]) -> list[Msg]:
    """The raw decoder: it does not parse content, so that one odd body cannot fail a whole batch."""
    return message.raw_message


def attach(  # noqa: PLR0913 (named options)
    broker: NatsBroker,
    source: Source,
    handle: Handle,
    *,
    on_bound: Bound,
    size: FetchSize,
    may_fetch: MayFetch = _at_once,
    on_reconnect: Callable[[], None] = _nothing,
) -> PullLoop:
    """Subscribe `handle` to the messages of `source`. Only the handler acknowledges: FastStream's default would
    terminate, and so lose, a message whose handler raised.
    """
    subscriber: Any = broker.subscriber(
        source.subject,
        stream=JStream(source.stream, declare=False),
        durable=source.durable,
        pull_sub=PullSub(size.messages, timeout=EXPIRES_S, batch=True),
        ack_policy=AckPolicy.MANUAL,
        decoder=as_delivered,
        no_reply=True,
    )
    # FastStream has no hook to name the class; the alternative is a copy of its factory.
    subscriber.__class__ = PullLoop
    subscriber.source, subscriber.size, subscriber.on_bound = source, size, on_bound
    subscriber.may_fetch, subscriber.on_reconnect = may_fetch, on_reconnect
    subscriber(handle)
    return cast(PullLoop, subscriber)
