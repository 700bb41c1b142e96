"""An item that unpack wrote says what reading it gives, so that its worker in the same process need not parse it."""

from __future__ import annotations

import gc
import marshal
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from schemas import headers, key_masking
from schemas.envelope import body as envelope
from schemas.headers import Origin
from workers.consume.message import Message
from workers.consume.work_process import NoReceipt
from workers.normalise.registry import normalisers
from workers.unpack import envelope as splitting
from workers.unpack.pieces import Split, split_body

ORIGIN = Origin("default", 7, "key", "production", False, 1_763_700_000_000_000_000, origin_id="raw", origin_seq=3)
CASES = Path(__file__).parents[3] / "examples" / "cases"
NORMALISERS = normalisers(30, 6_000_000)
ID = "0123456789abcdef0123456789abcdef"
KEY = "pt_" + "a1" * 16

HEADERS = {
    "empty": b"{}",
    "usual": b'{"event_id":"%s","sent_at":"2025-11-21T00:00:00.123Z","trace":{"release":"a"}}' % ID.encode(),
    "dsn": b'{"dsn":"http://%s@x/1","sent_at":"2025-11-21T00:00:00Z","sdk":{"name":"n","version":"1"}}' % KEY.encode(),
    "key": b'{"trace":{"release":"%s"}}' % KEY.encode(),
    "id in braces": b'{"event_id":"{01234567-89AB-CDEF-0123-456789ABCDEF}"}',
    "numbers": b'{"sent_at":null,"a":1e15,"b":-0.0,"c":123456789012345678901,"d":0.1}',
    "names twice": b'{"sdk":{"name":"a"},"sdk":{"name":"b"},"x":1,"x":2}',
    "sent_at of nothing": b'{"sent_at":"yesterday"}',
    "sdk of nothing": b'{"sdk":"python","trace":[1]}',
    "long": b'{"event_id":"%s","trace":{"release":"%s"}}' % (ID.encode(), b"r" * 3_000),
    "lines": b'{"event_id":\r\n"%s",\n"a":[{}]}\r' % ID.encode(),
    "mark": b'\xef\xbb\xbf{"a":1}',
    "not strict": b'{"a":NaN,"b":"\\ud800"}',
    "blanks": b'  \n\t{"a" : 1 }  \r',
}
ITEM_HEADERS: dict[str, dict[str, object]] = {
    "usual": {"type": "event"},
    "more": {"length": 0, "type": "event", "repairs": ["x"], "n": [1, {"a": 1e300}]},
    "dump": {"type": "attachment", "attachment_type": "event.minidump", "filename": "d"},
}
PAYLOADS = {
    "object": b'{"message":"m"}',
    "key": b'{"message":"%s"}' % KEY.encode(),
    "none": b"",
    "blanks": b' {"a":1}\r',
}


def split_of(body: bytes) -> Split:
    sent = Message("raw.sentry.envelope.7", {}, body, "RAW", 3, 1, 1, NoReceipt())
    return split_body(splitting.read, sent, ORIGIN, 6_000_000)


def bodies() -> Iterator[bytes]:
    for header in HEADERS.values():
        for item_header in ITEM_HEADERS.values():
            for payload in PAYLOADS.values():
                told = {**item_header, "length": len(payload)}
                yield b"\n".join((header, orjson.dumps(told), payload, orjson.dumps({"type": "span"}), b"{}", b""))


@pytest.mark.parametrize("header", HEADERS)
def test_an_opened_item_is_what_its_bytes_say(header: str) -> None:
    """Whatever the headers and payloads are, and whether a key in them was masked."""
    for body in bodies():
        if not body.startswith(HEADERS[header] + b"\n"):
            continue
        for _, _, single in split_of(body).items:
            found, plain = envelope.read(single), envelope.read(bytes(single))
            assert repr(found[0]) == repr(plain[0])
            assert [_told(item) for item in found[1]] == [_told(item) for item in plain[1]]


def _told(item: envelope.Item) -> str:
    return repr((item.index, item.type, item.header, bytes(item.payload), item.offset, item.repairs))


def test_usual_items_are_opened_and_masked_ones_are_not() -> None:
    """The first is what makes it cheaper, the second what keeps a key out of every row."""
    usual, masked = HEADERS["usual"] + b'\n{"type":"event"}\n{}\n', HEADERS["key"] + b'\n{"type":"event"}\n{}\n'
    dsn = HEADERS["dsn"] + b'\n{"type":"event"}\n{}\n'
    kinds = [split_of(body).items[0][2].__class__ for body in (usual, dsn, masked)]
    assert kinds == [envelope.OpenedItem, envelope.OpenedItem, bytes]
    [(_, _, single)] = split_of(dsn).items
    assert KEY.encode() not in single
    assert key_masking.mask_keys(single) is single
    assert KEY not in repr(envelope.read(single))


def test_an_opened_item_does_not_keep_itself_in_memory() -> None:
    """The collector of cycles runs seldom in a worker: a payload must go with the last one who needs it."""
    [(_, _, single)] = split_of(HEADERS["usual"] + b'\n{"type":"event"}\n{}\n').items
    gc.disable()
    try:
        envelope.read(single)
        before = _opened_in_memory()
        del single
        assert _opened_in_memory() == before - 1
    finally:
        gc.enable()


def _opened_in_memory() -> int:
    return sum(thing.__class__ is envelope.OpenedItem for thing in gc.get_objects())


def test_another_process_gets_plain_bytes() -> None:
    """The child process for large messages reads them as the broker's."""
    [(_, _, single)] = split_of(HEADERS["usual"] + b'\n{"type":"event"}\n{}\n').items
    assert marshal.loads(marshal.dumps(single)).__class__ is bytes


def test_no_normaliser_changes_the_headers_that_items_share() -> None:
    """Of every example: the rows are those of the plain bytes, and the headers stay as they were."""
    seen = set()
    for path in sorted(CASES.glob("*.json")):
        case = orjson.loads(path.read_bytes())
        if case["route"] != "sentry.envelope" or case["body"].__class__ is not list:
            continue
        body = b"\n".join(line.encode() if isinstance(line, str) else orjson.dumps(line) for line in case["body"])
        for index, worker, single in split_of(body).items:
            header, found = envelope.read(single)
            before = deepcopy((header, found[0].header))
            origin = replace(ORIGIN, item_index=index)
            rows = [list(NORMALISERS[worker].normalise(origin, _item(one)).rows) for one in (single, bytes(single))]
            assert rows[0] == rows[1], path.name
            assert (header, found[0].header) == before, path.name
            seen.add(worker)
    assert len(seen) > 5


def _item(single: bytes) -> Message:
    return Message("item.x.7", {headers.ORIGIN_SEQ: "3"}, single, "ITEMS", 3, 1, 1, NoReceipt())
