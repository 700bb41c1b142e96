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
from ops.bench.abuse.bodies import KINDS, AbuseKind, mutate
from ops.bench.abuse.shape import MAX_BODY_BYTES
from ops.bench.abuse.site import BodyCost, Site, encode_all, open_site
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
    kinds = choose_kinds(session)
    with running() as stack:
        seen, good = asyncio.run(_measure_kinds(session, stack, kinds))
    report.show(seen, good, Console(width=None if Console().is_terminal else 220))
    worst = max(seen, key=lambda figure: figure.times)
    longest = max(seen, key=lambda figure: figure.cost.held_s)
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
            (longest.cost.held_s * 1e3,),
            target=FigureTarget(MAX_HELD_S * 1e3, MAX_HELD_S * 500, "less"),
            note=longest.kind.name,
        )
    )


def choose_kinds(session: BenchSession) -> list[AbuseKind]:
    """The requested kinds; a short session takes only a few. Raises Failed if none has that name."""
    kinds = [kind for kind in KINDS if session.bodies in kind.name]
    if not kinds:
        raise Failed(f"expected a part of the name of an abusive body, found {session.bodies!r}")
    return kinds if session.seconds > QUICK_S else kinds[:: max(1, len(kinds) // 20)]


async def _measure_kinds(
    session: BenchSession, stack: Stack, kinds: Iterable[AbuseKind]
) -> tuple[list[AbuseFigure], dict[str, Good]]:
    async with open_site(stack) as site:
        good = await _good(site)
        seen = [await _measure_kind(session, site, good, kind) for kind in kinds]
        variants = VARIANTS if session.seconds > QUICK_S else VARIANTS // 10
        await _search(session, site, good, seen, variants)
    return seen, good


async def _search(
    session: BenchSession, site: Site, good: dict[str, Good], seen: list[AbuseFigure], variants: int
) -> None:
    """Tries other shapes of the worst bodies so far; each becomes a candidate itself. The choice is reproducible."""
    chance = random.Random(SEED)
    for number in range(variants):
        rank = AbuseFigure.times.fget if number % 2 else lambda figure: figure.cost.held_s  # type: ignore[attr-defined]
        parent = chance.choice(sorted(seen, key=rank, reverse=True)[:BREEDERS])
        child = mutate(parent.kind, chance)
        digest = _digest(child.make(child.shape))
        if all(digest != figure.digest for figure in seen):  # not every kind has every size
            seen.append(await _measure_kind(session, site, good, child))


async def _measure_kind(session: BenchSession, site: Site, good: dict[str, Good], kind: AbuseKind) -> AbuseFigure:
    """The body in its smallest accepted encoding; a refused encoding costs what it costs."""
    body = kind.make(kind.shape)
    worst: AbuseFigure | None = None
    for coding, wire in encode_all(body):
        cost = await site.cost(kind, coding, [(len(body), wire)])
        figure = AbuseFigure(kind, cost, _beside(good, kind).of(len(body)), _digest(body))
        if worst is None or figure.cost.cpu_s > worst.cost.cpu_s:
            worst = figure
        if cost.stored or cost.is_cut:
            break
    assert worst is not None
    mark = "  MISSED" if worst.is_missed else ""
    session.tell(
        f"{kind.name}: {worst.cost.cpu_s:.2f} s for {worst.cost.sent_bytes:,} bytes, "
        f"{worst.times:.1f} times good data, held {worst.cost.held_s * 1e3:.0f} ms{mark}"
    )
    return worst


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
    good: dict[str, Good] = {}
    for name in (_DEFAULT_BESIDE, "transaction", "logs", "spans", "spans-json"):
        costs = [await _cost(site, name, ALONE + 2 + turn, TOGETHER) for turn in range(4)][1:]
        middle = sorted(costs, key=lambda cost: cost.per_mb_s)[1]
        good[name] = Good(median(alone), middle.per_mb_s, middle)
    return good


async def _cost(site: Site, name: str, seed: int, number: int) -> BodyCost:
    """The cost of so many good bodies sent at once."""
    kind = kinds.by_name()[name]
    coding = kind.headers.get("content-encoding", "identity")
    wires = [kind.make(token) for token in kinds.tokens(SEED + seed, number)]
    abuse_kind = AbuseKind(
        name, _ROUTES.get(kind.path, "sentry.envelope"), kind.headers["content-type"], lambda _shape: b""
    )
    return await site.cost(abuse_kind, coding, [(len(inflate(wire, coding, MAX_BODY_BYTES)), wire) for wire in wires])
