"""How much one OTLP body may hold: counted, refused as a whole where it is too much, and said so. Nothing is timed."""

from __future__ import annotations

import pytest

from schemas.otlp import json_body, protobuf_wire, records
from schemas.otlp.http_bodies import OtlpError, read_logs, read_traces
from schemas.otlp.protobuf_wire import length_field
from schemas.otlp.records import TooMany
from tests.unit.otlp_encoding import JSON, json_logs, span
from workers.normalise.otlp.body import normalise_spans
from workers.normalise.verdict import Invalid

MAX_RECORDS = 200
MAX_BLOCKS = 100
MAX_PARTS = 1000
MAX_FIELDS = 1000


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousandth of the real limits: the counting is the same, and bodies stay small."""
    monkeypatch.setattr(records, "MAX_RECORDS", MAX_RECORDS)
    monkeypatch.setattr(records, "MAX_BLOCKS", MAX_BLOCKS)
    monkeypatch.setattr(records, "MAX_PARTS", MAX_PARTS)
    monkeypatch.setattr(json_body, "MAX_PARTS", MAX_PARTS)
    monkeypatch.setattr(protobuf_wire, "MAX_FIELDS", MAX_FIELDS)


def _json_spans(*, resources: str = "", scopes: str = "", spans: str = "", attributes: str = "") -> bytes:
    """OTLP/JSON text with one of its lists given as text."""
    if not resources:
        scopes = scopes or f'{{"spans":[{spans or "{}"}]}}'
        resources = f'{{"resource":{{"attributes":[{attributes}]}},"scopeSpans":[{scopes}]}}'
    return f'{{"resourceSpans":[{resources}]}}'.encode()


def _list(item: str, count: int) -> str:
    return ",".join([item] * count)


@pytest.mark.parametrize("item", ["{}", "1"])
def test_records_of_one_json_body_are_limited(item: str) -> None:
    """MAX_RECORDS pass and are counted, one more is refused as a whole."""
    assert len(read_traces(_json_spans(spans=_list(item, MAX_RECORDS)), "json").records()) == MAX_RECORDS
    with pytest.raises(TooMany, match=f"expected at most {MAX_RECORDS} records"):
        read_traces(_json_spans(spans=_list(item, MAX_RECORDS + 1)), "json")


@pytest.mark.parametrize("item", ["{}", "1"])
def test_resources_and_scopes_of_one_json_body_are_limited(item: str) -> None:
    """Together: they cost five times what a record does."""
    assert (
        len(read_traces(_json_spans(scopes=_list(item, MAX_BLOCKS - 1)), "json").resources[0].scopes) == MAX_BLOCKS - 1
    )
    for body in (_json_spans(scopes=_list(item, MAX_BLOCKS)), _json_spans(resources=_list(item, MAX_BLOCKS + 1))):
        with pytest.raises(TooMany, match=f"expected at most {MAX_BLOCKS} resources and scopes"):
            read_traces(body, "json")


@pytest.mark.parametrize("place", ["attributes", "events", "links", "list"])
def test_parts_of_one_json_body_are_limited(place: str) -> None:
    """Objects are counted, and braces inside of text are none."""
    flood = _list("{}", MAX_PARTS)
    body = {
        "attributes": _json_spans(attributes=flood),
        "events": _json_spans(spans=f'{{"events":[{flood}]}}'),
        "links": _json_spans(spans=f'{{"links":[{flood}]}}'),
        "list": _json_spans(attributes=f'{{"key":"k","value":{{"arrayValue":{{"values":[{flood}]}}}}}}'),
    }[place]
    with pytest.raises(TooMany, match=f"expected at most {MAX_PARTS} events"):
        read_traces(body, "json")
    text = json_logs({"body": {"stringValue": "{" * (MAX_PARTS + 1)}})
    assert len(read_logs(text, "json").records()) == 1


def _nested(content: bytes, *numbers: int) -> bytes:
    for number in numbers:
        content = length_field(number, content)
    return content


def test_records_and_blocks_of_one_protobuf_body_are_limited() -> None:
    """The same limits as in JSON."""
    flood = b"\x12\x00"
    assert len(read_logs(_nested(flood * MAX_RECORDS, 2, 1), "protobuf").records()) == MAX_RECORDS
    with pytest.raises(TooMany, match=f"at most {MAX_RECORDS} records"):
        read_logs(_nested(flood * (MAX_RECORDS + 1), 2, 1), "protobuf")
    assert len(read_traces(_nested(flood * (MAX_BLOCKS - 1), 1), "protobuf").resources[0].scopes) == MAX_BLOCKS - 1
    for body in (_nested(flood * MAX_BLOCKS, 1), b"\x0a\x00" * (MAX_BLOCKS + 1)):
        with pytest.raises(TooMany, match=f"at most {MAX_BLOCKS} resources and scopes"):
            read_traces(body, "protobuf")


@pytest.mark.parametrize(
    ("unit", "numbers"),
    [
        (b"\x5a\x00", (2, 2, 1)),  # events
        (b"\x6a\x00", (2, 2, 1)),  # links
        (b"\x0a\x00", (1, 1)),  # attributes of a resource
        (b"\x4a\x03\x0a\x01\xff", (2, 2, 1)),  # attributes whose text has to be mended
    ],
)
def test_parts_of_one_protobuf_body_are_limited(unit: bytes, numbers: tuple[int, ...]) -> None:
    """Spread over many messages or in one."""
    half = _nested(unit * (MAX_PARTS // 2), *numbers)
    with pytest.raises(TooMany, match=f"at most {MAX_PARTS} events"):
        read_traces(half * 3, "protobuf")


def test_items_of_one_protobuf_body_are_limited() -> None:
    """Lists and maps inside of values count as well."""
    for number in (5, 6):
        items = _nested(b"\x0a\x00" * (MAX_PARTS // 2), number, 2)
        several = b"".join(length_field(9, length_field(1, key) + items) for key in (b"a", b"b", b"c"))
        with pytest.raises(TooMany, match=f"at most {MAX_PARTS} events"):
            read_traces(_nested(several, 2, 2, 1), "protobuf")


def test_fields_of_one_message_are_limited() -> None:
    """Unknown ones too: the body is refused, or the record if it is the record's."""
    with pytest.raises(OtlpError, match=f"more than {MAX_FIELDS} fields"):
        read_traces(b"\x08\x01" * (MAX_FIELDS + 1), "protobuf")
    value = length_field(1, b"k") + length_field(2, b"\x48\x01" * (MAX_FIELDS + 1))
    scope = length_field(2, length_field(9, value)) + length_field(2, span().SerializeToString())
    bad, good = read_traces(_nested(scope, 2, 1), "protobuf").records()
    assert f"more than {MAX_FIELDS} fields" in bad.detail
    assert good.name == "GET /"


def test_a_body_that_holds_too_much_is_a_400_with_its_limit() -> None:
    """The sender learns which limit, and that smaller batches help."""
    with pytest.raises(Invalid, match="send smaller batches"):
        normalise_spans(JSON, _json_spans(resources=_list("1", MAX_BLOCKS + 1)))
