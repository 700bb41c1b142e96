"""An envelope's first line is read once by a receiver; the short way to read it says what the long one says."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.endpoints import envelope
from schemas.envelope.body import MAX_HEADER_BYTES, EnvelopeError, Identity, read_identity
from tests.unit.receiver.test_app import SECRET, Client, auth

ID = "c0ffee00" * 4
TEXT = st.one_of(
    st.sampled_from(["", "x", "event_id", "dsn", "sent_at", "a b{}[]:,", 'q"\\', "\u00e4"]), st.text(max_size=5)
)
FLAT = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(
    lambda pairs: "{" + ",".join(f'"{name}":"{value}"' for name, value in pairs) + "}"
)
NAMES = st.sampled_from(["sent_at", "sdk", "trace", "dsn", "event_id"])
MEMBERS = st.lists(st.tuples(NAMES, st.one_of(TEXT.map(lambda text: f'"{text}"'), FLAT, st.just("1"))), max_size=4)
HEADERS = st.builds(
    lambda identifier, members, comma, end: (
        "{" + comma.join([f'"event_id":"{identifier}"', *(f'"{name}": {value}' for name, value in members)]) + "}" + end
    ),
    st.sampled_from([ID, ID.upper(), ID[1:], "", f"{ID}0"]),
    MEMBERS,
    st.sampled_from([",", ", ", ",  "]),
    st.sampled_from(["\n", "\r\n", " \n", ""]),
)


def the_long_way(body: bytes) -> tuple[Identity | None, str]:
    try:
        return read_identity(body), ""
    except EnvelopeError as error:
        return None, str(error)


@given(HEADERS)
@example(f'{{"event_id":"{ID}","sent_at":"a","sent_at":"b"}}\n')
@example(f'{{"event_id":"{ID}","sdk":{{"event_id":"{ID}"}}}}\n')
@example(f'{{"event_id":"{ID}","sdk":{{"name":"{"x" * MAX_HEADER_BYTES}"}}}}\n')
def test_both_ways_agree(header: str) -> None:
    """Whatever the header: the same id, the same DSN, the same error."""
    body = header.encode(errors="surrogatepass") + b'{"type":"event"}\n{}'
    assert envelope._identity(body) == the_long_way(body)


@pytest.mark.parametrize("tunnelled", [False, True])
@pytest.mark.parametrize("end", [b'\n{"type":"event"}\n{}', b"\n"])
def test_a_request_has_its_first_line_read_once(
    monkeypatch: pytest.MonkeyPatch, end: bytes, *, tunnelled: bool
) -> None:
    """What a tunnel's credential was read from is not read again for the answer's id."""
    lines: list[bytes] = []

    def counted(head: bytes) -> Identity:
        lines.append(head)
        return read_identity(head)

    monkeypatch.setattr(envelope, "read_identity", counted)
    client = Client()
    body = b'{"dsn":"https://%s@host/42","event_id":"%s"}' % (SECRET.encode(), ID.encode()) + end
    answer = client.post("/api/42/envelope/", body, **({} if tunnelled else {"x_sentry_auth": auth()}))
    assert (answer.status, answer.json["id"]) == (200, ID)
    assert lines == [body]


def test_headers_as_sdks_write_them_go_the_short_way() -> None:
    """With and without blanks, with what sent it and its trace; any other is not harmed by going the long way."""
    sdk, trace = '{"name": "sentry.python", "version": "2.75.0"}', '{"trace_id":"1","public_key":"2"}'
    for header in (
        f'{{"event_id":"{ID}"}}\n',
        f'{{"event_id":"{ID}","sent_at":"2026-11-21T20:17:33.624138Z"}}\n',
        f'{{"event_id": "{ID}", "sent_at": "2026-11-21T20:17:33Z", "sdk": {sdk}, "trace": {trace}}}\n',
        f'{{"event_id":"{ID}","trace":{trace},"sent_at":"2026-11-21T20:17:33Z"}}\n',
    ):
        assert re.match(envelope._USUAL_HEADER, header.encode())
