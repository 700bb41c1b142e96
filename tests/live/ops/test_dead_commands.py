"""`axonpush dead …`: what died can be seen, brought back to life, or given up; the reconciliation knows of each."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.polling import eventually
from tests.system import System
from tests.traffic import Sender, account, settled

pytestmark = pytest.mark.live

ROWS = "SELECT toString(event_id) AS id, body, source_seq FROM events WHERE channel_id = {channel:UInt64} ORDER BY body"
DEAD = "SELECT dead_seq, reason FROM dead_letters WHERE channel_id = {channel:UInt64}"


@contextmanager
def refusing(system: System, text: str) -> Iterator[None]:
    """A fault to be mended: meanwhile ClickHouse cannot take rows whose body has `text` in it."""
    rule = f"toUInt8(if(position(body, '{text}') > 0, 'no number', '0'))"
    system.query_only(f"ALTER TABLE event_rows ADD COLUMN trap UInt8 DEFAULT {rule}")
    try:
        yield
    finally:
        system.query_only("ALTER TABLE event_rows DROP COLUMN trap")


def listed(sender: Sender, *arguments: str) -> list[dict[str, Any]]:
    """`dead list` of the sender's channel."""
    done = sender.system.cli("dead", "list", "--channel", str(sender.channel), "--json", *arguments)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def totals(sender: Sender) -> dict[str, int]:
    """The channel's account, with everything done."""
    return account(settled(sender.system), sender.channel)


def in_sql(sender: Sender) -> list[dict[str, Any]]:
    """What the view dead_letters shows of the channel."""
    return sender.system.query(DEAD, channel=sender.channel)


def test_a_retry_after_the_fault_is_mended_makes_the_row(sender: Sender) -> None:
    """With its own id; the dead letter is gone from stream and view, the outcome is withdrawn, nothing else changes."""
    event_id = uuid.uuid4().hex
    with refusing(sender.system, "poison"):
        assert sender.event("good") == 200
        assert sender.event("a poison", event_id) == 200
        found = eventually(lambda: listed(sender), "the dead letter")
        assert [(one["stage"], one["type"], one["channel"]) for one in found] == [("event", "event", sender.channel)]
        before = totals(sender)
        assert (before["rows"], before["dead"], before["difference"]) == (1, 1, 0)
        eventually(lambda: in_sql(sender), "the dead letter in SQL")
    done = json.loads(sender.system.cli("dead", "retry", str(found[0]["number"]), "--json").stdout)
    assert done["retried"] == 1
    after = totals(sender)
    assert after == before | {"rows": 2, "dead": 0}
    rows = sender.system.query(ROWS, channel=sender.channel)
    assert (rows[0]["id"].replace("-", ""), rows[0]["body"]) == (event_id, "a poison")
    assert rows[0]["source_seq"] == found[0]["origin_seq"]
    assert listed(sender) == []
    assert in_sql(sender) == []


def test_a_retry_of_an_invalid_message_fails_again_once(sender: Sender) -> None:
    """A broken body stays one letter, one outcome, one row of dead_letters, however often it is tried."""
    assert sender.envelope(b'{}\n{"type":"event","length":99}\nx') == 400
    (first,) = eventually(lambda: listed(sender), "the dead letter")
    before = totals(sender)
    for _ in range(2):
        sender.system.cli("dead", "retry", "--channel", str(sender.channel))
        settled(sender.system)
    (last,) = eventually(lambda: listed(sender), "the dead letter again")
    assert last["number"] > first["number"]
    assert {**last, "number": 0, "deliveries": 0} == {**first, "number": 0, "deliveries": 0}
    assert totals(sender) == before
    assert [row["dead_seq"] for row in in_sql(sender)] == [last["number"]]


def test_a_retry_of_a_partly_refused_body_adds_the_refused_row(sender: Sender) -> None:
    """Good rows of it were stored all the time; the retry adds the one that was refused."""
    trace = uuid.uuid4().hex
    rule = "toUInt8(if(name = 'bad span', 'no number', '0'))"
    sender.system.query_only(f"ALTER TABLE event_rows ADD COLUMN trap UInt8 DEFAULT {rule}")
    try:
        spans = [{"spanId": f"{n:016x}", "name": "bad span" if n == 2 else "good"} for n in range(1, 4)]
        assert sender.spans(*spans, trace_id=trace) == 200
        eventually(lambda: listed(sender), "the dead letter")
        before = totals(sender)
    finally:
        sender.system.query_only("ALTER TABLE event_rows DROP COLUMN trap")
    assert (before["received"], before["rows"], before["dead"]) == (3, 2, 1)
    sender.system.cli("dead", "retry", "--type", "otlp_traces", "--channel", str(sender.channel))
    after = totals(sender)
    assert (after["received"], after["rows"], after["dead"], after["difference"]) == (3, 3, 0, 0)


def test_a_drop_is_counted_as_dropped(sender: Sender) -> None:
    """Only with --yes where nobody can be asked; then the dead letter is gone and the reconciliation names it."""
    trace = uuid.uuid4().hex
    rule = "toUInt8(if(name = 'bad span', 'no number', '0'))"
    sender.system.query_only(f"ALTER TABLE event_rows ADD COLUMN trap UInt8 DEFAULT {rule}")
    try:
        assert sender.spans({"spanId": "1" * 16}, {"spanId": "2" * 16, "name": "bad span"}, trace_id=trace) == 200
        (message,) = eventually(lambda: listed(sender), "the dead letter")
        before = totals(sender)
    finally:
        sender.system.query_only("ALTER TABLE event_rows DROP COLUMN trap")
    refused = sender.system.cli("dead", "drop", str(message["number"]), check=False)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert len(listed(sender)) == 1
    sender.system.cli("dead", "drop", str(message["number"]), "--yes")
    assert listed(sender) == []
    assert in_sql(sender) == []
    assert totals(sender) == before | {"dead": 0, "dropped": 1}
    dropped = "SELECT reason, quantity FROM outcomes WHERE channel_id = {channel:UInt64} AND outcome = 'dropped'"
    assert sender.system.query(dropped, channel=sender.channel) == [
        {"reason": f"dead_dropped:{message['reason']}", "quantity": 1}
    ]
    again = sender.system.cli("replay", "--since", "1h", "--channel", str(sender.channel), "--dry-run", "--json")
    assert json.loads(again.stdout)["dropped_dead_letters"] == 1


def test_messages_are_found_and_shown(sender: Sender) -> None:
    """Filters narrow the list; `show` gives headers and bytes, keys masked; --raw gives what came."""
    body = b'{}\n{"type":"event","length":99}\npt_%s' % (b"a" * 32)
    assert sender.envelope(body) == 400
    (message,) = eventually(lambda: listed(sender), "the dead letter")
    number = str(message["number"])
    assert listed(sender, "--reason", "invalid", "--stage", "unpack", "--since", "1h") == [message]
    assert listed(sender, "--reason", "poison") == []
    assert listed(sender, "--until", "1h") == []
    shown = sender.system.cli("dead", "show", number).stdout
    assert "Dead-Reason" in shown
    assert "pt_[key]" in shown
    assert "a" * 32 not in shown
    assert sender.system.cli("dead", "show", number, "--raw").stdout.encode() == body
    assert number in sender.system.cli("dead", "list").stdout
    for command in (("retry",), ("drop", "--yes")):
        wrong = sender.system.cli("dead", *command, number, "999999999", check=False)
        assert (wrong.returncode, "Nothing was changed" in wrong.stderr) == (1, True)
        assert listed(sender) == [message]
    missing = sender.system.cli("dead", "show", "999999999", check=False)
    assert missing.returncode == 1
    assert "dead list" in missing.stderr


def test_nothing_is_chosen_by_leaving_everything_out(operated: System) -> None:
    """`retry` and `drop` without a number or a filter are bad usage; a number nobody has is a failure."""
    for command in ("retry", "drop"):
        assert operated.cli("dead", command, check=False).returncode == 2
        assert (
            operated.cli(
                "dead", command, "999999999", "--yes" if command == "drop" else "--json", check=False
            ).returncode
            == 1
        )
