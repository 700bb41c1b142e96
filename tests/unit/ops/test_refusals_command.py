"""`axonpush refusals`: the key as people paste it, errors for what does not exist, names beside ids."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from ops.cli import refusals as command
from ops.refusals import senders
from ops.refusals.read import REVOKED, RefusedRequests
from ops.refusals.senders import Senders, find_senders
from ops.registry.changes import RegistryWriter
from ops.registry.key_options import KeyOptions
from ops.runtime.failures import Failed
from ops.runtime.settings import Settings
from schemas.registry import Key
from schemas.subjects import REGISTRY_BUCKET
from tests.unit.broker_fake import BrokerFake, bucket

AT = dt.datetime(2026, 11, 26, 21, 52, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that runs on this machine, at the usual ports, is not asked."""
    monkeypatch.setenv("AXONPUSH_NATS_URL", "nats://127.0.0.1:1")
    monkeypatch.setenv("AXONPUSH_CLICKHOUSE_URL", "http://127.0.0.1:1")


@pytest_asyncio.fixture
async def minted(monkeypatch: pytest.MonkeyPatch) -> tuple[str, Key]:
    made = BrokerFake(bucket(REGISTRY_BUCKET))
    registry = RegistryWriter(made, await made.key_value(REGISTRY_BUCKET), "acme")  # type: ignore[arg-type]

    @asynccontextmanager
    async def opened(_settings: Settings, _organisation: str) -> AsyncIterator[RegistryWriter]:
        yield registry

    async def nothing_waits(_settings: Settings) -> int:
        return 0

    monkeypatch.setattr(senders, "open_registry", opened)
    monkeypatch.setattr(senders, "_waiting", nothing_waits)
    await registry.create_channel(2)
    return await registry.mint(KeyOptions("production", channels=(2,), name="web", note="of Ann"))


@pytest.mark.asyncio
async def test_a_key_is_found_by_id_text_or_dsn(minted: tuple[str, Key]) -> None:
    """As in `keys revoke`."""
    text, key = minted
    for given in (key.id, text, f"https://{text}@in.example.com/2"):
        found = await find_senders(Settings(), given)
        assert (found.key_id, found.label(key.id)) == (key.id, "web, of Ann")


@pytest.mark.asyncio
async def test_what_does_not_exist_is_an_error(minted: tuple[str, Key]) -> None:
    """Not 0 refused requests; the text is not shown."""
    wrong = "ak_" + "x" * 32
    with pytest.raises(Failed, match="found no such key") as raised:
        await find_senders(Settings(), wrong)
    assert wrong not in str(raised.value)


@pytest.mark.asyncio
async def test_refusals_of_a_channel_that_does_not_exist_are_shown(minted: tuple[str, Key]) -> None:
    """Senders with a wrong number are what one looks for; that the number is wrong is said beside them."""
    assert "no channel 77: channels: 2" in (await find_senders(Settings(), "", 77)).note
    assert not (await find_senders(Settings(), "", 2)).note


@pytest.mark.parametrize(
    ("newest", "waiting", "words"),
    [
        (None, 0, "counted up to 21:51:50 UTC"),
        (AT, 0, "counted up to 21:51:50 UTC"),
        (AT, 3, "counted up to 21:52 UTC, the newest stored count; 3 messages with counts wait"),
        (None, 3, "no count of this time is stored; 3 messages"),
        (AT, None, "counted up to 21:52 UTC, the newest stored count; whether others wait"),
        (None, None, "no count of this time is stored; whether others wait"),
    ],
)
def test_the_table_says_how_new_it_is(newest: dt.datetime | None, waiting: int | None, words: str) -> None:
    """Right after a refusal, 0 would be a lie."""
    assert command._newest_count_text(newest, waiting, AT).startswith(words)


def test_a_table_that_was_lost_says_since_when_it_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """It printed `0 requests were refused` since a time of which it knew nothing."""
    made_at = AT + dt.timedelta(seconds=7)
    lost = command.lost_text(made_at, AT)
    command._print([], Senders(waiting=0), AT, None, lost)
    shown = capsys.readouterr()
    assert "The table has 0 refused requests since" in shown.out
    assert "was lost, and made again, empty, at 2026-11-26 21:52:07 UTC" in " ".join(shown.err.split())
    assert command.lost_text(made_at, made_at) == command.lost_text(None, AT) == ""


@pytest.mark.asyncio
async def test_without_a_broker_ids_still_work(minted: tuple[str, Key], monkeypatch: pytest.MonkeyPatch) -> None:
    text, key = minted

    @asynccontextmanager
    async def away(_settings: Settings, _organisation: str) -> AsyncIterator[RegistryWriter]:
        raise Failed("the broker is away")
        yield

    monkeypatch.setattr(senders, "open_registry", away)
    assert await find_senders(Settings(), text) == Senders(key.id, unreadable="the broker is away")
    with pytest.raises(Failed, match="expected the 16 digits"):
        await find_senders(Settings(), "no key")


def test_what_may_be_stored_is_not_called_refused(capsys: pytest.CaptureFixture[str]) -> None:
    one = RefusedRequests("acme", 2, "a" * 16, "", "503:not_confirmed", ("event",), 3, AT, AT)
    command._print([one], Senders(waiting=0), AT, AT)
    assert "3 of them were not confirmed, and may be stored" in capsys.readouterr().out


def test_names_stand_beside_ids(capsys: pytest.CaptureFixture[str]) -> None:
    key = Key(sha256="a" * 64, organisation="acme", environment="p", kind="secret", name="web", note="of Ann")
    one = RefusedRequests("acme", 2, key.id, "", REVOKED, ("event",), 21, AT, AT)
    command._print([one], Senders("", {key.id: key}), AT, AT)
    shown = capsys.readouterr().out
    assert f"key {key.id} (web, of Ann) of acme was revoked and is still used: 21 requests" in shown
    assert "counted up to 21:52 UTC" in shown
    assert command._key_names(Senders("", {key.id: key}), key.id) == {"key_name": "web", "key_note": "of Ann"}


def test_a_reason_that_nobody_had_names_those_that_there_are() -> None:
    """It may be a slip."""
    assert command._other_reasons("nosuch", []) == "no reason of this time contains 'nosuch'; reasons: none"
