"""unpack: splits a Sentry body into one message per item. The item's own worker reads its payload."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Final

from schemas import headers, subjects
from schemas.counts import UNSUPPORTED_ITEM_TYPE, Counts
from schemas.headers import Origin
from schemas.outcomes import DEAD, DROPPED, Outcome, OutcomeRow, outcome_row
from workers import metrics
from workers.consume.counts import Replies
from workers.consume.handover import Handover
from workers.consume.large_messages import LargeMessageExecutor
from workers.consume.message import Dead, Entry, Message
from workers.consume.sized_work import Work, inflated_bytes, run_work
from workers.consume.work_process import UNPACK, WorkJob
from workers.unpack.pieces import Split, split_body, word
from workers.unpack.publish import ItemMessage, ItemPublisher
from workers.unpack.readers import READERS

UNKNOWN_ROUTE: Final = "unknown_route"

_ENVELOPE_MEDIA_TYPE: Final = "application/x-sentry-envelope"


class Unpack:
    """The work of the unpack worker: split, reply, publish the items, then settle the body."""

    def __init__(
        self,
        publisher: ItemPublisher,
        replies: Replies,
        max_body_bytes: int,
        handover: Handover | None = None,
        executor: LargeMessageExecutor | None = None,
    ) -> None:
        self._executor = executor
        self._publisher = publisher
        self._handover = handover
        self._replies = replies
        self._max_body_bytes = max_body_bytes

    async def __call__(self, message: Message, origin: Origin) -> Entry:
        """Returns when the broker or a worker has every item. The entry has the outcomes of dropped items."""
        route = subjects.route_of(message.subject)
        if origin.content_type.startswith(_ENVELOPE_MEDIA_TYPE) and route == subjects.SENTRY_STORE:
            route = subjects.SENTRY_ENVELOPE
        if route not in READERS:
            return _unknown(message, origin, route)
        work = Work(
            run=partial(split_body, READERS[route], message, origin, self._max_body_bytes),
            job=partial(WorkJob.of, UNPACK, route, origin, message),
            read=lambda plain, _pieces: Split.of_plain(plain),
        )
        split = await run_work(self._executor, work, message, inflated_bytes(message), origin.channel_id)
        entry = Entry(message, origin, outcomes=_outcome_rows(origin, split), passed_on=len(split.items))
        entry.size_bytes = len(message.body)
        await self._replies.send(entry, _counts(split))
        item_messages = [self._item_message(message, origin, item) for item in split.items]
        if self._handover is not None:
            item_messages = await self._handover.give(message, item_messages)
        await self._publisher.publish(item_messages)
        for worker, items in Counter(worker for _, worker, _ in split.items).items():
            metrics.ITEMS.labels(worker).inc(items)
        return entry

    def _item_message(self, message: Message, origin: Origin, item: tuple[int, str, bytes]) -> ItemMessage:
        index, worker, body = item
        item_headers = headers.for_item(message.headers, origin, index)
        item_headers.pop(headers.CONTENT_ENCODING, None)
        return ItemMessage(subjects.item(worker, origin.channel_id), body, item_headers)


def _unknown(message: Message, origin: Origin, route: str) -> Entry:
    error = f"expected one of {', '.join(sorted(READERS))}, found {word(route)}; upgrade the workers"
    row = outcome_row(origin, subjects.UNPACK, Outcome(DEAD, UNKNOWN_ROUTE, word(route)))
    entry = Entry(message, origin, outcomes=[row], dead=Dead(UNKNOWN_ROUTE, error))
    entry.reply = Counts(stage=subjects.UNPACK, expect=0, rejected=1, reasons=[UNKNOWN_ROUTE])
    return entry


def _drops(split: Split) -> list[Outcome]:
    """The items that make no row; the reason names their type."""
    unsupported = [((UNSUPPORTED_ITEM_TYPE, name), quantity) for name, quantity in split.dropped.items()]
    return [
        Outcome(DROPPED, f"{reason}:{name}", name, quantity)
        for (reason, name), quantity in (*unsupported, *split.reports.items())
    ]


def _outcome_rows(origin: Origin, split: Split) -> list[OutcomeRow]:
    lost = [Outcome(*which, quantity) for which, quantity in split.lost.items()]
    return [outcome_row(origin, subjects.UNPACK, outcome) for outcome in (*_drops(split), *lost)]


def _counts(split: Split) -> Counts:
    drops = _drops(split)
    return Counts(
        stage=subjects.UNPACK,
        expect=len(split.items),
        rejected=sum(drop.quantity for drop in drops),
        reasons=[drop.reason for drop in drops],
    )
