"""Which bodies a replay means, how one goes out again, and how people write times."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ops.cli.times import parse_time
from ops.replay.control import Choice
from ops.replay.outdated import generation_of, message_of
from ops.replay.reprocess import reprocessed
from ops.replay.run import filters, item_types
from ops.runtime.failures import Failed
from ops.runtime.stream_reader import StoredMessage
from schemas import headers
from schemas.subjects import ROUTES
from tests.unit.worker_fakes import Bench, origin
from workers.consume.message import Dead
from workers.store.dead_letters import dead_headers

NOW = dt.datetime(2026, 11, 21, 14, 0, tzinfo=dt.UTC)
SENTRY = [route for route in ROUTES if route.startswith("sentry.")]


def choice(**fields: object) -> Choice:
    return Choice(since=NOW, until=NOW, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "subjects"),
    [
        (choice(), []),
        (choice(channels=[7]), [f"raw.{route}.7" for route in ROUTES]),
        (choice(routes=["otlp.logs"]), ["raw.otlp.logs.*"]),
        (choice(types=["otlp_span"]), ["raw.otlp.traces.*"]),
        (choice(types=["log"]), [f"raw.{route}.*" for route in SENTRY]),
        (choice(types=["log"], routes=["sentry.envelope", "otlp.logs"], channels=[1, 2]),
         ["raw.sentry.envelope.1", "raw.sentry.envelope.2"]),
    ],
)  # fmt: skip
def test_a_choice_is_a_list_of_subjects(wanted: Choice, subjects: list[str]) -> None:
    """The broker selects; nothing is read in vain."""
    assert filters(wanted) == subjects


def test_a_choice_that_means_nothing_says_so() -> None:
    """OTLP bodies hold no Sentry logs."""
    with pytest.raises(Failed, match="expected routes that carry log, found otlp"):
        filters(choice(types=["log"], routes=["otlp.logs"]))


def test_item_types_are_told_to_unpack_alone() -> None:
    """A worker that reads bodies itself needs no selection; asking for unpack asks for all."""
    assert item_types(choice(types=["log", "otlp_log"])) == ("log",)
    assert item_types(choice(types=["log", "unpack"])) == ()


def test_a_body_goes_out_with_its_own_identity() -> None:
    """Id, sequence and time of arrival are the first ones; a reply, a condition, a dead letter's words stay behind."""
    told = headers.write(origin(wants_sync=True), "raw-9") | {"Nats-Expected-Stream": "RAW"}
    sent = reprocessed(StoredMessage(41, "raw.sentry.envelope.7", told, b"body", 4, 0), 3, types=("log",))
    back = headers.read(sent.headers, stream_seq=1)
    assert (back.origin_id, back.origin_seq, back.replay_generation) == ("raw-9", 41, 3)
    assert back.received_at_ns == origin().received_at_ns
    assert (back.counts_to, back.wants_sync) == ("", False)
    assert sent.headers[headers.REPLAY_TYPES] == "log"
    assert [name for name in sent.headers if name.startswith("Nats-")] == [headers.MESSAGE_ID]


def test_a_dead_item_goes_out_as_the_item_it_was() -> None:
    """From the message's headers alone; it knows which processing died."""
    item = headers.for_item(headers.write(origin(), "raw-9"), origin(origin_id="raw-9", origin_seq=41), 2)
    message = Bench().message(subject="item.event.7", headers=item | {headers.REPLAY_GENERATION: "1"})
    stored_dead = StoredMessage(
        5, "dead.event.event.7", dead_headers(message, "event", Dead("poison", "six times")), b"{}", 2, 0
    )
    assert message_of(stored_dead) == (7, "event", 41, 2)
    assert generation_of(stored_dead) == 1
    sent = reprocessed(stored_dead, 8, subject=stored_dead.headers["Origin-Subject"])
    back = headers.read(sent.headers, stream_seq=1)
    assert (sent.subject, back.origin_seq, back.item_index, back.replay_generation) == ("item.event.7", 41, 2, 8)
    assert not {"Dead-Reason", "Dead-Stage", "Dead-Error", "Origin-Subject"} & set(sent.headers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("90m", NOW - dt.timedelta(minutes=90)),
        ("7d ago", NOW - dt.timedelta(days=7)),
        ("2026-11-20", dt.datetime(2026, 11, 20, tzinfo=dt.UTC)),
        ("2026-11-20T12:00:00Z", dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)),
        ("2026-11-20T12:00:00+02:00", dt.datetime(2026, 11, 20, 10, tzinfo=dt.UTC)),
    ],
)
def test_times_as_people_write_them(text: str, expected: dt.datetime) -> None:
    """Ago, a day, or ISO 8601 with or without a zone; without one it is UTC."""
    assert parse_time(text, NOW) == expected


@example("0001-01-01T00:00:00+05:00")
@example("999999999w")
@given(st.text(max_size=30) | st.from_regex(r"\d{1,12}\s?[smhdwy]", fullmatch=True))
def test_any_text_is_a_time_or_an_error_with_examples(text: str) -> None:
    """Never anything else, and always with a zone."""
    try:
        found = parse_time(text, NOW)
    except ValueError as error:
        told = str(error)
    else:
        told = "expected a time like" if found.tzinfo else "no zone"
    assert told.startswith("expected a time like")
