"""A minidump's header, directory and the streams that say what crashed, read within bounds. No names of codes here.

After Microsoft's minidumpapiset.h with Breakpad's and Crashpad's own streams. Every offset and count in the file is a
claim of whoever sent it: one that leads nowhere costs what it names, never the rest.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

MAGIC_LITTLE: Final = b"MDMP"
MAGIC_BIG: Final = b"PMDM"
MAGICS: Final = frozenset({MAGIC_LITTLE, MAGIC_BIG})

MAX_STREAMS: Final = 256
MAX_MODULES: Final = 4_096
MAX_THREADS: Final = 4_096
MAX_TEXT_BYTES: Final = 1_024

THREADS: Final = 3
MODULES: Final = 4
EXCEPTION: Final = 6
SYSTEM: Final = 7
THREAD_NAMES: Final = 24
ASSERTION: Final = 0x47670002
CRASHPAD: Final = 0x43500001

_THREAD_BYTES: Final = 48
_MODULE_BYTES: Final = 108
_FILE_VERSION_MAGIC: Final = 0xFEEF04BD
# Architecture -> where its context keeps the instruction pointer. 0x8003 is Breakpad's older arm64.
_POINTERS: Final = {0: (0xB8, "I"), 10: (0xB8, "I"), 9: (0xF8, "Q"), 5: (64, "I"), 12: (264, "Q"), 0x8003: (264, "Q")}
_SHORT_POINTERS: Final = frozenset({0, 5, 10})


class NotADump(ValueError):
    """The bytes do not begin as a minidump does."""


@dataclass(frozen=True, slots=True)
class FileRange:
    """Part of the file: offset and size in bytes."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class DumpSystem:
    """The machine: numbers as in the file; `detail` is the service pack, build or uname."""

    architecture: int
    platform: int
    version: tuple[int, int, int]
    cpu_count: int
    detail: str


@dataclass(frozen=True, slots=True)
class Crash:
    """The exception. `address` is the exception record's; `instruction` the crashing thread's, 0 if unknown."""

    thread_id: int
    code: int
    flags: int
    address: int
    parameters: tuple[int, ...]
    instruction: int


@dataclass(frozen=True, slots=True)
class Module:
    """A loaded library or program. Ids as symbol servers write them, '' where the file does not say."""

    name: str
    base: int
    size: int
    debug_id: str
    code_id: str
    version: str


@dataclass(frozen=True, slots=True)
class Dump:
    """What was read; None and empty where the dump has no such stream or it leads nowhere."""

    timestamp_s: int
    system: DumpSystem | None
    crash: Crash | None
    modules: list[Module]
    thread_count: int
    thread_name: str
    assertion: str
    reader: Reader

    def module_at(self, address: int) -> Module | None:
        """The module that holds `address`."""
        return next((module for module in self.modules if module.base <= address < module.base + module.size), None)


class Reader:
    """Bounded access to the file: what lies outside of it is None or ''."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._order = ">" if content[:4] == MAGIC_BIG else "<"
        self.streams: dict[int, FileRange] = {}

    def unpack(self, layout: str, offset: int) -> tuple[Any, ...] | None:
        """The values at `offset`, in the dump's byte order."""
        try:
            return struct.unpack_from(self._order + layout, self.content, offset)
        except struct.error:
            return None

    def number(self, layout: str, offset: int) -> int:
        """One value, 0 outside of the file."""
        values = self.unpack(layout, offset)
        return int(values[0]) if values else 0

    def bytes_at(self, span: FileRange) -> bytes:
        """At most MAX_TEXT_BYTES of a part."""
        return self.content[span.offset : span.offset + min(span.size, MAX_TEXT_BYTES)]

    def wide_text(self, offset: int) -> str:
        """A MINIDUMP_STRING: a length in bytes, then UTF-16."""
        size = self.number("I", offset) if offset else 0
        return self.wide(self.bytes_at(FileRange(offset + 4, size)))

    def wide(self, raw: bytes) -> str:
        """UTF-16 up to its zero."""
        text = raw[: len(raw) & ~1].decode("utf-16-be" if self._order == ">" else "utf-16-le", "replace")
        return text.partition("\0")[0]

    def text(self, offset: int) -> str:
        """Crashpad's UTF-8 string: a length in bytes, then the bytes."""
        size = self.number("I", offset) if offset else 0
        return self.bytes_at(FileRange(offset + 4, size)).decode("utf-8", "replace").partition("\0")[0]

    def records(self, stream: int, size: int, limit: int) -> range:
        """Offsets of the records of a list stream: a count, then records of `size` bytes, perhaps after a gap of 4."""
        span = self.streams.get(stream)
        if span is None:
            return range(0)
        count = self.number("I", span.offset)
        gap = 8 if span.size == 8 + count * size else 4
        fits = max(0, (min(span.size, len(self.content) - span.offset) - gap) // size)
        first = span.offset + gap
        return range(first, first + min(count, fits, limit) * size, size)


def read_dump(content: bytes) -> Dump:
    """The dump. Raises NotADump for bytes that are none; a broken one is read as far as it goes."""
    if content[:4] not in MAGICS:
        raise NotADump("expected MDMP as the first bytes of a minidump, found something else")
    reader = Reader(content)
    _directory(reader)
    system = _system(reader)
    crash = _crash(reader, system)
    return Dump(
        timestamp_s=reader.number("I", 20),
        system=system,
        crash=crash,
        modules=[_module(reader, offset) for offset in reader.records(MODULES, _MODULE_BYTES, MAX_MODULES)],
        thread_count=len(reader.records(THREADS, _THREAD_BYTES, MAX_THREADS)),
        thread_name=_thread_name(reader, crash.thread_id) if crash else "",
        assertion=_assertion(reader),
        reader=reader,
    )


def _directory(reader: Reader) -> None:
    """Of two streams of one type the first counts; type 0 is an unused entry."""
    count, offset = reader.unpack("II", 8) or (0, 0)
    for index in range(min(count, MAX_STREAMS)):
        entry = reader.unpack("III", offset + 12 * index)
        if entry is None:
            return
        if entry[0]:
            reader.streams.setdefault(entry[0], FileRange(entry[2], entry[1]))


def _system(reader: Reader) -> DumpSystem | None:
    span = reader.streams.get(SYSTEM)
    fields = reader.unpack("HHHBBIIIII", span.offset) if span else None
    if fields is None:
        return None
    architecture, _, _, cpu_count, _, major, minor, build, platform, detail = fields
    return DumpSystem(architecture, platform, (major, minor, build), cpu_count, reader.wide_text(detail))


def _crash(reader: Reader, system: DumpSystem | None) -> Crash | None:
    span = reader.streams.get(EXCEPTION)
    fields = reader.unpack("IIIIQQII15QII", span.offset) if span else None
    if fields is None:
        return None
    thread_id, _, code, flags, _, address, count, _ = fields[:8]
    architecture = system.architecture if system else -1
    mask = 0xFFFFFFFF if architecture in _SHORT_POINTERS else 2**64 - 1
    return Crash(
        thread_id=thread_id,
        code=code,
        flags=flags,
        address=address & mask,
        parameters=tuple(value & mask for value in fields[8 : 8 + min(count, 15)]),
        instruction=_instruction(reader, FileRange(fields[24], fields[23]), architecture),
    )


def _instruction(reader: Reader, context: FileRange, architecture: int) -> int:
    offset, layout = _POINTERS.get(architecture, (0, ""))
    if not layout or context.size < offset + struct.calcsize(layout):
        return 0
    return reader.number(layout, context.offset + offset)


def _module(reader: Reader, offset: int) -> Module:
    fields = reader.unpack("QIIII13III", offset)
    if fields is None:  # records() has checked that it fits
        return Module("", 0, 0, "", "", "")
    base, size, _, timestamp, name = fields[:5]
    magic, _, high, low = fields[5:9]
    version = f"{high >> 16}.{high & 0xFFFF}.{low >> 16}.{low & 0xFFFF}" if magic == _FILE_VERSION_MAGIC else ""
    debug_id, code_id = _ids(reader, reader.bytes_at(FileRange(fields[19], fields[18])))
    if not code_id and debug_id and version:
        code_id = f"{timestamp:08X}{size:x}"
    return Module(reader.wide_text(name), base, size, debug_id, code_id, version)


def _ids(reader: Reader, record: bytes) -> tuple[str, str]:
    """(debug id, code id) of a CodeView record: a PDB's GUID and age, or an ELF build id."""
    if record[:4] == b"RSDS" and len(record) >= 24:
        first, second, third = struct.unpack_from("<IHH", record, 4)
        rest, age = record[12:20].hex(), struct.unpack_from("<I", record, 20)[0]
        guid = f"{first:08x}-{second:04x}-{third:04x}-{rest[:4]}-{rest[4:]}"
        return (f"{guid}-{age:x}" if age else guid), ""
    if record[:4] == b"LEpB" and len(record) >= 8:
        build = record[4:36]
        first, second, third = struct.unpack("<IHH", build[:8].ljust(8, b"\0"))
        rest = build[8:16].ljust(8, b"\0").hex()
        return f"{first:08x}-{second:04x}-{third:04x}-{rest[:4]}-{rest[4:]}", build.hex()
    return "", ""


def _thread_name(reader: Reader, thread_id: int) -> str:
    for offset in reader.records(THREAD_NAMES, 12, MAX_THREADS):
        fields = reader.unpack("IQ", offset)
        if fields and fields[0] == thread_id:
            return reader.wide_text(fields[1]) if fields[1] < len(reader.content) else ""
    return ""


def _assertion(reader: Reader) -> str:
    """'expression (file:line)' of Breakpad's assertion stream, '' if there is none."""
    span = reader.streams.get(ASSERTION)
    if span is None or span.size < 776 or span.offset + 776 > len(reader.content):
        return ""
    expression, _, file = (
        reader.wide(reader.bytes_at(FileRange(span.offset + 256 * index, 256))) for index in range(3)
    )
    line = reader.number("I", span.offset + 768)
    return f"{expression} ({file}:{line})" if file else expression
