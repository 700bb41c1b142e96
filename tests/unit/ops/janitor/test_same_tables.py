"""A janitor of a wrong shell: it says what it works on, and deletes nothing that belongs to another system."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from ops.cli.processes import janitor as command
from ops.janitor import same_tables, trimming
from ops.janitor.trimming import JanitorSettings
from ops.provisioning.desired_state import checked
from ops.provisioning.streams import Budgets
from ops.provisioning.system.system_id import IdsOfTables
from ops.runtime.failures import Failed

OURS, OTHERS, HOUR_S, DAY_S = "a" * 32, "b" * 32, 3_600.0, 86_400.0
CLIENT: Any = SimpleNamespace(jetstream=lambda **_: None)


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What broker and tables say; a test changes it."""
    told: dict[str, Any] = {"ids": IdsOfTables(OURS, ""), "horizon_s": DAY_S}

    async def stored(_js: object) -> Any:
        values = {**Budgets().model_dump(), "nats_replicas": 1, "system_id": OURS}
        return checked(values | {"replay_horizon_s": told["horizon_s"]})

    def ids(_settings: object) -> Any:
        if isinstance(told["ids"], Exception):
            raise told["ids"]
        return told["ids"]

    monkeypatch.setattr(same_tables, "stored_state", stored)
    monkeypatch.setattr(same_tables, "_ids", ids)
    return told


def worked_on() -> tuple[str, bool]:
    return asyncio.run(same_tables.worked_on(CLIENT, JanitorSettings()))


def test_broker_and_tables_are_named(state: dict[str, Any]) -> None:
    text, is_known = worked_on()
    assert is_known
    for words in ("the broker at nats://", "(system aaaaaaaa)", "database axonpush at http://"):
        assert words in text
    state["ids"] = Failed("down")
    text, is_known = worked_on()
    assert not is_known, "it is asked again; RAW must not fill meanwhile"
    assert "does not answer" in text


def test_broker_and_tables_of_two_systems_are_refused(state: dict[str, Any]) -> None:
    state["ids"] = IdsOfTables(OTHERS, "")
    with pytest.raises(Failed, match=r"two systems.*bbbbbbbb.*Nothing was removed"):
        worked_on()


class Trimmer:
    """Stands for the janitor: counts what it is asked to trim."""

    trimmed = 0

    def __init__(self, *_: object) -> None:
        return

    async def keep(self) -> None:
        return

    async def keep_settings(self) -> None:
        return

    async def tidy(self) -> int:
        type(self).trimmed += 1
        return 1


@pytest.mark.parametrize(("in_tables", "trimmed"), [(OURS, 1), (OTHERS, 0)])
def test_one_that_runs_for_long_compares_first(
    state: dict[str, Any], monkeypatch: pytest.MonkeyPatch, in_tables: str, trimmed: int
) -> None:
    state["ids"] = IdsOfTables(in_tables, "")
    monkeypatch.setattr(Trimmer, "trimmed", 0)
    for name in ("Janitor", "Durables"):
        monkeypatch.setattr(trimming, name, Trimmer)

    class Over(Exception):
        pass

    async def one_round(_pause_s: float) -> None:
        raise Over

    monkeypatch.setattr(trimming.asyncio, "sleep", one_round)
    with capture_logs() as logs, pytest.raises(Over):
        asyncio.run(trimming.keep_trimming(CLIENT, JanitorSettings()))
    assert Trimmer.trimmed == trimmed
    assert [entry["event"] for entry in logs] == ["janitor_works_on" if trimmed else "not_trimmed"]


@pytest.mark.parametrize(("asked_s", "is_allowed"), [(HOUR_S, False), (0.0, False), (DAY_S, True), (2 * DAY_S, True)])
def test_a_shorter_time_than_the_system_keeps_needs_a_word(asked_s: float, is_allowed: bool) -> None:
    check = same_tables.check_horizon(CLIENT, JanitorSettings(), asked_s, kept_s=0.0)
    if is_allowed:
        asyncio.run(check)
        return
    with pytest.raises(Failed, match=r"--allow-lowering.*Nothing was removed"):
        asyncio.run(check)


def test_where_nothing_is_kept_yet_the_setting_counts(state: dict[str, Any]) -> None:
    state["horizon_s"] = None
    with pytest.raises(Failed, match="--allow-lowering"):
        asyncio.run(same_tables.check_horizon(CLIENT, JanitorSettings(), HOUR_S, kept_s=DAY_S))


@pytest.mark.parametrize(("in_tables", "allows"), [(OURS, False), (OURS, True), (OTHERS, True)])
def test_once_compares_the_systems_and_asks_for_the_same_word(
    state: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    in_tables: str,
    allows: bool,
) -> None:
    state["ids"] = IdsOfTables(in_tables, "")
    monkeypatch.setattr(Trimmer, "trimmed", 0)
    monkeypatch.setattr(trimming, "Janitor", Trimmer)

    class Opened:
        def __init__(self, *_: object) -> None:
            return

        async def __aenter__(self) -> Any:
            return CLIENT

        async def __aexit__(self, *_: object) -> None:
            return

    monkeypatch.setattr("ops.cli.servers.open_nats", Opened)
    once = command._once(JanitorSettings(), HOUR_S, allow_lowering=allows)
    if is_refused := not allows or in_tables != OURS:
        with pytest.raises(Failed):
            asyncio.run(once)
    else:
        assert asyncio.run(once) == 1
    assert Trimmer.trimmed == (0 if is_refused else 1)
