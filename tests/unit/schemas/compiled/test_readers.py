"""The compiled readers against hostile bytes and failing memory: what can go wrong in C, and not in Python."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from schemas.compiled import readers as in_use
from schemas.otlp.protobuf_records import plain_spans
from schemas.otlp.protobuf_values import BodyTally
from schemas.otlp.protobuf_wire import length_field
from schemas.otlp.records import Allowance
from tests.fuzz.mutations import mutated
from tests.fuzz.targets.twins import limits, messages, requests, sentry_spans, timed_messages
from tests.fuzz.twins import RECEIVED_AT_NS, Twins, read_by, said, same_columns, same_rows, same_verdict
from tests.unit.otlp_encoding import put, span
from workers import process
from workers.settings import WorkerSettings

MUTANTS = 3000
# More objects of each kind than Python keeps for reuse: then every new one needs memory.
_KEPT_FOR_REUSE = 120
_PLAIN = b"\x0a\x10" + b"\x01" * 16 + b"\x12\x08" + b"\x02" * 8


def message() -> bytes:
    """A plain Span message with every field that one may have."""
    one = span(flags=256, trace_state="a=b", parent_span_id=b"\x03" * 8, kind=2, dropped_links_count=7)
    put(one.attributes, {"a": "text", "b": -7, "c": 0.5, "d": True, "\u00e9" * 20: "\u20ac"})
    one.status.message = "\U0001f600"
    one.status.code = 2
    return bytes(one.SerializeToString())


def test_every_prefix_and_every_flipped_bit_of_a_message(compiled: Twins) -> None:
    """What is plain to C is plain in Python with equal columns; and some of all this is plain, some is not."""
    raw = message()
    changed = [raw[:size] for size in range(len(raw) + 1)]
    for place in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[place // 8] ^= 1 << place % 8
        changed.append(bytes(flipped))
    plain = sum(same_columns(compiled, one) for one in changed)
    assert 100 < plain < len(changed)


def test_mutated_messages_have_equal_columns(compiled: Twins) -> None:
    """Of what the fuzzer makes; `make fuzz-native` has hundreds of thousands more, under sanitizers."""
    plain = sum(same_columns(compiled, mutated(messages(), f"unit:{number}")) for number in range(MUTANTS))
    assert 100 < plain < MUTANTS


def timed_message() -> bytes:
    """The same for a block: with times, and without what was dropped."""
    one = Span.FromString(message())
    one.dropped_links_count = 0
    one.start_time_unix_nano = one.end_time_unix_nano = RECEIVED_AT_NS
    return bytes(one.SerializeToString())


def test_every_prefix_and_every_flipped_bit_of_a_message_in_a_block(compiled: Twins) -> None:
    """What a block takes are the rows that Python makes; and some of all this it takes, some it does not."""
    raw = timed_message()
    changed = [raw[:size] for size in range(len(raw) + 1)]
    for place in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[place // 8] ^= 1 << place % 8
        changed.append(bytes(flipped))
    plain = sum(same_rows(compiled, one) for one in changed)
    assert 100 < plain < len(changed)


def test_mutated_messages_have_equal_rows(compiled: Twins) -> None:
    """Of what the fuzzer makes."""
    plain = sum(same_rows(compiled, mutated(timed_messages(), f"unit:{number}")) for number in range(MUTANTS))
    assert 100 < plain < MUTANTS


def varint(value: int, size: int) -> bytes:
    """`value` in `size` bytes, more than it takes."""
    return bytes(value >> 7 * i & 0x7F | (0x80 if i < size - 1 else 0) for i in range(size))


@pytest.mark.parametrize("size", range(2, 12))
@pytest.mark.parametrize(
    "field",
    [
        lambda pad: b"\x2a" + pad(3) + b"abc",
        lambda pad: b"\x4a" + pad(7) + b"\x0a\x01k\x12\x02\x10\x01",
        lambda pad: b"\x7a" + pad(2) + b"\x18\x01",
        lambda pad: b"\x4a%c" % (6 + len(pad(1))) + b"\x0a" + pad(1) + b"k\x12\x02\x10\x01",
        lambda pad: b"\x4a%c" % (6 + len(pad(2))) + b"\x0a\x01k\x12" + pad(2) + b"\x10\x01",
        lambda pad: b"\x4a%c" % (6 + len(pad(1))) + b"\x0a\x01k\x12%c\x10" % (1 + len(pad(1))) + pad(1),
        lambda pad: b"\x30" + pad(2),
    ],
    ids=["text", "attribute", "status", "key", "value", "boolean", "enum"],
)
def test_padded_numbers_are_read_as_python_reads_them(
    compiled: Twins, size: int, field: Callable[[Callable[[int], bytes]], bytes]
) -> None:
    """Parsers differ in how many bytes a length may have: a span read here and refused there would be a difference."""
    raw = _PLAIN + field(lambda value: varint(value, size))
    same_columns(compiled, raw)
    with read_by(compiled):
        found = said("protobuf", _exported(raw))
    with read_by(None):
        assert found == said("protobuf", _exported(raw))


def _exported(raw: bytes) -> bytes:
    return length_field(1, length_field(2, length_field(2, raw)))


@pytest.mark.parametrize("field", [b"\x2a\x01\xff\x2a\x01a", b"\x7a\x06\x12\x01\xff\x12\x01a", b"\x1a\x00\x1a\x01\xff"])
def test_of_a_text_sent_twice_both_have_to_be_text(compiled: Twins, field: bytes) -> None:
    """As Google's parser has it, which refuses the first one."""
    assert plain_spans([_PLAIN + field], BodyTally(Allowance(0)))[1] == [0]
    assert not same_columns(compiled, _PLAIN + field)


def test_numbers_and_texts_at_their_limits(compiled: Twins) -> None:
    """Signs, zeros, exponents, halfway doubles, surrogates, escapes, control characters: the same verdict for each."""
    taken = sum(same_verdict(compiled, "json", body) for body in limits())
    assert 100 < taken < len(limits())


def test_every_prefix_and_many_odd_bytes_in_json(compiled: Twins) -> None:
    """A quote, a brace, a backslash, no UTF-8 or NUL in place of each byte."""
    body = limits()[0]
    changed = [body[:size] for size in range(len(body))]
    changed += [
        body[:i] + odd + body[i + 1 :] for i in range(0, len(body), 2) for odd in (b'"', b"}", b"\\", b"\xff", b"\0")
    ]
    assert 100 < sum(same_verdict(compiled, "json", one) for one in changed) < len(changed)


def test_only_bytes_are_read(compiled: Twins) -> None:
    """Anything else is a TypeError, also in the middle, and nothing is read behind a NUL byte's back."""
    for wrong in (7, None, [None], [_PLAIN, "text"], [bytearray(_PLAIN)]):
        with pytest.raises(TypeError):
            compiled.messages(wrong)  # type: ignore[arg-type]
    for arguments in ((), (b"{}",), ("{}", False), (bytearray(b"{}"), True)):
        with pytest.raises(TypeError):
            compiled.text(*arguments)  # type: ignore[arg-type]
    assert compiled.text(b'{"resourceSpans":[]}\0', False) is None
    assert compiled.span_block is not None
    usual = ([_PLAIN], b"prefix", 0, 1, str.isdigit, orjson.dumps, 1)
    assert compiled.span_block(*usual) is not None
    for place, wrong in enumerate((7, "text", "text", None, 7, None, "text")):
        if place not in (4, 5):  # called only for keys and doubles
            with pytest.raises(TypeError):
                compiled.span_block(*usual[:place], wrong, *usual[place + 1 :])
    for wrong in ([None], [_PLAIN, "text"], [bytearray(_PLAIN)]):
        with pytest.raises(TypeError):
            compiled.span_block(wrong, *usual[1:])
    with pytest.raises(TypeError):
        compiled.span_block([timed_message()], *usual[1:4], 7, *usual[5:])
    with pytest.raises(ValueError, match="prefix of at most 72 bytes"):
        compiled.span_block(usual[0], b"p" * 73, *usual[2:])
    with pytest.raises(OverflowError):
        compiled.span_block(*usual[:3], 2**63, *usual[4:])


def test_only_lists_of_objects_are_spans(compiled: Twins) -> None:
    """What is no object is odd; wrong arguments are errors."""
    assert compiled.sentry_span_block is not None
    rules = (b"p", 0, 1, str.isdigit, str.isdigit, orjson.dumps, "segment", "GET /")
    for value in (None, 7, "text", [], b"{}", {}):
        found = compiled.sentry_span_block([value], *rules, 1)
        assert found is not None
        assert found[2] == [0]
        assert not any(found[0])
    assert compiled.sentry_span_block([7], *rules, 0) is None
    wrong_arguments: list[tuple[Any, ...]] = [(), ([],), (7, *rules, 1), ([], "p", *rules[1:], 1), ([], *rules, None)]
    for arguments in wrong_arguments:
        with pytest.raises(TypeError):
            compiled.sentry_span_block(*arguments)
    usual = orjson.loads(sentry_spans()[0].body)
    for judge in (3, 4):
        broken = [*rules[:judge], 7, *rules[judge + 1 :]]
        broken[2] = 2**63 - 1
        with pytest.raises(TypeError):
            compiled.sentry_span_block([usual], *broken, 1)


def _dumps(number: float) -> bytes:
    return repr(number).encode()


def calls(twins: Twins) -> dict[str, Callable[[], object]]:
    """Each reader with something of everything: plain, odd, escaped, refused."""
    plain = [sample.body for sample in messages()][:3]
    bodies = {
        "spans": requests("json")[3].body,
        "escape": next(body for body in limits() if rb'"stringValue":"\ud83d\ude00"' in body),
        "double": next(body for body in limits() if b'"doubleValue":0.1}' in body),
        "cut": limits()[0][:-30],
        "odd": limits()[0].replace(b'"name":"GET /"', b'"name":"\xff"'),
        "odd key": limits()[0].replace(b'"key":"k"', b'"key":"\xff"'),
    }
    found: dict[str, Callable[[], object]] = {"messages": lambda: twins.messages([*plain, b"\x0a", plain[0][:-3]])}
    spans = [timed_message(), plain[0], timed_message()[:-3], *[timed_message()] * 9]
    limits_ns = (RECEIVED_AT_NS - 1, RECEIVED_AT_NS + 1)
    assert twins.span_block is not None
    found["block"] = lambda: twins.span_block(spans, b"p", *limits_ns, str.isdigit, _dumps, 9)  # type: ignore[misc]
    found["no block"] = lambda: twins.span_block(spans, b"p", *limits_ns, str.isdigit, _dumps, 1)  # type: ignore[misc]
    sentry = [orjson.loads(sample.body) for sample in sentry_spans()[::6]]
    rules = (str.isdigit, str.isdigit, lambda value: b"%d" % len(value), "segment", "GET /", 99)
    assert twins.sentry_span_block is not None
    found["sentry"] = lambda: twins.sentry_span_block(sentry, b"p", 0, 2**63 - 1, *rules)  # type: ignore[misc]
    for name, body in bodies.items():
        found[name] = lambda body=body: twins.text(body, False)  # type: ignore[misc]
    return found


_CALLS = ["messages", "spans", "escape", "double", "cut", "odd", "odd key", "block", "sentry"]


@pytest.mark.parametrize("name", _CALLS)
@pytest.mark.parametrize("is_once", [True, False], ids=["one", "all from there"])
def test_memory_that_ends_is_a_memory_error(compiled: Twins, name: str, is_once: bool) -> None:
    """Whichever allocation fails: MemoryError, or the very same result. Never a crash, and never another value."""
    testing = pytest.importorskip("_testcapi")
    call = calls(compiled)[name]
    expected = repr(call())
    failures = 0
    for number in range(1000):
        held = [({}, [], (index,), index / 3, [{}]) for index in range(_KEPT_FOR_REUSE)]
        testing.set_nomemory(number, number + 1 if is_once else 0)
        try:
            found = call()
        except MemoryError:
            failures += 1
            continue
        finally:
            testing.remove_mem_hooks()
        assert repr(found) == expected
        del held
        if number > failures + 20:
            break
    assert 3 < failures < 990


def test_nothing_is_left_behind(compiled: Twins) -> None:
    """Blocks of memory, and references to what never dies: after thousands of calls as many as before."""
    mutants = [mutated(messages(), f"left:{number}") for number in range(300)]
    texts = [mutated(requests("json"), f"left:{number}") for number in range(100)]

    def run() -> None:
        compiled.messages(mutants)
        for text in texts:
            compiled.text(text, False)
        for call in calls_here:
            call()

    calls_here = list(calls(compiled).values())
    shared: list[Any] = [None, True, False, 0, 1, "", ()]
    for _ in range(3):
        run()
    before = _in_memory(shared)
    for _ in range(20):
        run()
    grown = [now - then for now, then in zip(_in_memory(shared), before, strict=True)]
    assert max(map(abs, grown)) < 20, grown


def _in_memory(shared: list[Any]) -> list[int]:
    gc.collect()
    return [sys.getallocatedblocks(), *map(sys.getrefcount, shared)]


class StartedError(Exception):
    """Ends the process under test where it would connect."""


@pytest.mark.parametrize("is_wanted", [True, False])
@pytest.mark.asyncio
async def test_a_setting_leaves_them_out(compiled: Twins, is_wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """AXONPUSH_WORKER_COMPILED_READERS=false: a worker reads everything in Python, whatever is installed."""

    async def startup(*_: object) -> None:
        raise StartedError(*in_use.in_use())

    monkeypatch.setattr(process, "startup", startup)
    with read_by(compiled), pytest.raises(StartedError) as found:
        await process.run(["otlp_span"], WorkerSettings(worker_compiled_readers=is_wanted))
    assert found.value.args == (("protobuf", "json") if is_wanted else ())
