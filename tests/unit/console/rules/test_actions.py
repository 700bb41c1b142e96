"""Actions of a rule: what is stored, what is shown, and where secrets go."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from console.alerts.state import Firing
from console.alerts.states import deliveries_of
from console.api.errors import ApiError
from console.rules.actions import ActionReader, kind_of, read_url, short_url, stored_action
from tests.unit.console.alerts.world import rule_row

SECRET_URL = "https://hooks.slack.com/services/T0/B0/secretpart"


def reader(*kept: dict[str, Any]) -> ActionReader:
    ids = iter(UUID(int=number) for number in range(1, 100))
    return ActionReader(lambda: next(ids), {one["uuid"]: one for one in kept})


def test_the_address_of_a_webhook_is_kept_apart() -> None:
    """The rule has a shortened one; the secret is made and shown once."""
    made = reader()
    (slack, hook) = made.read(
        [{"type": "slack", "url": SECRET_URL}, {"type": "webhook", "url": "https://a.test/b?key=hidden"}], "actions"
    )
    assert "secretpart" not in str(slack)
    assert "hidden" not in str(hook)
    assert (slack["url"], hook["url"]) == ("https://hooks.slack.com/…", "https://a.test/b?…")
    assert made.stored[f"{slack['uuid']}.url"] == SECRET_URL
    assert made.stored[f"{hook['uuid']}.key"] == made.shown_once[hook["uuid"]]
    assert hook["secretSet"] is True
    assert "secret" not in hook


@pytest.mark.parametrize(
    ("addresses", "receivers"),
    [
        (["https://hooks.slack.com/services/T0/ops", "https://hooks.slack.com/services/T0/management"], 2),
        (["https://hooks.slack.com/services/T0/ops", "https://hooks.slack.com/services/T0/ops"], 1),
    ],
)
def test_channels_with_the_same_short_address_are_two_receivers(addresses: list[str], receivers: int) -> None:
    """A metric rule tells each receiver once: two channels are two, one channel of two triggers is one."""
    parts = [{"type": "slack", "url": address} for address in addresses]
    stored = reader().read(parts, "actions")
    again = reader(*stored).read(stored, "actions")
    for actions in (stored, again):
        firing = Firing("f", 1, "firing", "critical", "metric", 1, "t", "m", "/")
        told = deliveries_of(firing, ("critical", "warning"), [stored_action(part) for part in actions], 1)
        assert len(told) == receivers
        assert SECRET_URL.rpartition("/")[0] not in str(actions)


def test_addresses_of_an_earlier_version_are_never_one() -> None:
    """Of them only the short form is known."""
    stored = [{"type": "slack", "url": "https://hooks.slack.com/…", "uuid": str(number)} for number in range(2)]
    firing = Firing("f", 1, "firing", "critical", "metric", 1, "t", "m", "/")
    assert len(deliveries_of(firing, ("critical",), [stored_action(part) for part in stored], 1)) == 2


def test_what_is_not_said_again_stays() -> None:
    """A rule that is saved with the shortened address keeps the whole one, and the secret."""
    first = reader()
    (stored,) = first.read([{"type": "webhook", "url": "https://a.test/b?key=1"}], "actions")
    second = reader(stored)
    (again,) = second.read([stored], "actions")
    assert again["uuid"] == stored["uuid"]
    assert (second.stored, second.shown_once) == ({}, {})


def test_another_address_has_another_uuid_and_another_secret() -> None:
    """Until the rule is stored, the old one tells the old address; nobody gets bodies signed for somebody else."""
    first = reader()
    (stored,) = first.read([{"type": "webhook", "url": "https://a.test/b?key=1"}], "actions")
    second = ActionReader(lambda: UUID(int=77), {stored["uuid"]: stored})
    (changed,) = second.read([{**stored, "url": "https://c.test/"}], "actions")
    assert changed["uuid"] != stored["uuid"]
    assert second.stored[f"{changed['uuid']}.url"] == "https://c.test/"
    assert second.stored[f"{changed['uuid']}.key"] == second.shown_once[changed["uuid"]]
    assert second.shown_once[changed["uuid"]] != first.shown_once[stored["uuid"]]
    assert not any(name.startswith(stored["uuid"]) for name in second.stored)
    action = stored_action(changed)
    assert action.is_of(stored["uuid"]), "messages that wait go to the new address"
    (other,) = reader(changed).read([{**changed, "replaces": ["f" * 32]}], "actions")
    assert other["replaces"] == [stored["uuid"]], "a request does not say whose messages these are"
    assert not action.is_of("f" * 32)


def test_the_uuid_of_another_rule_is_not_taken_over() -> None:
    """It would send to the addresses of somebody else."""
    made = reader()
    with pytest.raises(ApiError, match="url: expected an address"):
        made.read([{"type": "webhook", "uuid": "f" * 32}], "actions")
    (action,) = made.read([{"type": "webhook", "uuid": "f" * 32, "url": "https://a.test"}], "actions")
    assert action["uuid"] != "f" * 32


def test_emails_of_sentry_and_of_ours() -> None:
    """With addresses, with one in targetIdentifier, and with those of the settings."""
    made = reader().read(
        [
            {"id": "sentry.mail.actions.NotifyEmailAction", "targetType": "IssueOwners"},
            {"type": "email", "targetType": "specific", "targetIdentifier": "a@b.test"},
            {"type": "email", "to": ["a@b.test", "c@d.test", "a@b.test"]},
            {"type": "email", "to": "a@b.test"},
        ],
        "actions",
    )
    assert [one["to"] for one in made] == [[], ["a@b.test"], ["a@b.test", "c@d.test"], ["a@b.test"]]
    assert made[0]["id"] == "sentry.mail.actions.NotifyEmailAction"
    assert stored_action(made[0]).target == "the addresses of the settings"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "pager"}, "expected an action that can be done here: webhook"),
        ({"id": "sentry.integrations.slack.notify_action.SlackNotifyServiceAction"}, "expected an action that can be"),
        ({}, "found 'none'"),
        ({"type": "webhook"}, "url: expected an address"),
        ({"type": "webhook", "url": "ftp://a.test"}, "url: expected https://host/path"),
        ({"type": "webhook", "url": "https://"}, "url: expected https://host/path"),
        ({"type": "webhook", "url": "https://user:pw@a.test"}, "without user and password"),
        ({"type": "webhook", "url": "https://a.test/\r\nX: y"}, "without blanks"),
        ({"type": "webhook", "url": "https://a.test:99999"}, "url: expected https://host/path"),
        ({"type": "webhook", "url": "https://a.test", "secret": "short"}, "secret: expected a text of 16"),
        ({"type": "webhook", "url": "https://a..test/x"}, "url: expected a host name"),
        ({"type": "slack", "url": f"https://{'a' * 64}.test/x"}, "url: expected a host name"),
        ({"type": "email", "to": "=?utf-8?q?x=0A?=@b.test"}, "to: expected addresses like"),
        ({"type": "email", "to": "no address"}, "to: expected addresses like"),
        ({"type": "email", "to": ["a@b.test\r\nBcc: x@y.test"]}, "to: expected addresses like"),
        ({"type": "email", "to": ["a@b.test"] * 21}, "to: expected a list of at most 20"),
    ],
)
def test_a_wrong_action_is_refused(part: dict[str, Any], expected: str) -> None:
    """With what would be understood; an address is never quoted."""
    with pytest.raises(ApiError) as refused:
        reader().read([part], "actions")
    assert expected in refused.value.detail
    assert "pw@" not in refused.value.detail


@pytest.mark.parametrize("other", [5, True, {"a": 1}, [1], "a@b.test"])
def test_receivers_of_a_webhook_are_not_kept(other: object) -> None:
    """And a stored action that has some, of an older version, can still be shown."""
    (action,) = reader().read([{"type": "webhook", "url": "https://a.test/x", "to": other}], "actions")
    assert "to" not in action
    assert stored_action(action | {"to": other}).to == ()


def test_short_addresses() -> None:
    """Slack's path is its password."""
    assert short_url("https://a.test:8443/x/y", "webhook") == "https://a.test:8443/x/y"
    assert short_url("https://a.test/x#f", "webhook") == "https://a.test/x?…"
    assert short_url(SECRET_URL, "slack") == "https://hooks.slack.com/…"
    assert read_url(SECRET_URL, "url") == SECRET_URL


def test_a_stored_action_of_an_older_version() -> None:
    """Before actions had ids: an e-mail goes on, what cannot be done says so."""
    assert kind_of({"id": "x"}) is None
    assert stored_action({"id": "sentry.mail.actions.NotifyEmailAction"}).kind == "email"
    with pytest.raises(ApiError, match="can be done here"):
        stored_action({"id": "sentry.rules.actions.notify_event.NotifyEventAction"})
    assert rule_row("issue", 1, 1.0)["kind"] == "issue"
