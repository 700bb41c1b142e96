"""What consoles ask of the process that evaluates: send a test now, or send once more what was given up."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog

from console.alerts.bucket import BucketUnavailable
from console.alerts.deliver.email import TESTS_AT_ONCE
from console.alerts.deliver.message import MAX_TITLE, AlertMessage, DeliveryFailed, RuleName, iso
from console.alerts.lease import LeaseLost
from console.alerts.limits.minute_limit import MinuteLimit
from console.alerts.limits.places import MessagePlaces
from console.alerts.state import DELIVERED, FAILED, FIRING, PENDING, AlertDelivery, Firing, RuleState, identity
from console.api.errors import ApiError
from console.rules.actions import EMAIL, SLACK, Action, is_address
from console.storage.times import nanoseconds_of, time_text
from ops.runtime.tasks import end

if TYPE_CHECKING:
    from console.alerts.deliver.sender import Outbox
    from console.alerts.history import History
    from console.alerts.rules.source import RuleSource
    from console.alerts.states import States
    from console.storage.clickhouse import ClickHouse, Row

MAX_ACTIONS: Final = 50
# Requests of one organisation at once; `leader.py` has places for several organisations.
OF_ONE_ORGANISATION: Final = 4
# Of one organisation; each receiver of an e-mail is one.
TESTS_PER_MINUTE: Final = 60
# A console waits 20 s.
TEST_S: Final = 17.0
_GIVEN_UP: Final = """
SELECT delivery_id, firing_id, attempts, created_at, status, row_version
FROM alert_deliveries WHERE organisation = {organisation:String} AND delivery_id = {delivery:String} AND NOT is_test"""
_FIRING: Final = """
SELECT * FROM alert_firings WHERE organisation = {organisation:String} AND rule_id = {rule:UInt64}
  AND firing_id = {firing:String}"""
log = structlog.get_logger()


@dataclass(slots=True)
class Requests:
    """Answers requests. `now_ns` is the wall clock."""

    source: RuleSource
    states: States
    outbox: Outbox
    history: History
    clickhouse: ClickHouse
    url: str
    now_ns: Callable[[], int]
    limit: MinuteLimit = field(init=False)
    # Apart from those of messages: tests do not make them wait.
    places: MessagePlaces = field(default_factory=lambda: MessagePlaces(TESTS_AT_ONCE))
    mail_places: MessagePlaces = field(default_factory=lambda: MessagePlaces(TESTS_AT_ONCE))
    _in_work: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.limit = MinuteLimit(lambda: self.now_ns() / 1e9, TESTS_PER_MINUTE)

    async def answer(self, body: bytes) -> bytes:
        """Never raises: a request of a console must not end the evaluation."""
        try:
            question = orjson.loads(body)
            with self._place_of(str(question["organisation"])):
                if question["do"] == "test":
                    return orjson.dumps({"results": await self._test(question)})
                return orjson.dumps(await self._again(question))
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return orjson.dumps({"error": "the request is not of this version: update all processes"})
        except (ApiError, BucketUnavailable, LeaseLost) as error:
            return orjson.dumps({"error": getattr(error, "detail", "") or "the broker does not answer: try again"})
        except Exception:
            log.exception("alert_request_failed")
            return orjson.dumps({"error": "it failed; the log of `axonpush alerts` says why"})

    @contextlib.contextmanager
    def _place_of(self, organisation: str) -> Iterator[None]:
        """Those whose receivers never answer must not take the places of other organisations."""
        if self._in_work[organisation] >= OF_ONE_ORGANISATION:
            raise ApiError(429, f"expected at most {OF_ONE_ORGANISATION} of these requests at once, found more: wait")
        self._in_work[organisation] += 1
        try:
            yield
        finally:
            self._in_work[organisation] -= 1
            if not self._in_work[organisation]:
                del self._in_work[organisation]

    async def _test(self, question: Mapping[str, Any]) -> list[dict[str, Any]]:
        rule, actions = await self._tested(question)
        if not actions:
            raise ApiError(400, "expected an action of this rule, found none")
        cost = sum(max(1, len(action.to)) for action in actions)
        if not self.limit.take(rule.organisation, cost):
            raise ApiError(429, f"expected at most {TESTS_PER_MINUTE} test messages a minute, found more: wait")
        urls: Mapping[str, Any] = {} if rule.rule_id else question.get("secrets") or {}
        project = str(question.get("project") or "")[:100]
        sending = [asyncio.create_task(self._one_test(action, rule, project, urls)) for action in actions]
        try:
            await asyncio.wait(sending, timeout=TEST_S)
            results = [self._result(task, action) for task, action in zip(sending, actions, strict=True)]
        finally:
            await end(*sending)
        await self._record(rule, results)
        return results

    async def _tested(self, question: Mapping[str, Any]) -> tuple[RuleName, list[Action]]:
        """A console names actions of a stored rule by their uuids; whom they tell is looked up here."""
        organisation, number = str(question["organisation"]), int(question["rule"])
        asked = question["actions"][:MAX_ACTIONS]
        if not number:
            actions = [Action(entry["uuid"], entry["kind"], entry["target"], tuple(entry["to"])) for entry in asked]
            if not all(is_address(address) for action in actions for address in action.to):
                raise ApiError(400, "expected addresses like a@example.com, found others")
            return RuleName(organisation, 0, str(question["kind"]), str(question["name"])[:MAX_TITLE]), actions
        known = await self.source.one(organisation, number)
        if known is None or known.rule is None:
            raise ApiError(400, known.error if known else "expected a rule that exists, found none")
        uuids = {entry["uuid"] for entry in asked}
        chosen = [action for action in known.rule.head.actions if action.uuid in uuids]
        return RuleName(organisation, number, known.kind, known.name), chosen

    def _result(self, task: asyncio.Task[dict[str, Any]], action: Action) -> dict[str, Any]:
        if task.done():
            return task.result()
        shown = {"uuid": action.uuid, "type": action.kind, "target": action.target}
        text = f"no answer within {TEST_S:.0f} s; it may still arrive"
        return {**shown, "delivered": False, "answer": text, "delivery": identity(action.uuid, self.now_ns())}

    async def _one_test(
        self, action: Action, rule: RuleName, project: str, secrets: Mapping[str, str]
    ) -> dict[str, Any]:
        """`secrets`: of actions that are not stored yet; those of stored rules are used for these rules only."""
        message = self._message(action, rule, project)
        try:
            async with (self.mail_places if action.kind == EMAIL else self.places).of(rule.organisation):
                answer = await self._send(action, rule, message, secrets)
            is_delivered = True
        except DeliveryFailed as error:
            answer, is_delivered = str(error), False
        shown = {"uuid": action.uuid, "type": action.kind, "target": action.target}
        return {**shown, "delivered": is_delivered, "answer": answer, "delivery": message.delivery_id}

    async def _send(self, action: Action, rule: RuleName, message: AlertMessage, secrets: Mapping[str, str]) -> str:
        if rule.rule_id or action.kind == EMAIL:
            return await self.outbox.send(action, message)
        url, key = secrets.get(f"{action.uuid}.url", ""), secrets.get(f"{action.uuid}.key", "")
        if action.kind == SLACK:
            return await self.outbox.http.slack(message, url)
        return await self.outbox.http.webhook(message, url, key)

    def _message(self, action: Action, rule: RuleName, project: str) -> AlertMessage:
        now_ns = self.now_ns()
        test_id = identity(rule.organisation, rule.rule_id, action.uuid, "test", now_ns)
        return AlertMessage(
            test_id,
            test_id,
            rule,
            FIRING,
            "warning",
            iso(now_ns),
            project,
            f"{rule.name}: this is a test",
            "Somebody sent this test to see whether messages of this rule arrive. Nothing happened.",
            f"{self.url}/organizations/{rule.organisation}/alerts/" if self.url else "",
            None,
            {},
            is_test=True,
        )

    async def _record(self, rule: RuleName, results: Sequence[Mapping[str, Any]]) -> None:
        at = time_text(self.now_ns())
        rows: list[Row] = [
            {
                "organisation": rule.organisation,
                "rule_id": rule.rule_id,
                "delivery_id": entry["delivery"],
                "row_version": 1,
                "firing_id": entry["delivery"],
                "rule_kind": rule.kind,
                "rule_name": rule.name,
                "title": "Test",
                "type": entry["type"],
                "target": entry["target"],
                "status": DELIVERED if entry["delivered"] else FAILED,
                "attempts": 1,
                "answer": entry["answer"],
                "created_at": at,
                "last_at": at,
                "next_at": time_text(0),
                "is_test": True,
            }
            for entry in results
        ]
        try:
            await self.history.write_test(rows)
        except ApiError as error:  # it was sent, and that is what was asked
            log.warning("alert_test_not_recorded", error=error.detail)

    async def _again(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """A delivery that was given up becomes pending again, with the same id."""
        organisation, rule_id = str(question["organisation"]), int(question["rule"])
        known = self.source.rules.get((organisation, rule_id))
        result = await self.clickhouse.query(_GIVEN_UP, organisation=organisation, delivery=str(question["delivery"]))
        if known is None or known.rule is None or not result or result[0]["status"] != FAILED:
            return {"error": "expected a delivery that was given up, of a rule that exists, found none"}
        row = result[0]
        fired = await self.clickhouse.query(_FIRING, organisation=organisation, rule=rule_id, firing=row["firing_id"])
        action = next((entry for entry in known.rule.head.actions if _is_action_of(entry, row)), None)
        if not fired or action is None:
            return {"error": "its firing or its action is no longer there"}
        stored = await self.states.of(known.key)
        await self.states.change(stored, lambda state: self._put_back(state, row, fired[0], action))
        return {}

    def _put_back(self, state: RuleState, row: Row, fired: Row, action: Action) -> None:
        now_ns = self.now_ns()
        state.deliveries = [entry for entry in state.deliveries if entry.id != row["delivery_id"]]
        if state.firing(str(row["firing_id"])) is None:
            state.firings.append(_firing(fired))
        state.deliveries.append(
            AlertDelivery(
                str(row["delivery_id"]),
                str(row["firing_id"]),
                action.uuid,
                action.kind,
                action.target,
                nanoseconds_of(str(row["created_at"])),
                now_ns,
                PENDING,
                int(row["attempts"]),
                change=int(row["row_version"]) + 1,
            )
        )


def _is_action_of(action: Action, row: Row) -> bool:
    uuids = (action.uuid, *action.replaces)
    return any(identity(str(row["firing_id"]), uuid) == str(row["delivery_id"]) for uuid in uuids)


def _firing(row: Row) -> Firing:
    return Firing(
        str(row["firing_id"]),
        nanoseconds_of(str(row["fired_at"])),
        str(row["status"]),
        str(row["severity"]),
        str(row["about"]),
        int(row["channel_id"]),
        str(row["title"]),
        str(row["message"]),
        str(row["path"]),
        row["value"],
        orjson.loads(row["details"]),
        is_recorded=True,
    )
