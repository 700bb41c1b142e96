"""Measures the worst bodies beside good ones: processor time, memory, and blocks of the event loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from statistics import median
from typing import Final

from rich.console import Console

from ops.bench.abuse import report
from ops.bench.abuse.bodies import KINDS, AbuseKind, mutated
from ops.bench.abuse.shape import MAX_BODY_BYTES
from ops.bench.abuse.site import BodyCost, Site, open_site, packed
from ops.bench.bodies import kinds
from ops.bench.figures import Figure, FigureTarget
from ops.bench.session import BenchSession
from ops.bench.stack import Stack, running
from ops.runtime.failures import Failed
from schemas.encodings import inflate

# Limits of the worst body: cost as a multiple of good data of the same size, and block of the event loop.
MAX_COST_RATIO: Final = 20.0
MAX_HELD_S: Final = 0.05
# Number of variants that the search tries, and of how many of the worst kinds.
VARIANTS: Final = 60
BREEDERS: Final = 12
SEED: Final = 11
# Good bodies: how often one is sent alone, and how many at once.
ALONE: Final = 7
TOGETHER: Final = 80
# A session with shorter turns only checks that everything runs.
QUICK_S: Final = 2.0
_ROUTES: Final = {"/v1/traces": "otlp.traces", "/v1/logs": "otlp.logs"}
# Good data that a kind of body is compared with, by route and media type; otherwise an error of a real SDK.
_BESIDE: Final = {
    ("otlp.logs", "application/x-protobuf"): "logs",
    ("otlp.logs", "application/json"): "logs",
    ("otlp.traces", "application/x-protobuf"): "spans",
    ("otlp.traces", "application/json"): "spans-json",
}
# Good items of these types are many small rows too.
_MANY_ROWS: Final = ("transaction:", "spans:", "logs:", "metrics:", "sessions:", "native batch:")
_DEFAULT_BESIDE: Final = "error"
_FIXED: Final = "tiny"


@dataclass(frozen=True, slots=True)
class Good:
    """The cost of good data: per request, and per decompressed megabyte."""

    fixed_s: float
    per_mb_s: float
    cost: BodyCost

    def of(self, size_bytes: int) -> float:
        """Processor seconds for as much good data in one request."""
        return self.fixed_s + self.per_mb_s * size_bytes / 1e6


@dataclass(frozen=True, slots=True)
class AbuseFigure:
    """One hostile body and its cost, beside good data of the same decompressed size."""

    kind: AbuseKind
    cost: BodyCost
    good_s: float
    digest: bytes = b""

    @property
    def times(self) -> float:
        return self.cost.cpu_s / self.good_s

    @property
    def is_missed(self) -> bool:
        return self.times > MAX_COST_RATIO or self.cost.held_s > MAX_HELD_S


def abuse(session: BenchSession) -> None:
    """Measures the worst bodies beside good data."""
    kinds = chosen(session)
    with running() as stack:
        seen, good = asyncio.run(_measured(session, stack, kinds))
    report.show(seen, good, Console(width=None if Console().is_terminal else 220))
    worst = max(seen, key=lambda one: one.times)
    held = max(seen, key=lambda one: one.cost.held_s)
    session.add(
        Figure(
            "abuse: processor time beside good data of the same size, worst body",
            "times",
            (worst.times,),
            target=FigureTarget(MAX_COST_RATIO, MAX_COST_RATIO / 2, "less"),
            note=worst.kind.name,
        )
    )
    session.add(
        Figure(
            "abuse: a loop held, worst body",
            "ms",
            (held.cost.held_s * 1e3,),
            target=FigureTarget(MAX_HELD_S * 1e3, MAX_HELD_S * 500, "less"),
            note=held.kind.name,
        )
    )


def chosen(session: BenchSession) -> list[AbuseKind]:
    """The requested kinds; a short session takes only a few. Raises Failed if none has that name."""
    found = [kind for kind in KINDS if session.bodies in kind.name]
    if not found:
        raise Failed(f"expected a part of the name of an abusive body, found {session.bodies!r}")
    return found if session.seconds > QUICK_S else found[:: max(1, len(found) // 20)]


async def _measured(
    session: BenchSession, stack: Stack, kinds: Iterable[AbuseKind]
) -> tuple[list[AbuseFigure], dict[str, Good]]:
    async with open_site(stack) as site:
        good = await _good(site)
        seen = [await _seen(session, site, good, kind) for kind in kinds]
        variants = VARIANTS if session.seconds > QUICK_S else VARIANTS // 10
        await _search(session, site, good, seen, variants)
    return seen, good


async def _search(
    session: BenchSession, site: Site, good: dict[str, Good], seen: list[AbuseFigure], variants: int
) -> None:
    """Tries other shapes of the worst bodies so far; each becomes a candidate itself. The choice is reproducible."""
    chance = random.Random(SEED)
    for number in range(variants):
        rank = AbuseFigure.times.fget if number % 2 else lambda one: one.cost.held_s  # type: ignore[attr-defined]
        parent = chance.choice(sorted(seen, key=rank, reverse=True)[:BREEDERS])
        child = mutated(parent.kind, chance)
        digest = _digest(child.make(child.shape))
        if all(digest != one.digest for one in seen):  # not every kind has every size
            seen.append(await _seen(session, site, good, child))


async def _seen(session: BenchSession, site: Site, good: dict[str, Good], kind: AbuseKind) -> AbuseFigure:
    """The body in its smallest accepted encoding; a refused encoding costs what it costs."""
    body = kind.make(kind.shape)
    found: AbuseFigure | None = None
    for coding, wire in packed(body):
        cost = await site.cost(kind, coding, [(len(body), wire)])
        one = AbuseFigure(kind, cost, _beside(good, kind).of(len(body)), _digest(body))
        if found is None or one.cost.cpu_s > found.cost.cpu_s:
            found = one
        if cost.stored or cost.is_cut:
            break
    assert found is not None
    mark = "  MISSED" if found.is_missed else ""
    session.tell(
        f"{kind.name}: {found.cost.cpu_s:.2f} s for {found.cost.sent_bytes:,} bytes, "
        f"{found.times:.1f} times good data, held {found.cost.held_s * 1e3:.0f} ms{mark}"
    )
    return found


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()


def _beside(good: dict[str, Good], kind: AbuseKind) -> Good:
    if kind.name.startswith(_MANY_ROWS):
        return good["transaction"]
    return good[_BESIDE.get((kind.route, kind.content_type), _DEFAULT_BESIDE)]


async def _good(site: Site) -> dict[str, Good]:
    """The least cost of a request, and the cost of a megabyte when a worker takes many requests together.

    The first ones of each kind warm caches and do not count.
    """
    alone = [(await _cost(site, _FIXED, number, 1)).cpu_s for number in range(ALONE + 2)][2:]
    found: dict[str, Good] = {}
    for name in (_DEFAULT_BESIDE, "transaction", "logs", "spans", "spans-json"):
        costs = [await _cost(site, name, ALONE + 2 + turn, TOGETHER) for turn in range(4)][1:]
        middle = sorted(costs, key=lambda one: one.per_mb_s)[1]
        found[name] = Good(median(alone), middle.per_mb_s, middle)
    return found


async def _cost(site: Site, name: str, seed: int, number: int) -> BodyCost:
    """The cost of so many good bodies sent at once."""
    kind = kinds.by_name()[name]
    coding = kind.headers.get("content-encoding", "identity")
    wires = [kind.make(token) for token in kinds.tokens(SEED + seed, number)]
    made = AbuseKind(name, _ROUTES.get(kind.path, "sentry.envelope"), kind.headers["content-type"], lambda _shape: b"")
    return await site.cost(made, coding, [(len(inflate(wire, coding, MAX_BODY_BYTES)), wire) for wire in wires])
