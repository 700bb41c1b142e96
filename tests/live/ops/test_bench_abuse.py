"""The abuse bench on a real receiver and a real worker: a body is measured, and one that takes too long is given up."""

from __future__ import annotations

import asyncio

import pytest

from ops.bench.abuse import site as abuse_site
from ops.bench.abuse.bodies import KINDS, AbuseKind
from ops.bench.abuse.shape import Shape
from ops.bench.abuse.site import BodyCost, Site, open_site
from ops.bench.stack import running

pytestmark = [pytest.mark.live, pytest.mark.long]

KIND = {kind.name: kind for kind in KINDS}
SPANS = KIND["otlp spans: nothing but ids"]
LOGS = KIND["otlp logs: an empty body each"]


async def measured(site: Site, kind: AbuseKind, shape: Shape) -> BodyCost:
    body = kind.make(shape)
    return await site.cost(kind, "gzip", [(len(body), abuse_site.CODINGS["gzip"](body))])


def test_bodies_are_measured_and_one_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each body has its figures, a larger one holds more memory; after a body was given up the next one is measured."""

    async def scene() -> list[BodyCost]:
        async with open_site(stack) as site:
            await measured(site, SPANS, Shape(size_bytes=1_000))
            found = [await measured(site, SPANS, Shape(size_bytes=size)) for size in (5_000, 400_000)]
            monkeypatch.setattr(abuse_site, "MAX_CPU_S", 0.0)
            found.append(await measured(site, LOGS, Shape(size_bytes=400_000)))
            monkeypatch.setattr(abuse_site, "MAX_CPU_S", 60.0)
            await measured(site, SPANS, Shape(size_bytes=1_000))
            found.append(await measured(site, SPANS, Shape(size_bytes=5_000)))
            return found

    with running() as stack:
        small, large, cut, after = asyncio.run(scene())
    assert [cost.status for cost in (small, large, after)] == [200] * 3
    assert small.stored
    assert large.stored
    assert (small.is_cut, large.is_cut, cut.is_cut, after.is_cut) == (False, False, True, False)
    assert large.peak_bytes > small.peak_bytes
    for cost in (small, large, after):
        # Whole processor times come in steps of 10 ms: a small body may cost none.
        assert min(cost.receiver_held_s, cost.worker_held_s) > 0
    assert large.inflated_bytes > 300_000 > large.sent_bytes
