"""Writes minidumps for tests, of any system and byte order, with the streams the workers read. No test lives here."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

LINUX, WINDOWS, MACOS = 0x8201, 2, 0x8101
X86, ARM, AMD64, ARM64 = 0, 5, 9, 12
CRASHED_AT_S = 1_795_272_300
BASE = 0x5600_0000_0000
THREAD_ID = 4711

# Where a thread's context keeps its instruction pointer, and how large the context is.
_CONTEXTS = {AMD64: (0xF8, "Q", 1232), X86: (0xB8, "I", 716), ARM64: (264, "Q", 912), ARM: (64, "I", 368)}


@dataclass
class Crashed:
    """What the dump says. `modules` are (name, base, size, CodeView record)."""

    platform: int = LINUX
    architecture: int = AMD64
    code: int = 11
    flags: int = 1
    address: int = 0x10
    parameters: tuple[int, ...] = ()
    instruction: int = BASE + 0x1234
    modules: list[tuple[str, int, int, bytes]] = field(
        default_factory=lambda: [("/opt/shop/till", BASE, 0x10000, b"LEpB" + bytes(range(20)))]
    )
    annotations: dict[str, str] = field(default_factory=dict)
    thread_name: str = "cashier"
    assertion: str = ""
    time_s: int = CRASHED_AT_S
    has_exception: bool = True
    order: str = "<"
    # Breakpad's older writers put four bytes between the number of a list's records and the first of them.
    has_gaps: bool = False


class _File:
    """Grows at its end; answers where a part went."""

    def __init__(self, order: str, start: int) -> None:
        self.order, self.start, self.content = order, start, b""

    def pack(self, layout: str, *values: int | bytes) -> bytes:
        return struct.pack(self.order + layout, *values)

    def add(self, part: bytes) -> int:
        offset = self.start + len(self.content)
        self.content += part + bytes(-len(part) % 8)
        return offset

    def wide(self, words: str) -> int:
        raw = words.encode("utf-16-be" if self.order == ">" else "utf-16-le")
        return self.add(self.pack("I", len(raw)) + raw + b"\0\0")

    def text(self, words: str) -> int:
        raw = words.encode()
        return self.add(self.pack("I", len(raw)) + raw + b"\0")


def write(crashed: Crashed | None = None) -> bytes:
    """The whole file."""
    said = crashed or Crashed()
    makers = [(7, _system), (4, _modules), (3, _threads), (24, _thread_names)]
    if said.has_exception:
        makers.append((6, _exception))
    if said.annotations:
        makers.append((0x43500001, _crashpad))
    if said.assertion:
        makers.append((0x47670002, _assertion))
    file = _File(said.order, 32 + 12 * len(makers))
    entries = b""
    for kind, maker in makers:
        stream = maker(file, said)
        entries += file.pack("III", kind, len(stream), file.add(stream))
    magic = b"PMDM" if said.order == ">" else b"MDMP"
    return magic + file.pack("IIIIIQ", 0xA793, len(makers), 32, 0, said.time_s, 0) + entries + file.content


def _system(file: _File, said: Crashed) -> bytes:
    detail = file.wide("Linux 6.1.0-amd64" if said.platform == LINUX else "")
    version = (10, 0, 19045) if said.platform == WINDOWS else (0, 0, 0)
    return file.pack("HHHBBIIIIIHH24s", said.architecture, 6, 1, 2, 1, *version, said.platform, detail, 0, 0, bytes(24))


def _modules(file: _File, said: Crashed) -> bytes:
    found = file.pack("I", len(said.modules)) + bytes(4 if said.has_gaps else 0)
    for name, base, size, record in said.modules:
        version = file.pack("13I", 0xFEEF04BD, 0, 1 << 16 | 2, 3 << 16 | 4, *[0] * 9)
        found += file.pack("QIIII", base, size, 0, 0x5F000000, file.wide(name)) + version
        found += file.pack("IIIIQQ", len(record), file.add(record), 0, 0, 0, 0)
    return found


def _threads(file: _File, said: Crashed) -> bytes:
    return (
        file.pack("I", 1)
        + bytes(4 if said.has_gaps else 0)
        + file.pack("IIIIQQIIII", THREAD_ID, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    )


def _thread_names(file: _File, said: Crashed) -> bytes:
    return file.pack("I", 1) + file.pack("IQ", THREAD_ID, file.wide(said.thread_name))


def _exception(file: _File, said: Crashed) -> bytes:
    offset, layout, size = _CONTEXTS.get(said.architecture, (0, "I", 4))
    context = bytearray(size)
    struct.pack_into(file.order + layout, context, offset, said.instruction)
    parameters = [*said.parameters, *[0] * 15][:15]
    record = file.pack("IIQQII15Q", said.code, said.flags, 0, said.address, len(said.parameters), 0, *parameters)
    return file.pack("II", THREAD_ID, 0) + record + file.pack("II", size, file.add(bytes(context)))


def _crashpad(file: _File, said: Crashed) -> bytes:
    """The first annotation belongs to the process, the second to a module's list, the rest are typed ones."""
    pairs = [(file.text(name), file.text(value)) for name, value in said.annotations.items()]
    process = file.pack("I", len(pairs[:1])) + b"".join(file.pack("II", *pair) for pair in pairs[:1])
    simple = file.pack("I", len(pairs[1:2])) + b"".join(file.pack("II", *pair) for pair in pairs[1:2])
    typed = file.pack("I", len(pairs[2:])) + b"".join(file.pack("IHHI", name, 1, 0, value) for name, value in pairs[2:])
    parts = [(len(part), file.add(part)) for part in (process, simple, typed)]
    module = file.pack("III", 1, 0, 0) + file.pack("IIII", *parts[1], *parts[2])
    listed = file.pack("I", 1) + file.pack("III", 0, len(module), file.add(module))
    return file.pack("I32s", 1, bytes(32)) + file.pack("IIII", *parts[0], len(listed), file.add(listed))


def _assertion(file: _File, said: Crashed) -> bytes:
    wide = "utf-16-be" if file.order == ">" else "utf-16-le"
    texts = [text.encode(wide).ljust(256, b"\0") for text in (said.assertion, "pay", "till.cc")]
    return b"".join(texts) + file.pack("II", 42, 0)
