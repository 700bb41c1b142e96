"""The Sentry envelope grammar, case by case, and by property and mutation."""

from __future__ import annotations

import random
import uuid
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import body as envelope
from schemas.envelope.body import EnvelopeError
from schemas.envelope.header_line import MAX_BRACKETS

ID = "9ec79c33ec9942ab8353589fcb2e04dc"
HEADER = b'{"event_id":"' + ID.encode() + b'"}'

names = st.text(max_size=12)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)
item_headers = st.builds(
    lambda extra, item_type: {**extra, "type": item_type}, st.dictionaries(names, json_values, max_size=5), names
)


def payloads(body: bytes) -> list[tuple[str, bytes]]:
    return [(item.type, bytes(item.payload)) for item in envelope.read(body)[1]]


def refusal(body: bytes) -> EnvelopeError:
    with pytest.raises(EnvelopeError) as caught:
        envelope.read(body)
    return caught.value


# --- the grammar


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(HEADER, [], id="header only"),
        pytest.param(HEADER + b"\n", [], id="header and newline"),
        pytest.param(b"{}", [], id="empty header"),
        pytest.param(b"  {}  \n", [], id="blanks around the header"),
        pytest.param(b"\n\n{}\n", [], id="empty lines before the header"),
        pytest.param(b"{}\r\n", [], id="header ended by CR LF"),
        pytest.param(b'{\n "sdk": {\n }\n}\n{"type":"a"}\nx', [("a", b"x")], id="header over lines"),
        pytest.param(b'{}\n{\n"type":\n"a","length":3\n}\nx\ny', [("a", b"x\ny")], id="item header over lines"),
        pytest.param(b'{}\n{"type":"a","length":3}\nabc\n', [("a", b"abc")], id="length, newline"),
        pytest.param(b'{}\n{"type":"a","length":3}\nabc', [("a", b"abc")], id="length, end"),
        pytest.param(b'{}\n{"type":"a","length":4}\n\n\0\n\n\n', [("a", b"\n\0\n\n")], id="anything within a length"),
        pytest.param(b'{}\n{"type":"a"}\nabc\n', [("a", b"abc")], id="no length, newline"),
        pytest.param(b'{}\n{"type":"a"}\nabc', [("a", b"abc")], id="no length, end"),
        pytest.param(b'{}\n{"type":"a"}\nabc\r\n', [("a", b"abc\r")], id="no length: the CR is payload"),
        pytest.param(b'{}\n{"type":"a","length":0}\n', [("a", b"")], id="length 0, end"),
        pytest.param(b'{}\n{"type":"a","length":0}', [("a", b"")], id="length 0, no newline"),
        pytest.param(b'{}\n{"type":"a","length":0}\n\n', [("a", b"")], id="length 0, empty line"),
        pytest.param(b'{}\n{"type":"a","length":0}\n\n{"type":"b"}\nx', [("a", b""), ("b", b"x")], id="length 0, item"),
        pytest.param(b'{}\n{"type":"a"}', [("a", b"")], id="item header at the end"),
        pytest.param(b'{}\n{"type":"a"}\n\n{"type":"b"}\nx', [("a", b""), ("b", b"x")], id="no length, empty line"),
        pytest.param(b'{}\n\n\n {"type":"a"}\nx', [("a", b"x")], id="blanks before an item header"),
        pytest.param(b'{}\n{"type":"a"} \t\nx', [("a", b"x")], id="blanks after an item header"),
        pytest.param(b'{}\n{"type":"a"}\nx\n\n\n', [("a", b"x")], id="spare newlines at the end"),
        pytest.param(b'{}\r\n{"type":"a","length":1}\r\nx\r\n{"type":"b","length":1}\r\ny\r\n',
                     [("a", b"x"), ("b", b"y")], id="CR LF everywhere, with lengths"),
        pytest.param(b'{}\r\n{"type":"a","length":1}\r\nx\r', [("a", b"x")], id="CR LF cut in two at the end"),
        pytest.param(b'{}\n{"type":"nobody_knows_me"}\nx', [("nobody_knows_me", b"x")], id="unknown type"),
        pytest.param(b'{}\n{"type":""}\nx', [("", b"x")], id="empty type"),
        pytest.param(b'{}\n{"type":"event"}\n{}\n{"type":"event"}\n{}', [("event", b"{}")] * 2, id="two events"),
        pytest.param(b'{}\n{"type":"\\u0061"}\nx', [("a", b"x")], id="escapes in a header"),
        pytest.param(b"\xef\xbb\xbf{}\n", [], id="byte order mark"),
    ],
)  # fmt: skip
def test_valid_envelopes_read_as_the_specification_says(body: bytes, expected: list[tuple[str, bytes]]) -> None:
    """Every accepted form of the grammar gives exactly these items."""
    assert payloads(body) == expected


@pytest.mark.parametrize(
    ("body", "offset", "index", "expected", "found"),
    [
        pytest.param(b"", 0, None, "an envelope header", "an empty body", id="empty"),
        pytest.param(b"\n \r\n", 0, None, "an envelope header", "only blanks", id="blanks"),
        pytest.param(b"hello", 0, None, "JSON object", "b'h'", id="no JSON"),
        pytest.param(b"[]\n", 0, None, "JSON object", "b'['", id="a list"),
        pytest.param(b"null\n", 0, None, "JSON object", "b'n'", id="null"),
        pytest.param(b'{"a":1', 6, None, "closing brace", "end of the body", id="cut header"),
        pytest.param(b'{"a":"1', 7, None, "closing brace", "end of the body", id="cut text"),
        pytest.param(b'{"\xc3\xa4":"\xff"}', 7, None, "JSON", "not UTF-8", id="not UTF-8"),
        pytest.param(b'{"\xc3\xa4": }', 7, None, "JSON", "Expecting value", id="not JSON, offset in bytes"),
        pytest.param(b"{}x\n", 2, None, "newline after the header", "b'x'", id="more after the brace"),
        pytest.param(b'{"event_id":"abc"}', 0, None, "a UUID", "3 characters, 'abc'", id="event_id"),
        pytest.param(b'{"event_id":7}', 0, None, "a text as event_id", "the number 7", id="event_id number"),
        pytest.param(b'{"dsn":{}}', 0, None, "a text as dsn", "an object", id="dsn object"),
        pytest.param(b'{"sent_at":"x","sent_at":"x"}', 0, None, "sent_at at most once", "2 times", id="sent_at twice"),
        pytest.param(b'{"dsn":"x","\\u0064sn":"y"}', 0, None, "dsn at most once", "2 times", id="dsn twice, escaped"),
        pytest.param(b"{}\nhello", 3, 0, "JSON object", "b'h'", id="item header no JSON"),
        pytest.param(b'{}\n{"length":0}', 3, 0, '"type"', "none", id="no type"),
        pytest.param(b'{}\n{"type":null}', 3, 0, '"type"', "null", id="type null"),
        pytest.param(b'{}\n{"type":["a"]}', 3, 0, '"type"', "a list", id="type list"),
        pytest.param(b'{}\n{"type":"a","type":"b"}', 3, 0, "type at most once", "2 times", id="type twice"),
        pytest.param(b'{}\n{"type":"a","length":1,"length":2}\nxx', 3, 0, "length at most once", "2 times",
                     id="length twice"),
        pytest.param(b'{}\n{"type":"a","length":2}\nxyz', 29, 0, "newline after a payload of 2 bytes", "b'z'",
                     id="length too short"),
        pytest.param(b'{}\n{"type":"a","length":1}\nx\r\n', 28, 0, "newline", "b'\\r'", id="CR LF after a LF header"),
        pytest.param(b'{}\n{"type":"a","length":0}\n{"type":"b"}\n', 27, 0, "newline", "b'{'",
                     id="length 0 and the payload there"),
        pytest.param(b'{}\n{"type":"a","length":9}\nxyz', 30, 0, "a payload of 9 bytes", "after 3",
                     id="length past end"),
        pytest.param(b'{}\n{"type":"a"}\nx\n{"type":"b","length":1}', 41, 1, "a payload of 1 bytes", "after 0",
                     id="length, but the end"),
    ],
)  # fmt: skip
def test_broken_envelopes_say_where_and_what(
    body: bytes, offset: int, index: int | None, expected: str, found: str
) -> None:
    """Every refused form names the byte, the item, what was expected and what was found."""
    error = refusal(body)
    assert (error.offset, error.item_index) == (offset, index)
    assert expected in error.expected
    assert found in error.actual
    assert all(part in str(error) for part in (str(offset), error.expected, error.actual, ";"))


@pytest.mark.parametrize(
    "length",
    [b"-1", b"1.0", b"1e0", b"true", b"false", b"null", b'"1"', b"[]", b"{}", b"NaN", b"-Infinity", b"1e999",
     b"18446744073709551615", b"18446744073709551616", b"9" * 5000],
)  # fmt: skip
def test_an_absurd_length_is_an_envelope_error(length: bytes) -> None:
    """Only a whole number that fits the body is a length; nothing else escapes as another exception."""
    error = refusal(b'{}\n{"type":"a","length":' + length + b"}\nx")
    assert error.item_index == 0


@pytest.mark.parametrize(
    "header",
    [b"{" * 200_000, b'{"a":' + b"[" * 5000, b'{"a":' + b"[" * 129 + b"]" * 129 + b"}",
     b'{"a":' + b'{"a":' * 500 + b"1" + b"}" * 501],
)  # fmt: skip
def test_a_deep_header_is_refused(header: bytes) -> None:
    """Nesting beyond what can be written again is refused before any reader recurses."""
    assert "deep" in refusal(header + b"\n").expected
    assert "deep" in refusal(b"{}\n" + header + b"\n").expected


def test_a_header_may_nest_as_deep_as_the_limit() -> None:
    """The limit itself is allowed, and brackets within texts do not count."""
    deep = b'{"a":' + b"[" * 127 + b"]" * 127 + b',"type":"a"}'
    texts = orjson.dumps({"type": "a", "b": "[{" * 500})
    assert payloads(b"{}\n" + deep + b"\n\n" + texts) == [("a", b""), ("a", b"")]


def test_a_header_may_have_as_many_brackets_as_the_limit() -> None:
    """One more is refused: each is a value that somebody keeps in memory."""

    def header(brackets: int) -> bytes:
        return b'{"type":"a","b":[' + b",".join([b"[]"] * (brackets - 2)) + b"]}"

    assert payloads(b"{}\n" + header(MAX_BRACKETS) + b"\n") == [("a", b"")]
    assert str(MAX_BRACKETS) in refusal(b"{}\n" + header(MAX_BRACKETS + 1) + b"\n").expected


@pytest.mark.parametrize("filler", [b"x", b" ", b"\n", b"{", b'\\"', b"\xc3\xa4"])
def test_a_long_header_is_refused(filler: bytes) -> None:
    """A header line has a limit, whatever it is filled with and whether or not it ends."""
    text = b'{"type":"a","b":"' + filler * envelope.MAX_HEADER_BYTES
    for body in (text, text + b'"}', text + b'"}\n', b"{}\n" + text + b'"}\n'):
        assert isinstance(refusal(body), EnvelopeError)


def test_a_header_that_grows_when_written_is_refused() -> None:
    """An item header that passes could be written for the queue and read back there."""
    grows = b'{"type":"a","b":[' + b"1e15," * 3000 + b"1]}"
    fits = b'{"type":"a","b":[' + b"1e15," * 700 + b"1]}"
    assert "written out" in refusal(b"{}\n" + grows + b"\nx").actual
    item = envelope.read(b"{}\n" + fits + b"\nx")[1][0]
    assert envelope.read(envelope.write_single(b"{}", item.header, item.payload))[1][0].payload == b"x"


@pytest.mark.parametrize("more", [0, 1])
def test_a_header_may_be_written_as_long_as_it_may_be_read(more: int) -> None:
    """With the longest length that the queue could write: one byte more is refused."""
    written = b'{"type":"a","b":"","length":1000000000000000000}'
    filler = b"x" * (envelope.MAX_HEADER_BYTES - len(written) + more)
    body = b'{}\n{"type":"a","b":"' + filler + b'"}\nx'
    if more:
        assert "written out" in refusal(body).actual
    else:
        assert payloads(body) == [("a", b"x")]


def test_an_envelope_holds_500_items() -> None:
    """The 501st item is refused and named."""
    items = b'{"type":"session"}\n{}\n' * envelope.MAX_ITEMS
    assert len(envelope.read(b"{}\n" + items)[1]) == 500
    error = refusal(b"{}\n" + items + b'{"type":"session"}\n{}\n')
    assert error.item_index == 500
    assert "500" in error.expected


def test_items_come_before_the_error_behind_them() -> None:
    """Reading is a stream: what was whole before the broken item is there."""
    items = envelope.read_items(b'{}\n{"type":"a"}\nx\nbroken')
    assert next(items).payload == b"x"
    with pytest.raises(EnvelopeError):
        next(items)


def test_payloads_are_views_into_the_body() -> None:
    """No payload is copied."""
    body = b'{}\n{"type":"a","length":3}\nabc\n{"type":"b"}\nde'
    for item in envelope.read_items(body):
        assert isinstance(item.payload, memoryview)
        assert item.payload.obj is body


def test_an_error_never_quotes_the_key() -> None:
    """The header's DSN is a secret, so no error shows header text."""
    for tail in (b"", b"}x", b',"sent_at":}', b',"event_id":[]}', b',"\xff":1}', b',"dsn":""}'):
        assert "secret" not in str(refusal(b'{"dsn":"https://secret@host/1"' + tail))


# --- values of the envelope's header


def test_the_header_gives_its_known_fields() -> None:
    """event_id, dsn, sent_at, sdk and trace are read; the line itself is kept."""
    line = orjson.dumps(
        {
            "event_id": str(uuid.UUID(ID)).upper(),
            "dsn": "https://k@h/1",
            "sent_at": "2026-11-21T10:11:12.123456789Z",
            "sdk": {"name": "n"},
            "trace": {"trace_id": "t"},
            "unknown": 1,
        }
    )
    header = envelope.read_header(line + b"\nnot an item")
    assert header == envelope.EnvelopeHeader(
        event_id=ID,
        dsn="https://k@h/1",
        sent_at="2026-11-21T10:11:12.123456789Z",
        sdk={"name": "n"},
        trace={"trace_id": "t"},
        fields=orjson.loads(line),
        raw=line,
        repairs=(),
    )


@pytest.mark.parametrize(
    "value", ['"yesterday"', "1234567890", '"2026-02-30T00:00:00Z"', '"0001-01-01T00:00:00+23:00"', "{}", '""', "true",
              '"2026-01-01"', '"2026-01-01T00:00:00+99:99"', '"\uff12026-01-01T00:00:00Z"'],
)  # fmt: skip
def test_a_malformed_sent_at_is_ignored_and_noted(value: str) -> None:
    """One bad attribute does not cost the envelope."""
    header = envelope.read_header(f'{{"event_id":"{ID}","sent_at":{value}}}'.encode())
    assert (header.event_id, header.sent_at) == (ID, None)
    assert header.repairs == ("envelope header: sent_at ignored",)


@pytest.mark.parametrize(
    "value", ["2026-01-01T00:00:00Z", "2026-01-01t00:00:00z", "2026-01-01 00:00:00", "2026-01-01T00:00:00.1+0130"]
)
def test_any_rfc_3339_sent_at_is_read(value: str) -> None:
    """Small letters, a space for the T, no zone, any fraction."""
    header = envelope.read_header(orjson.dumps({"sent_at": value}))
    assert header.sent_at == value.upper()
    assert header.repairs == ()


def test_malformed_sdk_and_trace_are_ignored_and_noted() -> None:
    """They are hints; the envelope stands without them."""
    header = envelope.read_header(b'{"sdk":"x","trace":[1],"event_id":null,"dsn":null,"sent_at":null}')
    assert (header.sdk, header.trace, header.event_id, header.dsn, header.sent_at) == (None,) * 5
    assert header.repairs == ("envelope header: sdk ignored", "envelope header: trace ignored")


@pytest.mark.parametrize(
    ("value", "read"),
    [("NaN", None), ("-Infinity", None), ("1e999", None), ('"\\ud800x"', "\ufffdx"), ("9" * 400, None)],
)
def test_values_that_no_json_allows_are_replaced_and_noted(value: str, read: object) -> None:
    """What other readers of JSON write is accepted, never as text or numbers that cannot be written again."""
    header = envelope.read_header(f'{{"sdk":{{"v":{value}}}}}'.encode())
    assert header.sdk == {"v": read}
    assert header.repairs == ("envelope header: not strict JSON",)
    _, [item] = envelope.read(f'{{}}\n{{"type":"a","v":{value}}}\nx'.encode())
    assert item.header == {"type": "a", "v": read}
    assert item.repairs == ("item header: not strict JSON",)


def test_repeated_other_names_keep_the_last() -> None:
    """Only names that change what an envelope means must be single, and only in the header itself."""
    _, [item] = envelope.read(b'{"x":{"dsn":1},"y":{"dsn":2}}\n{"type":"a","b":1,"b":2,"c":{"type":3,"length":4}}\nx')
    assert item.header == {"type": "a", "b": 2, "c": {"type": 3, "length": 4}}


@pytest.mark.parametrize(
    "text", [ID, ID.upper(), str(uuid.UUID(ID)), f"{{{uuid.UUID(ID)}}}", f"urn:uuid:{uuid.UUID(ID)}", f"{{{ID}}}"]
)
def test_any_form_of_uuid_is_an_event_id(text: str) -> None:
    """All give 32 lower-case hex digits."""
    assert envelope.parse_event_id(text) == ID


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ID[:-1],
        ID + "0",
        "g" * 32,
        f" {ID}",
        f"{ID}\n",
        f"{{{ID}",
        f"{ID}}}",
        "-".join(ID),
        "\u0663" * 32,
        "0x" + ID[2:],
    ],
)
def test_anything_else_is_no_event_id(text: str) -> None:
    """No blanks, no half braces, no hyphens in odd places, no digits of other scripts."""
    assert envelope.parse_event_id(text) is None


# --- one-item envelopes


def test_a_single_item_envelope_needs_a_header_of_one_line() -> None:
    """A newline in the header would make its rest an item."""
    with pytest.raises(ValueError, match="one line"):
        envelope.write_single(b'{\n"a":1}', {"type": "a"}, b"x")


def test_a_spread_out_header_is_kept_on_one_line() -> None:
    """The raw header of an item message is fit to be written, whatever its form was."""
    header, _ = envelope.read(b'\xef\xbb\xbf \n{\r\n "event_id":\n"' + ID.encode() + b'"\n} \r\n')
    assert b"\n" not in header.raw
    assert envelope.read_header(envelope.write_single(header.raw, {"type": "a"}, b"")).event_id == ID


@given(header=item_headers, payload=st.binary(max_size=200))
def test_a_written_item_reads_back(header: dict[str, Any], payload: bytes) -> None:
    """Header and payload survive, with the length now explicit."""
    read_header, items = envelope.read(envelope.write_single(HEADER, header, payload))
    assert read_header.raw == HEADER
    assert [(item.type, bytes(item.payload)) for item in items] == [(header["type"], payload)]
    assert items[0].header == {**header, "length": len(payload)}


@given(st.lists(st.tuples(item_headers, st.binary(max_size=60), st.booleans()), max_size=6), st.booleans())
def test_items_are_slices_of_the_body(items: list[tuple[dict[str, Any], bytes, bool]], ends_with_newline: bool) -> None:
    """Every item's payload is the body's bytes at its offset; written one by one, all read back the same."""
    lines = [b"{}"]
    for header, payload, has_length in items:
        explicit = has_length or b"\n" in payload
        plain = {name: value for name, value in header.items() if name != "length"}
        lines += [orjson.dumps({**plain, "length": len(payload)} if explicit else plain), payload]
    body = b"\n".join(lines) + (b"\n" if ends_with_newline else b"")
    found = envelope.read(body)[1]
    assert [bytes(item.payload) for item in found] == [payload for _, payload, _ in items]
    assert [item.index for item in found] == list(range(len(items)))
    for item in found:
        assert body[item.offset : item.offset + len(item.payload)] == item.payload
        [again] = envelope.read_items(envelope.write_single(b"{}", item.header, item.payload))
        assert (again.payload, again.type) == (item.payload, item.type)
        assert again.header == {**item.header, "length": len(item.payload)}


# --- bytes from anywhere


def check_words(error: EnvelopeError, body: bytes) -> None:
    assert 0 <= error.offset <= len(body)
    assert str(error).isprintable()
    assert str(error).isascii()


def survive(body: bytes) -> bool:
    """Read or refused; and what was read can be written. True if it was read."""
    try:
        header, items = envelope.read(body)
    except EnvelopeError as error:
        check_words(error, body)
        return False
    for item in items:
        [again] = envelope.read_items(envelope.write_single(header.raw, item.header, item.payload))
        assert bytes(again.payload) == bytes(item.payload) == body[item.offset : item.offset + len(item.payload)]
        assert again.header == {**item.header, "length": len(item.payload)}
    return True


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_but_envelope_errors(body: bytes) -> None:
    """Any byte string is read or refused."""
    survive(body)


pieces = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b"\\", b"\n", b"\r", b" ", b":", b",", b"0", b"-", b"1e9", b"NaN", b"null", b"\xff",
     b"\0", b"\\ud800", b'"type"', b'"length"', b'"event_id"', b'"sent_at"',
     b'{"type":"a"}', b'{"type":"a","length":1}']
)  # fmt: skip


@given(st.lists(pieces, max_size=40).map(b"".join))
def test_arbitrary_pieces_of_grammar_raise_nothing_but_envelope_errors(body: bytes) -> None:
    """Byte strings that look like envelopes are read or refused."""
    survive(body)
    survive(b"{}\n" + body)
    survive(b'{}\n{"type":"a",' + body)


SEEDS = [
    b'{"event_id":"%s","sent_at":"2026-11-21T10:11:12Z","dsn":"https://k@h/1"}\n{"type":"event","length":9}\n{"a":"b\n"}\n'
    b'{"type":"attachment","length":4,"filename":"a.bin"}\n\0\n\r\xff\n{"type":"session"}\n{"sid":1}\n' % ID.encode(),
    b'{}\r\n{"type":"log","item_count":1,"length":12}\r\n{"items":[]}\n\r\n{"type":"a"}\r\nx\r\n\n',
    b'{\n"sdk":{"name":"\\ud83d\\ude00"}}\n{"type":"a","x":[1.5e3,NaN]}\n\n{"type":"b","length":0}\n\n',
]
SPLICES = [b"\n", b"\r\n", b"{", b"}", b'"', b"\\", b"0", b"9", b"-", b"[", b"\xef\xbb\xbf", b"\0", b"\\udfff",
           b"Infinity",
           b'"length":1,', b'"type":"a",']  # fmt: skip


def mutated(rng: random.Random) -> bytes:
    body = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randint(1, 2)):
        at, size = rng.randrange(len(body) + 1), rng.choice((0, 0, 1, 1, 2, 8))
        with_bytes = rng.choice((b"", bytes([rng.randrange(256)]), rng.choice(SPLICES), body[at : at + 20]))
        body[at : at + size] = with_bytes
    return bytes(body)


def test_20000_mutated_envelopes_raise_nothing_but_envelope_errors() -> None:
    """A seeded run of small damages: each is read or refused, and both happen often."""
    rng = random.Random(20261121)
    read = sum(survive(mutated(rng)) for _ in range(20_000))
    assert 2_000 < read < 18_000
