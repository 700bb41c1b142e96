"""Minidumps: an error that says why, where and on what machine; any bytes under that name are one row all the same."""

from __future__ import annotations

import base64
import bz2
import gzip
import lzma
import struct
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.envelope.body import write_single
from schemas.headers import Origin
from schemas.rows import NANOS_PER_DAY, NANOS_PER_SECOND, row_id
from tests.unit import minidump_writer, normalised
from tests.unit.minidump_writer import BASE, CRASHED_AT_S, MACOS, WINDOWS, X86, Crashed
from workers.normalise.minidump import error as minidump
from workers.normalise.minidump.codec import MAX_RATIO, MIN_LIMIT_BYTES, inflate_dump, is_dump
from workers.normalise.minidump.file import FileRange, Reader, read_dump
from workers.normalise.verdict import Verdict

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NOW_NS = 1_795_272_366 * NANOS_PER_SECOND
ID = "26e31e9cc7b74ad0b11d3a8a265b9e38"
MIB = 1_048_576
REAL = Path(__file__).parents[3] / "examples" / "minidump" / "linux-x86_64.dmp.gz"


def origin(**changes: Any) -> Origin:
    return normalised.origin(**{"sender_ip": "", **changes})


def verdict(content: bytes, event: Any = None, header: bytes = b"{}", **fields: Any) -> Verdict:
    """Of a dump behind an event's JSON, as unpack writes them."""
    front = b"" if event is None else orjson.dumps(event)
    meta = {} if event is None else {"meta_length": len(front)}
    return minidump.normalise(origin(), write_single(header, {"type": "minidump", **meta, **fields}, front + content))


def row(content: bytes, event: Any = None, header: bytes = b"{}", **fields: Any) -> dict[str, Any]:
    (values,) = verdict(content, event, header, **fields).rows
    return dict(zip(minidump.COLUMNS, values, strict=True))


@pytest.mark.parametrize(
    ("count", "size_bytes", "limit", "offsets"),
    [
        (3, 4 + 36, 9, [14, 26, 38]),
        (3, 4 + 35, 9, [14, 26]),
        (3, 8 + 36, 9, [18, 30, 42]),
        (3, 4 + 36, 2, [14, 26]),
        (9, 4 + 36, 9, [14, 26, 38]),
        (2**32 - 1, 4 + 11, 9, []),
        (1, 4, 9, []),
        (0, 4 + 36, 9, []),
        (9, 10**6, 9, [14, 26, 38, 50]),  # to the end of the file, whatever the directory says
    ],
)
def test_a_list_has_the_records_that_fit(count: int, size_bytes: int, limit: int, offsets: list[int]) -> None:
    """However many it says: a record that reaches beyond its stream or the file is another's bytes."""
    reader = Reader(b"MDMP".ljust(10) + struct.pack("<I", count) + bytes(48))
    reader.streams[3] = FileRange(10, size_bytes)
    assert list(reader.records(3, 12, limit)) == offsets
    assert list(reader.records(4, 12, limit)) == []


def test_a_thread_without_a_name_has_an_empty_one() -> None:
    """The list of names is not there, or names other threads, or its text lies outside of the file."""
    content = minidump_writer.write(Crashed())
    assert read_dump(content).thread_name == "cashier"
    named = struct.pack("<IIQ", 1, minidump_writer.THREAD_ID, content.find("cashier".encode("utf-16-le")) - 4)
    assert content.count(named) == 1
    for other in (
        struct.pack("<IIQ", 1, minidump_writer.THREAD_ID + 1, 0),
        struct.pack("<IIQ", 0, minidump_writer.THREAD_ID, 0),
        struct.pack("<IIQ", 1, minidump_writer.THREAD_ID, len(content)),
        struct.pack("<IIQ", 1, minidump_writer.THREAD_ID, 2**64 - 1),
    ):
        assert read_dump(content.replace(named, other)).thread_name == ""


def test_lists_with_a_gap_before_their_records_are_read() -> None:
    """Some writers align records to eight bytes; the size of the list tells."""
    modules = [(f"/opt/shop/till{n}", BASE + n * 0x10000, 0x10000, b"LEpB" + bytes(range(20))) for n in range(3)]
    plain, padded = (row(minidump_writer.write(Crashed(modules=modules, has_gaps=gaps))) for gaps in (False, True))
    assert plain["exception_stacktrace"] == "SIGSEGV / SEGV_MAPERR\n  /opt/shop/till0 + 0x1234"
    assert padded["exception_stacktrace"] == plain["exception_stacktrace"]
    assert padded["attributes_string"] == plain["attributes_string"]


def test_a_crash_says_why_where_and_on_what() -> None:
    """Reason, address and module as columns; system, processor and thread as attributes and resource."""
    content = minidump_writer.write()
    found = row(content, header=b'{"event_id":"%s"}' % ID.encode(), filename="crash.dmp")
    assert (found["event_type"], found["item_type"]) == ("agent.error", "minidump")
    assert (found["severity_number"], found["severity_text"]) == (21, "fatal")
    assert (found["exception_type"], found["exception_message"]) == (
        "SIGSEGV / SEGV_MAPERR",
        "Fatal Error at 0x10 in till",
    )
    assert found["name"] == "SIGSEGV / SEGV_MAPERR: Fatal Error at 0x10 in till"
    assert found["exception_stacktrace"] == "SIGSEGV / SEGV_MAPERR\n  /opt/shop/till + 0x1234"
    assert found["event_id"] == int(ID, 16)
    assert (found["timestamp"], found["original_timestamp_ns"]) == (CRASHED_AT_S * NANOS_PER_SECOND, 0)
    assert found["resource"]["telemetry.sdk.language"] == "native"
    assert (found["resource"]["os.name"], found["resource"]["host.arch"]) == ("Linux", "x86_64")
    strings = found["attributes_string"]
    assert (strings["crash.address"], strings["crash.instruction"]) == ("0x10", f"{BASE + 0x1234:#x}")
    assert (strings["thread.name"], found["attributes_int"]["thread.id"]) == ("cashier", minidump_writer.THREAD_ID)
    assert strings["attachment.name"] == "crash.dmp"
    assert found["attributes_bool"]["exception.mechanism.handled"] is False
    assert base64.b64decode(found["body"]) == content
    assert found["repairs"] == []


def test_a_real_dump_is_read() -> None:
    """Written by another program's writer (Rust's minidump-writer) of a process that really crashed."""
    found = row(gzip.decompress(REAL.read_bytes()))
    assert found["exception_type"] == "SIGSEGV / SEGV_MAPERR"
    assert found["exception_message"].endswith(" in dumper")
    facts = orjson.loads(found["payload"])["minidump"]
    assert [module["code_file"].rpartition("/")[2] for module in facts["modules"]] == [
        "dumper",
        "libc.so.6",
        "libgcc_s.so.1",
        "linux-vdso.so.1",
        "ld-linux-x86-64.so.2",
    ]
    assert all(len(module["code_id"]) == 40 for module in facts["modules"])
    assert facts["crash"]["thread_name"] == "dumper"


def test_what_the_event_says_is_kept_beside_it() -> None:
    """Tags, user, release, environment, level, breadcrumbs: the columns of any event."""
    event = {
        "release": "shop@1.2",
        "environment": "staging",
        "level": "error",
        "tags": {"till": "seven"},
        "user": {"id": "u-42"},
        "contexts": {"os": {"name": "Deep OS"}, "trace": {"trace_id": ID, "span_id": "a7cb0ac040c271b8"}},
    }
    found = row(minidump_writer.write(), event)
    assert (found["environment"], found["resource"]["service.version"]) == ("staging", "shop@1.2")
    assert (found["severity_text"], found["user_id"], found["trace_id"]) == ("error", "u-42", ID)
    assert found["attributes_string"]["till"] == "seven"
    assert found["attributes_string"]["os.name"] == "Deep OS"
    assert orjson.loads(found["payload"])["tags"] == {"till": "seven"}


@pytest.mark.parametrize(
    ("crashed", "reason", "message"),
    [
        (
            Crashed(platform=WINDOWS, code=0xC0000005, flags=0, parameters=(1, 0xDEAD), address=BASE + 5),
            "EXCEPTION_ACCESS_VIOLATION_WRITE",
            "Fatal Error at 0xdead in till",
        ),
        (
            Crashed(platform=WINDOWS, code=0xC0000409, flags=1, parameters=(7,)),
            "EXCEPTION_STACK_BUFFER_OVERRUN / FAST_FAIL_FATAL_APP_EXIT",
            "Fatal Error at 0x10 in till",
        ),
        (Crashed(platform=WINDOWS, code=0xE06D7363, flags=1), "CPP_EXCEPTION", "Fatal Error at 0x10 in till"),
        (Crashed(platform=MACOS, code=1, flags=2), "EXC_BAD_ACCESS / KERN_PROTECTION_FAILURE", "Fatal Error at 0x10"),
        (Crashed(code=6, flags=0xFFFFFFFA), "SIGABRT / SI_TKILL", "Fatal Error at 0x10 in till"),
        (Crashed(code=0xFFFFFFFF, flags=0), "DUMP_REQUESTED", "Fatal Error at 0x10 in till"),
        (Crashed(code=77, flags=3), "0x0000004d / 0x00000003", "Fatal Error at 0x10 in till"),
        (Crashed(platform=99, code=77, flags=3), "0x0000004d", "Fatal Error at 0x10 in till"),
        (Crashed(order=">"), "SIGSEGV / SEGV_MAPERR", "Fatal Error at 0x10 in till"),
        (
            Crashed(architecture=X86, address=2**64 - 16, instruction=16, modules=[("a", 0, 32, b"")]),
            "SIGSEGV / SEGV_MAPERR",
            "Fatal Error at 0xfffffff0 in a",
        ),
        (Crashed(assertion="sum > 0"), "SIGSEGV / SEGV_MAPERR", "Assertion Error: sum > 0 (till.cc:42)"),
        (Crashed(has_exception=False), "Minidump", "Dump without an exception"),
    ],
)
def test_reasons_of_all_systems(crashed: Crashed, reason: str, message: str) -> None:
    """In the words that debuggers use; numbers nobody knows stay numbers."""
    found = row(minidump_writer.write(crashed))
    assert found["exception_type"] == reason
    assert found["exception_message"].startswith(message)


def test_annotations_of_crashpad_are_attributes() -> None:
    """Those of the process, of its modules, and the typed ones."""
    told = {"channel": "beta", "gpu": "llvmpipe", "list": "a,b"}
    found = row(minidump_writer.write(Crashed(annotations=told)))
    assert {name: found["attributes_string"][f"crashpad.{name}"] for name in told} == told


def test_modules_have_the_ids_symbol_servers_know() -> None:
    """A PDB's GUID and age; an ELF build id; more modules than fit are counted."""
    guid = struct.pack("<IHH8s", 0x11223344, 0x5566, 0x7788, bytes(range(8)))
    pdb = b"RSDS" + guid + struct.pack("<I", 10) + b"till.pdb\0"
    many = [("till.exe", BASE, 0x10000, pdb)] + [(f"m{index}", index, 1, b"") for index in range(300)]
    facts = orjson.loads(row(minidump_writer.write(Crashed(modules=many)))["payload"])["minidump"]
    assert facts["modules"][0]["debug_id"] == "11223344-5566-7788-0001-020304050607-a"
    assert facts["modules"][0]["code_id"] == "5F00000010000"
    assert facts["modules"][0]["version"] == "1.2.3.4"
    assert (len(facts["modules"]), facts["modules_omitted"]) == (256, 45)


def test_one_crash_at_one_place_is_one_group() -> None:
    """Wherever the program was loaded; another place, or the sender's own fingerprint, is another group."""
    moved = Crashed(instruction=0x7000_1234, modules=[("/usr/bin/till", 0x7000_0000, 0x10000, b"")])
    first, second = row(minidump_writer.write()), row(minidump_writer.write(moved))
    other = row(minidump_writer.write(Crashed(instruction=BASE + 0x99)))
    named = row(minidump_writer.write(), {"fingerprint": ["mine"]})
    assert first["group_hash"] == second["group_hash"]
    assert len({found["group_hash"] for found in (first, other, named)}) == 3
    assert named["fingerprint"] == ["mine"]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd.compress])
def test_compressed_dumps_are_inflated(pack: Any) -> None:
    """Told by their first bytes; the row has the dump itself."""
    content = minidump_writer.write()
    packed = pack(content)
    assert is_dump(packed)
    found = row(packed)
    assert (base64.b64decode(found["body"]), found["exception_type"]) == (content, "SIGSEGV / SEGV_MAPERR")
    assert found["attributes_string"]["attachment.compression"] in {"gzip", "bzip2", "xz", "zstd"}
    torn = row(packed[: len(packed) // 2])
    assert {"minidump_cut", "minidump_corrupt"} & set(torn["repairs"])


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd.compress])
def test_a_bomb_is_cut(pack: Any) -> None:
    """No more than the limit comes out, nor more than a dump of that size ever held; and the row says so."""
    bomb = pack(minidump_writer.write() + bytes(33 * MIB))
    assert len(bomb) < 100_000
    inflated = inflate_dump(bomb)
    assert (len(inflated.content), inflated.is_cut) == (max(MIN_LIMIT_BYTES, MAX_RATIO * len(bomb)), True)
    assert len(inflated.content) < 4 * MIB
    found = row(bomb)
    assert found["repairs"][0] == "minidump_cut"
    assert found["exception_type"] == "SIGSEGV / SEGV_MAPERR"
    assert len(base64.b64decode(found["body"])) == min(MIB, len(inflated.content))
    assert orjson.loads(found["metadata"])["truncated"] is True


@pytest.mark.parametrize("fields", [{"attachment_type": "event.minidump", "type": "attachment"}, {}])
def test_bytes_that_are_no_dump_are_an_error_all_the_same(fields: dict[str, Any]) -> None:
    """The sender meant a crash; what kept us from reading it is named."""
    found = row(b"no dump", **fields)
    assert (found["exception_type"], found["exception_message"]) == ("Minidump", "Invalid Minidump")
    assert found["repairs"] == ["minidump_invalid"]
    assert (found["event_id"], found["timestamp"]) == (row_id("sentry.item", 42, "raw-1", 3), NOW_NS + 3)
    own = row(b"no dump", {"exception": {"values": [{"type": "Panic", "value": "at the disco"}]}})
    assert own["name"] == "Panic: at the disco"


def test_an_old_dump_keeps_its_own_time_beside() -> None:
    """Moved into what is stored, as any event; a clock that was never set says nothing."""
    found = row(minidump_writer.write(Crashed(time_s=1_000_000_000)))
    assert found["timestamp"] == NOW_NS - 30 * NANOS_PER_DAY
    assert (found["original_timestamp_ns"], found["repairs"]) == (10**9 * NANOS_PER_SECOND, ["timestamp_too_old"])
    unset = row(minidump_writer.write(Crashed(time_s=1_000)))
    assert unset["timestamp"] == NOW_NS
    assert (unset["original_timestamp_ns"], unset["repairs"]) == (1_000 * NANOS_PER_SECOND, ["timestamp_impossible"])


def test_hostile_counts_cost_nothing() -> None:
    """Streams, modules, threads and annotations by the thousand million, all at one place."""
    content = bytearray(minidump_writer.write(Crashed(annotations={"a": "b", "c": "d", "e": "f"})))
    for offset in range(8, len(content) - 4, 4):
        hostile = bytearray(content)
        struct.pack_into("<I", hostile, offset, 0xFFFFFFFF)
        assert verdict(bytes(hostile)).accepted == 1


def check(found: Verdict) -> None:
    for values in found.rows:
        cells = dict(zip(minidump.COLUMNS, values, strict=True))
        assert 0 <= cells["event_id"] < 2**128
        assert NOW_NS - 30 * NANOS_PER_DAY <= cells["timestamp"] <= NOW_NS + NANOS_PER_DAY
        assert isinstance(orjson.loads(cells["metadata"]), dict)
        assert isinstance(orjson.loads(cells["payload"]), dict)
        assert all(-(2**63) <= number < 2**63 for number in cells["attributes_int"].values())
        orjson.dumps({name: str(value) for name, value in cells.items()})


DUMP = minidump_writer.write(Crashed(annotations={"a": "b", "c": "d", "e": "f"}, assertion="x"))
changes = st.lists(st.tuples(st.integers(0, len(DUMP) - 1), st.integers(0, 255)), max_size=8)


@settings(max_examples=150, deadline=None)
@given(changes, st.integers(0, len(DUMP)), st.sampled_from((bytes, gzip.compress, lzma.compress)))
def test_any_change_of_a_dump_is_one_row(edits: list[tuple[int, int]], length: int, pack: Any) -> None:
    """Whatever its offsets and counts claim, however short it is."""
    content = bytearray(DUMP)
    for place, value in edits:
        content[place] = value
    found = verdict(pack(bytes(content[:length])))
    check(found)
    assert len(found.rows) == 1


scalars = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=8)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
names = ("level", "platform", "contexts", "exception", "timestamp", "fingerprint", "message", "tags", "user", "release")


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(names, anything)), st.binary(max_size=30))
def test_any_event_in_front_of_any_bytes_is_one_row(event: dict[str, Any], content: bytes) -> None:
    """Neither costs the other."""
    for dump in (content, DUMP):
        found = verdict(dump, {name: _plain(value) for name, value in event.items()})
        check(found)
        assert len(found.rows) == 1


def _plain(value: Any) -> Any:
    try:
        orjson.dumps(value)
    except TypeError:
        return None
    return value


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(body: bytes) -> None:
    """Not a crash: a row or a named rejection."""
    for raw in (body, b"{}\n{}\n" + body, b'{}\n{"type":"minidump","meta_length":3}\n' + body):
        check(minidump.normalise(origin(), raw))
