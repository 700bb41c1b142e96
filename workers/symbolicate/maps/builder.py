"""The child process that builds source maps and mappings and looks frames up in them. Files are hostile until proven.

It reads jobs from standard input and writes answers to standard output, until the input ends: marshalled, after four
bytes with their length. It has no secrets and no connections, limited memory and a low priority. It may crash, hang or
be killed: the worker then leaves frames as they came.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import contextlib
import marshal
import os
import struct
import sys
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import unquote_to_bytes

from ops.runtime.process.child_limits import limit_this_process, resident_bytes
from schemas.artifacts.zip_directory import Member, unpack

MODULE: Final = "workers.symbolicate.maps.builder"
LENGTH: Final = struct.Struct(">I")
NICENESS: Final = 5
# Python, symbolic and what they load take this much address space before the first map.
BASE_BYTES: Final = 768 * 1024 * 1024
# A built map takes 11 times the bytes of the map (docs/decisions/0050-symbolication.md).
BUILT_FACTOR: Final = 12
MAX_CONTEXT_LENGTH: Final = 500
CONTEXT_LINES: Final = 5
# The comment that names a source map, as old and new tools write it.
_MARKS: Final = (b"//# sourceMappingURL=", b"//@ sourceMappingURL=")
_JSON_PREFIX: Final = b")]}'"

DONE, ABSENT, INVALID, REFERENCE, TOO_LARGE, NOT_INSTALLED = (
    "done", "absent", "invalid", "reference", "too_large", "not_installed",
)  # fmt: skip

# A file as it is packed in its bundle: (packed bytes, name, size, method, checksum).
Part = tuple[bytes, str, int, int, int]


def packed_part(packed: bytes, member: Member) -> Part:
    """A member for a job."""
    return packed, member.name, member.size_bytes, member.method, member.crc32


def main() -> None:
    """Answers jobs until the worker closes the input."""
    memory_bytes = int(sys.argv[1])
    limit_this_process(memory_bytes + BASE_BYTES, NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # without free memory, the kernel ends this process first
    jobs, answers = sys.stdin.buffer, sys.stdout.buffer
    built = BuiltMaps(memory_bytes)
    _write(answers, (DONE, 0))
    while (job := _read(jobs)) is not None:
        _write(answers, answer_to(job, built))


def answer_to(job: tuple[Any, ...], built: BuiltMaps) -> tuple[Any, ...]:
    """Never raises: what a file is wrong with is an answer."""
    kind, key, *arguments = job
    try:
        if kind == "load_map":
            return _load_map(built, key, *arguments)
        if kind == "load_mapping":
            return _load_mapping(built, key, *arguments)
        built_map = built.get(key)
        if built_map is None:
            return (ABSENT,)
        return (DONE, _frames(built_map, *arguments) if kind == "frames" else _java(built_map, *arguments))
    except ImportError:
        return (NOT_INSTALLED,)
    except MemoryError:
        built.clear()
        return (TOO_LARGE,)
    except Exception as error:
        return INVALID, f"{type(error).__name__}: {error}"[:300]


class BuiltMaps:
    """Built maps by key, those used last; their estimated memory together stays below half of what is allowed."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._maps: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._held_bytes = 0

    @property
    def room_bytes(self) -> int:
        """The largest map, built, that may be held."""
        return self._memory_bytes // 2

    def get(self, key: str) -> Any:
        """A built map; None if it is not here."""
        if key not in self._maps:
            return None
        self._maps.move_to_end(key)
        return self._maps[key][0]

    def make_room(self, size_bytes: int) -> None:
        """Drops the maps used longest ago until another of `size_bytes` may be built."""
        while self._maps and self._held_bytes + size_bytes > self.room_bytes:
            _, (_, dropped_bytes) = self._maps.popitem(last=False)
            self._held_bytes -= dropped_bytes
        if resident_bytes() + size_bytes > self._memory_bytes:
            self.clear()

    def put(self, key: str, built: Any, size_bytes: int) -> None:
        """Holds a map."""
        self._held_bytes += size_bytes - (self._maps[key][1] if key in self._maps else 0)
        self._maps[key] = (built, size_bytes)
        self._maps.move_to_end(key)

    def clear(self) -> None:
        """Drops all."""
        self._maps.clear()
        self._held_bytes = 0


def _load_map(built: BuiltMaps, key: str, source: Part | None, source_map: Part | None) -> tuple[Any, ...]:
    """Builds a map of a minified file and its map; without a map, the one that the file has inside."""
    from symbolic.sourcemapcache import SourceMapCache  # noqa: PLC0415

    minified = _unpacked(source)
    content = _unpacked(source_map)
    if source_map is None:
        reference = _reference(minified)
        if not reference.startswith(b"data:"):
            return REFERENCE, reference.decode("utf-8", "replace")[:2_048]
        content = _inlined(reference)
    size_bytes = BUILT_FACTOR * len(content) + 2 * len(minified)
    if size_bytes > built.room_bytes:
        return (TOO_LARGE,)
    built.make_room(size_bytes)
    content = content.removeprefix(codecs.BOM_UTF8)
    # Some servers put this in front, against scripts that would load JSON.
    if content.startswith(_JSON_PREFIX):
        content = content.partition(b"\n")[2]
    built.put(key, SourceMapCache.from_bytes(minified, content), size_bytes)
    return DONE, size_bytes


def _reference(minified: bytes) -> bytes:
    """What the last comment of the file says; b'' if there is none."""
    offset = max(minified.rfind(mark) for mark in _MARKS)
    words = minified[offset + len(_MARKS[0]) :].split(maxsplit=1) if offset >= 0 else []
    return words[0] if words else b""


def _inlined(reference: bytes) -> bytes:
    head, _, text = reference.partition(b",")
    try:
        return base64.b64decode(text) if b";base64" in head else unquote_to_bytes(text)
    except binascii.Error as error:
        raise ValueError(f"inlined source map: expected base64, found other bytes: {error}") from error


def _unpacked(part: Part | None) -> bytes:
    if part is None:
        return b""
    packed, name, size_bytes, method, crc32 = part
    return unpack(packed, Member(name, 0, len(packed), size_bytes, method, crc32))


def _frames(built: Any, positions: list[tuple[int, int]]) -> list[tuple[Any, ...] | None]:
    """For each (line, column), both from 1: (source, line, column, name, function, line's text, before, after)."""
    return [_frame(built, line, column) for line, column in positions]


def _frame(built: Any, line: int, column: int) -> tuple[Any, ...] | None:
    token = built.lookup(line, column, CONTEXT_LINES)
    if token is None or not token.src:
        return None
    return (
        *(token.src, token.line, token.col, token.name, token.function_name),
        *(_cut(token.context_line), [_cut(text) for text in token.pre_context]),
        [_cut(text) for text in token.post_context],
    )


def _cut(text: str | None) -> str | None:
    return None if text is None else text.rstrip("\r\n")[:MAX_CONTEXT_LENGTH]


def _load_mapping(built: BuiltMaps, key: str, mapping: Part) -> tuple[Any, ...]:
    """A ProGuard or R8 mapping; symbolic opens it as a file."""
    from symbolic.proguard import ProguardMapper  # noqa: PLC0415

    content = _unpacked(mapping)
    size_bytes = 3 * len(content)
    if size_bytes > built.room_bytes:
        return (TOO_LARGE,)
    built.make_room(size_bytes)
    handle, path = tempfile.mkstemp(prefix="axonpush-mapping-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        built.put(key, ProguardMapper.open(path), size_bytes)
    finally:
        Path(path).unlink()
    return DONE, size_bytes


def _java(
    built: Any, classes: list[str], frames: list[tuple[str, str, int]]
) -> tuple[list[str | None], list[list[tuple[Any, ...]]]]:
    """For each class its name in the source; for each (class, method, line) its frames, the innermost first."""
    names = [built.remap_class(name) for name in classes]
    remapped = [
        [(frame.class_name, frame.method, frame.line, frame.file) for frame in built.remap_frame(*method_line)]
        for method_line in frames
    ]
    return names, remapped


def _write(answers: BinaryIO, value: tuple[Any, ...]) -> None:
    encoded = marshal.dumps(value)
    answers.write(LENGTH.pack(len(encoded)) + encoded)
    answers.flush()


def _read(jobs: BinaryIO) -> tuple[Any, ...] | None:
    length = jobs.read(LENGTH.size)
    if len(length) < LENGTH.size:
        return None
    job: tuple[Any, ...] = marshal.loads(jobs.read(LENGTH.unpack(length)[0]))
    return job


if __name__ == "__main__":
    main()
