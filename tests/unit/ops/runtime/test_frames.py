"""Messages as bytes: exactly those nats-py would have sent, whatever stands in a header."""

from __future__ import annotations

import asyncio

import nats.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from ops.runtime import frames
from ops.runtime.frames import Block
from schemas import headers

NAMES = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=20)
# Blanks that strip() knows, everything that ends a line anywhere, and any other character.
VALUES = st.text(st.one_of(st.sampled_from(" \t\r\n\x0b\x0c\x1c\x85\xa0\u2028"), st.characters(codec="utf-8")))
SUBJECTS = st.text("abz.09-_$*", min_size=1, max_size=30)


def sent_by_nats(subject: str, body: bytes, fields: dict[str, str]) -> bytes:
    """What nats-py's own client leaves to be flushed."""
    client = Client()
    asyncio.run(client._send_publish(subject, "", body, len(body), fields))
    return b"".join(client._pending)


@given(SUBJECTS, st.binary(max_size=300), st.dictionaries(NAMES, VALUES, max_size=6))
def test_the_bytes_are_those_of_nats_py(subject: str, body: bytes, fields: dict[str, str]) -> None:
    """Byte for byte, so every reader sees what it saw before."""
    ours = frames.frame(subject, body, frames.lines(fields)) + body + b"\r\n"
    assert ours == sent_by_nats(subject, body, fields)


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=6))
def test_no_value_begins_another_line(fields: dict[str, str]) -> None:
    """As many lines as headers: nobody can write one of the broker's own."""
    lines = frames.lines(fields)
    assert lines.count(b"\n") == lines.count(b"\r") == lines.count(b"\r\n") == len(fields)


@given(VALUES, VALUES, VALUES, VALUES)
def test_what_senders_say_comes_out_as_before(agent: str, client: str, resource: str, query: str) -> None:
    """The headers the receiver makes of them, shared and own lines together."""
    origin = headers.Origin(
        "o", 1, "k", "e", False, 2, user_agent=agent, sentry_client=client, resource=resource, query=query
    )
    fields = headers.write(origin, "id")
    names = list(fields)
    shared, own = Block({name: fields[name] for name in names[2:]}), {name: fields[name] for name in names[:2]}
    ours = frames.frame("raw.x.1", b"x", shared.lines + frames.lines(own)) + b"x\r\n"
    assert ours == sent_by_nats("raw.x.1", b"x", {**shared.fields, **own})


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "\u00e4", " a"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    """It would be read as another header, or as the end of them."""
    with pytest.raises(nats.errors.BadHeaderError):
        frames.lines({name: "x"})


@pytest.mark.parametrize("subject", ["", "a b", "a\tb", "a\r\nPING", "a\nb"])
def test_a_subject_that_is_none_is_refused(subject: str) -> None:
    """It would be read as another command."""
    with pytest.raises(nats.errors.BadSubjectError):
        frames.frame(subject, b"", b"")


def test_without_a_connection_there_is_nothing_to_write_to() -> None:
    """Then nats-py's own publish says what is wrong."""
    assert not frames.can_write(Client())
