"""Sends pending deliveries. Each try is stored before it is made, so that a process that may not act is stopped there.

A receiver gets the messages of a rule in their order: the next one waits until the one before is delivered or given up.
After a kill between sending and storing the result, the same delivery is sent again with the same id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import structlog

from console.alerts import metrics
from console.alerts.bucket import BucketUnavailable, EntryTooLarge
from console.alerts.deliver.email import MAILS_AT_ONCE
from console.alerts.deliver.message import AlertMessage, DeliveryFailed, RuleName, message_of
from console.alerts.limits.places import MessagePlaces
from console.alerts.state import DELIVERED, FAILED, PENDING, AlertDelivery, RuleState
from console.rules.actions import EMAIL, SLACK, Action
from ops.runtime.process.backoff import Backoff

if TYPE_CHECKING:
    from console.access.registry import KnownEntries
    from console.alerts.bucket import Entries
    from console.alerts.deliver.email import EmailSender
    from console.alerts.deliver.webhook import HttpSender
    from console.alerts.rules.source import KnownRule, RuleKey, RuleSource
    from console.alerts.settings import AlertsSettings
    from console.alerts.state import StoredState
    from console.alerts.states import States

NS: Final = 1_000_000_000
# A receiver that is restarted is asked again soon, one that is away for long four times an hour.
FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 900.0
# The bucket is full: the broker is not asked for each message all the time.
FULL_PAUSE_S: Final = 30.0
MAX_ANSWER: Final = 300

log = structlog.get_logger()


@dataclass(slots=True)
class Outbox:
    """Sends one message by one action. `secrets`: addresses and keys of actions."""

    secrets: Entries
    http: HttpSender
    email: EmailSender

    async def send(self, action: Action, message: AlertMessage) -> str:
        """The answer in a few words. Raises DeliveryFailed, BucketUnavailable."""
        if action.kind == EMAIL:
            return await self.email.send(message, action.to)
        url = await self._secret(f"{action.uuid}.url")
        if action.kind == SLACK:
            return await self.http.slack(message, url)
        return await self.http.webhook(message, url, await self._secret(f"{action.uuid}.key"))

    async def _secret(self, name: str) -> str:
        """A server of the broker that is behind may not have it yet, so another try can help."""
        value = (await self.secrets.get(name))[0].decode("utf-8", "replace")
        if not value:
            raise DeliveryFailed("the address or the secret of the action is not stored: save the rule again")
        return value


@dataclass(slots=True)
class DeliverySender:
    """Works through the deliveries of all rules. `now_ns` is the wall clock, `jitter` of 0 to 1."""

    settings: AlertsSettings
    states: States
    source: RuleSource
    outbox: Outbox
    registry: KnownEntries
    url: str
    now_ns: Callable[[], int]
    jitter: Callable[[], float]
    # A mail server may take minutes: webhooks do not wait for it.
    _mail_places: MessagePlaces = field(default_factory=lambda: MessagePlaces(MAILS_AT_ONCE))
    _busy: set[tuple[str, str]] = field(default_factory=set)
    # Messages whose next try the broker did not store, and when it is asked again.
    _not_before_ns: dict[str, int] = field(default_factory=dict)

    def due(self) -> list[tuple[RuleKey, StoredState, AlertDelivery]]:
        """The next delivery of each action, where it may be tried now and is not being sent.

        An e-mail that some of its receivers have already lets the next ones pass: one full mailbox stops nobody else.
        """
        now_ns = self.now_ns()
        result: list[tuple[RuleKey, StoredState, AlertDelivery]] = []
        self._not_before_ns = {name: at_ns for name, at_ns in self._not_before_ns.items() if at_ns > now_ns}
        for key, stored in self.states:
            if key not in self.source.rules:  # not read yet, or deleted a moment ago
                continue
            first: dict[str, AlertDelivery] = {}
            for delivery in stored.state.deliveries:
                if delivery.status == PENDING and not (delivery.left and delivery.next_ns > now_ns):
                    first.setdefault(delivery.action, delivery)
            result += [(key, stored, entry) for entry in first.values() if self._may_try(entry, now_ns)]
        metrics.PENDING.set(sum(_pending(stored.state) for _, stored in self.states))
        return [entry for entry in result if (entry[1].name, entry[2].action) not in self._busy]

    def _may_try(self, delivery: AlertDelivery, now_ns: int) -> bool:
        return delivery.next_ns <= now_ns and delivery.id not in self._not_before_ns

    def start_due(self, places: MessagePlaces) -> list[asyncio.Task[None]]:
        """A task for each that is due; at most as many as there are places send at once.

        They raise LeaseLost, EntryChanged, BucketUnavailable.
        """
        due = self.due()
        self._busy |= {(stored.name, delivery.action) for _, stored, delivery in due}
        return [asyncio.create_task(self._in_place(places, *entry)) for entry in due]

    async def _in_place(
        self, places: MessagePlaces, key: RuleKey, stored: StoredState, delivery: AlertDelivery
    ) -> None:
        try:
            async with (self._mail_places if delivery.kind == EMAIL else places).of(key[0]):
                await self._try(key, stored, delivery)
        except EntryTooLarge as error:
            log.warning("alert_delivery_not_stored", delivery=delivery.id, error=str(error))
            self._not_before_ns[delivery.id] = self.now_ns() + self._pause_ns(delivery.attempts + 1, FULL_PAUSE_S)
        finally:
            self._busy.discard((stored.name, delivery.action))

    async def _try(self, key: RuleKey, stored: StoredState, delivery: AlertDelivery) -> None:
        known, firing = self.source.rules.get(key), stored.state.firing(delivery.firing)
        action = _action(known, delivery.action)
        if known is None or firing is None or action is None:
            await self._settle(stored, delivery.id, FAILED, "the action is no longer a part of the rule")
            return
        await self.states.change(stored, lambda state: self._claim(state, delivery.id))
        if not _of_id(stored.state, delivery.id):  # given up in the same moment, because too many wait
            return
        name = RuleName(*key, known.kind, known.name)
        message = message_of(name, firing, delivery, self._project(key[0], firing.channel), self.url)
        try:
            answer = await self._send(replace(action, to=tuple(delivery.left) or action.to), message)
        except DeliveryFailed as error:
            metrics.DELIVERIES.labels(action.kind, "failed").inc()
            log.warning("alert_not_delivered", delivery=delivery.id, type=action.kind, why=str(error))
            await self._failed(stored, delivery.id, error)
            return
        metrics.DELIVERIES.labels(action.kind, "delivered").inc()
        log.info("alert_delivered", delivery=delivery.id, type=action.kind, firing=firing.id)
        await self._settle(stored, delivery.id, DELIVERED, answer)

    async def _send(self, action: Action, message: AlertMessage) -> str:
        """Raises DeliveryFailed and BucketUnavailable: what one address does to a client stays with its delivery."""
        try:
            return await self.outbox.send(action, message)
        except (DeliveryFailed, BucketUnavailable):
            raise
        except Exception as error:
            log.exception("alert_not_sendable", delivery=message.delivery_id, type=action.kind)
            raise DeliveryFailed(f"the message cannot be sent to this address ({type(error).__name__})") from None

    def _claim(self, state: RuleState, delivery_id: str) -> None:
        """One more try; if its result is never stored, the next one comes after the pause."""
        for delivery in _of_id(state, delivery_id):
            delivery.attempts += 1
            delivery.last_ns = self.now_ns()
            delivery.next_ns = delivery.last_ns + self._pause_ns(delivery.attempts, 0.0)
            delivery.change += 1

    def _pause_ns(self, attempts: int, wait_s: float) -> int:
        pause_s = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S, self.jitter).pause_s(attempts)
        return int(max(pause_s, wait_s) * NS)

    async def _settle(self, stored: StoredState, delivery_id: str, status: str, answer: str) -> None:
        def change(state: RuleState) -> None:
            for delivery in _of_id(state, delivery_id):
                delivery.status, delivery.answer = status, answer[:MAX_ANSWER]
                delivery.change += 1

        await self.states.change(stored, change)

    async def _failed(self, stored: StoredState, delivery_id: str, error: DeliveryFailed) -> None:
        """Waits for another try, or gives up."""
        now_ns = self.now_ns()

        def change(state: RuleState) -> None:
            for delivery in _of_id(state, delivery_id):
                is_old = now_ns - delivery.created_ns >= self.settings.alerts_give_up_s * NS
                delivery.status = FAILED if error.is_final or is_old else PENDING
                delivery.answer = str(error)[:MAX_ANSWER]
                delivery.left = list(error.left) or delivery.left
                delivery.next_ns = now_ns + self._pause_ns(delivery.attempts, error.wait_s)
                delivery.change += 1

        await self.states.change(stored, change)

    def _project(self, organisation: str, channel: int) -> str:
        project = self.registry.project(organisation, str(channel))
        return project.project_slug if project is not None else str(channel)


def _action(known: KnownRule | None, uuid: str) -> Action | None:
    if known is None or known.rule is None:
        return None
    return next((entry for entry in known.rule.head.actions if entry.is_of(uuid)), None)


def _of_id(state: RuleState, delivery_id: str) -> list[AlertDelivery]:
    return [entry for entry in state.deliveries if entry.id == delivery_id]


def _pending(state: RuleState) -> int:
    return sum(delivery.status == PENDING for delivery in state.deliveries)
