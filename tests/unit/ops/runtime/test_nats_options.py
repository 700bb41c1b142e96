"""How programs connect to NATS: what every one of them asks of its connection, and how settings become it."""

from __future__ import annotations

import pytest
from faststream.nats.security import NatsSecurity, NatsToken, NatsUserPassword

from ops.runtime.nats_options import nats_options
from ops.runtime.settings import Settings
from workers.broker import _security
from workers.settings import WorkerSettings


def test_every_connection_comes_back_for_ever_and_promises_nothing_meanwhile() -> None:
    """No limit of attempts, no buffer while away, a name for the server's logs, and a pause that differs."""
    options = [nats_options(Settings(), "a-name", "receiver") for _ in range(20)]
    first = options[0]
    assert (first["max_reconnect_attempts"], first["allow_reconnect"], first["pending_size"]) == (-1, True, -1)
    assert first["name"] == "a-name"
    assert len({one["reconnect_time_wait"] for one in options}) > 1
    assert all(0.1 <= one["reconnect_time_wait"] <= 0.5 for one in options)


def test_each_role_has_inboxes_of_its_own() -> None:
    """The brokers' rights are written for these prefixes; a command is an operator's."""
    assert nats_options(Settings(), "x", "receiver")["inbox_prefix"] == "_INBOX.receiver"
    assert nats_options(Settings(), "x", "worker")["inbox_prefix"] == "_INBOX.worker"
    assert nats_options(Settings(), "x")["inbox_prefix"] == "_INBOX.operator"


def test_a_user_beats_a_token_and_neither_is_needed() -> None:
    """One way to say who we are, never two."""
    both = nats_options(Settings(nats_user="u", nats_password="p", nats_token="t"), "x")
    assert (both["user"], both["password"], "token" in both) == ("u", "p", False)
    assert nats_options(Settings(nats_token="t"), "x")["token"] == "t"
    assert not {"user", "password", "token", "tls"} & set(nats_options(Settings(), "x"))


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, NatsSecurity),
        ({"nats_user": "u", "nats_password": "p"}, NatsUserPassword),
        ({"nats_token": "t"}, NatsToken),
    ],
)
def test_a_worker_says_the_same_through_faststream(settings: dict[str, str], kind: type[NatsSecurity]) -> None:
    """Which wants an object for it."""
    options = nats_options(WorkerSettings(**settings), "x", "worker")
    assert type(_security(options)) is kind
    assert not {"user", "password", "token", "tls"} & set(options)


def test_replicas_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which holds text; other numbers are refused by name."""
    monkeypatch.setenv("AXONPUSH_NATS_REPLICAS", "3")
    assert Settings().nats_replicas == 3
    monkeypatch.setenv("AXONPUSH_NATS_REPLICAS", "2")
    with pytest.raises(ValueError, match="nats_replicas"):
        Settings()


def test_addresses_for_logs_hold_no_password() -> None:
    """A url may carry one."""
    settings = Settings(nats_url="nats://me:secret@one:4222, tls://two:4222")
    assert settings.nats_addresses() == "one:4222, tls://two:4222"
