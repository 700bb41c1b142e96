"""Our event normaliser beside Sentry's Relay: each difference has its reason in the list of
tests/unit/workers/normalise/sentry/relay.py.
"""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sentry_relay", reason="no wheel of sentry-relay for this machine")

from tests.unit.workers.normalise.sentry import relay
from tests.unit.workers.normalise.sentry.relay import NOW_S

EXAMPLES = Path(__file__).parents[4] / "examples"
MUTATIONS = 600
ANY = (None, True, 0, -1, 1.5, "", " x ", "10", [], {}, ["a"], {"a": 1}, "{{auto}}", "1.2.3.4", NOW_S - 5, "warning")


def events() -> dict[str, dict[str, Any]]:
    """The example events by name."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted((EXAMPLES / "sentry").glob("*event*.json"))}
    for path in sorted((EXAMPLES / "cases").glob("*.json")):
        body = json.loads(path.read_text()).get("body")
        if isinstance(body, list) and len(body) == 3 and body[1].get("type") == "event":
            found[path.stem] = body[2]
    return found


def mutated(chance: random.Random, event: dict[str, Any]) -> dict[str, Any]:
    """The event with one or two members that are something else."""
    made = copy.deepcopy(event)
    for _ in range(chance.randint(1, 2)):
        name = chance.choice(sorted(_MUTATIONS))
        made[name] = chance.choice(ANY) if chance.random() < 0.4 else _MUTATIONS[name](chance.choice)
    return made


_MUTATIONS: dict[str, Any] = {
    "level": lambda pick: pick(("debug", "info", "warning", "error", "fatal", "WARN", "critical", 40)),
    "timestamp": lambda pick: pick((NOW_S - 9, NOW_S - 0.25, "2026-11-21T14:46:05Z", "2026-11-21T15:46:05.5+01:00")),
    "user": lambda pick: {pick(("id", "username", "email", "ip_address")): pick(ANY) for _ in range(2)},
    "tags": lambda pick: pick(([["a", pick(ANY)], ["b", "c"]], {"a": pick(ANY)}, [{"key": "k", "value": pick(ANY)}])),
    "fingerprint": lambda pick: [pick(ANY), "b", "{{ default }}"],
    "exception": lambda pick: pick(
        (
            {"values": [{"type": pick(ANY), "value": pick(ANY)}, {"type": "E", "value": "last"}]},
            [{"type": "A", "value": "x"}, {"type": "B", "value": pick(ANY)}],
            {"values": [None, {"value": "Err: text"}]},
            {"type": "E", "value": "v"},
        )
    ),
    "logentry": lambda pick: {"message": "hi %s", "params": [pick(ANY)]},
    "message": lambda pick: pick(("plain", {"message": "of {}", "params": ["x"]})),
    "platform": lambda pick: pick(("javascript", "python", "cocoa", "other")),
}


def unexplained(found: list[relay.Difference]) -> list[str]:
    return [
        f"{one.fact}: relay {one.relay!r}, ours {one.ours!r}, of {json.dumps(one.event)[:600]}"
        for one in found
        if not relay.explanation(one)
    ]


@pytest.mark.parametrize("name", sorted(events()))
def test_an_example_event_differs_only_where_it_is_explained(name: str) -> None:
    """Level, time, exceptions, user, tags, fingerprint and message."""
    assert unexplained(relay.differences(events()[name])) == []


def test_mutated_events_differ_only_where_it_is_explained() -> None:
    """A fixed walk through wrong and rare members; and most of them do not differ at all."""
    chance, known = random.Random(7), sorted(events().items())
    found = [relay.differences(mutated(chance, chance.choice(known)[1])) for _ in range(MUTATIONS)]
    assert [line for differences in found for line in unexplained(differences)][:5] == []
    assert sum(not differences for differences in found) > MUTATIONS // 3


def test_every_explanation_is_needed() -> None:
    """A line that explains nothing any more is taken out."""
    chance, known = random.Random(7), sorted(events().items())
    found = [relay.differences(mutated(chance, chance.choice(known)[1])) for _ in range(4 * MUTATIONS)]
    found += [relay.differences(event) for event in events().values()]
    used = {relay.explanation(one) for differences in found for one in differences}
    assert {name for name, _, _ in relay.EXPLAINED} - used == set()
