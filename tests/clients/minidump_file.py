"""Writes a small, valid minidump (Microsoft minidump format, as Crashpad writes it on Linux). No test lives here."""

from __future__ import annotations

import struct

SIGSEGV = 11
THREAD_ID = 4711
MODULE = "/opt/shop/till"
MODULE_BASE = 0x5600_0000_0000
CRASH_ADDRESS = MODULE_BASE + 0x1234

_VERSION = 0xA793
_THREADS, _MODULES, _MEMORY, _EXCEPTION, _SYSTEM = 3, 4, 5, 6, 7
_AMD64, _LINUX = 9, 0x8201
_HEADER_BYTES, _ENTRY_BYTES = 32, 12


class _File:
    """Grows at its end; answers where a part went."""

    def __init__(self, start: int) -> None:
        self.start, self.content = start, b""

    def add(self, part: bytes) -> int:
        """The part's offset in the file, which is a multiple of eight."""
        offset = self.start + len(self.content)
        self.content += part + bytes(-len(part) % 8)
        return offset

    def text(self, words: str) -> int:
        """A string: its length in bytes, then UTF-16, then a terminator."""
        encoded = words.encode("utf-16-le")
        return self.add(struct.pack("<I", len(encoded)) + encoded + b"\0\0")


def crash(time_s: int) -> bytes:
    """A dump of a process that read address 0 in MODULE at `time_s`, seconds since 1970."""
    count = 5
    file = _File(_HEADER_BYTES + count * _ENTRY_BYTES)
    streams = [
        (_SYSTEM, _system(file)),
        (_MODULES, _modules(file)),
        (_THREADS, _threads()),
        (_EXCEPTION, _exception()),
        (_MEMORY, struct.pack("<I", 0)),
    ]
    entries = [struct.pack("<III", kind, len(stream), file.add(stream)) for kind, stream in streams]
    header = struct.pack("<4sIIIIIQ", b"MDMP", _VERSION, count, _HEADER_BYTES, 0, time_s, 0)
    return header + b"".join(entries) + file.content


def _system(file: _File) -> bytes:
    processor = (_AMD64, 6, 0x0101, 2, 1)
    system = (6, 1, 0, _LINUX, file.text("6.1.0-amd64"), 0, 0)
    return struct.pack("<HHHBBIIIIIHH24s", *processor, *system, b"GenuineIntel")


def _modules(file: _File) -> bytes:
    numbers = (MODULE_BASE, 0x10000, 0, 0, file.text(MODULE))
    return struct.pack("<I", 1) + struct.pack("<QIIII52sIIIIQQ", *numbers, bytes(52), 0, 0, 0, 0, 0, 0)


def _threads() -> bytes:
    return struct.pack("<I", 1) + struct.pack("<IIIIQQIIII", THREAD_ID, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def _exception() -> bytes:
    record = struct.pack("<IIQQII", SIGSEGV, 1, 0, CRASH_ADDRESS, 0, 0) + bytes(15 * 8)
    return struct.pack("<II", THREAD_ID, 0) + record + struct.pack("<II", 0, 0)
