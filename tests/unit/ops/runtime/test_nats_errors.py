"""Errors of a NATS connection: each kind once a minute, and a refused user with its variables."""

from __future__ import annotations

import pytest
from nats.errors import AuthorizationError, Error
from structlog.testing import capture_logs

from ops.runtime.nats_errors import REPORT_EVERY_S, NatsErrorLog
from ops.runtime.settings import Settings


@pytest.mark.parametrize("refused", [Error("'Authorization Violation'"), AuthorizationError()])
@pytest.mark.asyncio
async def test_a_refused_user_is_one_line_a_minute(refused: Error) -> None:
    """Also while the attempts end in turns with the refusal and with the closed connection."""
    now_s = 0.0
    told = NatsErrorLog(Settings(nats_url="nats://worker:hush@broker:4222"), lambda: now_s)
    with capture_logs() as lines:
        for number in range(8 * int(REPORT_EVERY_S)):
            now_s = number / 4
            await told.report(refused)
            await told.report(ConnectionResetError("Connection reset by peer"))
    first, second = ([line for line in lines if line["event"] == name] for name in ("nats_refused", "nats_error"))
    assert len(first) == len(second) == 2
    assert first[0]["log_level"] == "error"
    assert "AXONPUSH_NATS_USER and AXONPUSH_NATS_PASSWORD" in first[0]["error"]
    assert "broker:4222" in first[0]["error"]
    assert "hush" not in str(lines)


@pytest.mark.asyncio
async def test_many_kinds_of_errors_take_little_memory() -> None:
    told = NatsErrorLog(Settings())
    with capture_logs() as lines:
        for number in range(1_000):
            await told.report(OSError(f"number {number}"))
    assert len(lines) == 1_000
    assert len(told._told_s) <= 100


def test_separate_settings_win_over_the_address() -> None:
    """Two users are no error in one program and a choice in another: as for ClickHouse, the setting is taken."""
    both = Settings(nats_url="nats://a:b@one:1, tls://two:2", nats_user="worker")
    assert both.nats_servers() == ["nats://one:1", "tls://two:2"]
    assert Settings(nats_url="nats://a:b@one:1").nats_servers() == ["nats://a:b@one:1"]
    assert Settings(nats_url="nats://a:b@one:1", nats_token="t").nats_servers() == ["nats://one:1"]


@pytest.mark.parametrize(
    "url", ["127.0.0.1:18423", "localhost:8123", "clickhouse", "tcp://ch:9000", "ftp://x", "http:/x"]
)
def test_an_address_of_clickhouse_needs_its_scheme(url: str) -> None:
    """Without it the library asks localhost:8123, whatever is written there."""
    with pytest.raises(ValueError, match=r"expected http://… or https://…"):
        Settings(clickhouse_url=url)
    with pytest.raises(ValueError, match=r"expected http://… or https://…"):
        Settings(clickhouse_url=f"user:hush@{url}")


@pytest.mark.parametrize("url", ["127.0.0.1:4222", "http://x:4222", "nats://a:1,b:2", "wss://x", "nats://", ""])
def test_an_address_of_nats_needs_its_scheme(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected nats://… or tls://…"):
        Settings(nats_url=url)


def test_usual_addresses_are_taken() -> None:
    Settings(clickhouse_url="HTTPS://user:pass@ch.example:8443/path", nats_url="nats://a:1, tls://u:p@b:2,")
    Settings(clickhouse_url="http://[::1]:8123", nats_url="nats://[::1]:4222")
