"""The parts of the process, put together as `axonpush alerts` does it."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any, cast

import pytest

from console.alerts.bucket import Bucket
from console.alerts.deliver.email import EmailSender
from console.alerts.deliver.webhook import HttpSender
from console.alerts.leader import Leader
from console.alerts.lease import EvaluationLease
from console.alerts.process import _leader
from console.alerts.secret_sweep import UNNAMED_S
from console.alerts.settings import AlertsSettings
from schemas.subjects import ALERT_SECRETS_BUCKET, ALERTS_BUCKET
from tests.unit.broker_fake import BrokerFake, bucket
from tests.unit.console.alerts.world import Clock, World
from tests.unit.console.fakes import registry_entries

pytestmark = pytest.mark.asyncio


class Registry:
    entries = registry_entries()


async def leader(world: World, broker: Any, stop: asyncio.Event) -> tuple[Leader, HttpSender]:
    settings = AlertsSettings()
    entries = Bucket(broker)
    http = HttpSender(settings, world.clock.now_s)
    parts: Any = (settings, broker, Registry(), (entries, EvaluationLease(entries, "one")), world.clickhouse)
    return _leader(*parts, (http, EmailSender(settings)), stop, lambda _: nullcontext()), http


async def test_secrets_that_no_rule_names_are_swept_after_a_round() -> None:
    """The sender reads the bucket that the sweep works on, and the states are in another one."""
    world, stop, clock = World(), asyncio.Event(), Clock()
    world.rule(rule_id=5)
    broker = cast("Any", BrokerFake(bucket(ALERTS_BUCKET), bucket(ALERT_SECRETS_BUCKET)))
    secrets = Bucket(broker, ALERT_SECRETS_BUCKET)
    for name in ("a5.url", "gone.url"):
        await secrets.write(name, b"secret")
    built, http = await leader(world, broker, stop)
    assert await built.lease.step()
    built.sweep._clock = clock.now_s

    async def round_and_stop() -> None:
        await built.evaluator.source.read()
        clock.s += UNNAMED_S
        if clock.s > 1_790_000_000.0 + 2 * UNNAMED_S:
            stop.set()

    built.evaluator = cast("Any", Rounds(built.evaluator.source, round_and_stop))
    built.settings = cast("Any", Fast())
    await built._evaluate()
    assert [(await secrets.get(name))[0] for name in ("a5.url", "gone.url")] == [b"secret", b""]
    assert await built.sender.outbox._secret("a5.url") == "secret"
    await http.close()


class Rounds:
    """Of an evaluator, what the leader uses."""

    def __init__(self, source: Any, work: Any) -> None:
        self.source, self.round = source, work


class Fast:
    alerts_interval_s = 0.001
