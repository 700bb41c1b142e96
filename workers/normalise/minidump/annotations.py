"""What a program told Crashpad about itself, read from a dump: names and values, bounded. Nothing is interpreted.

After Crashpad's minidump_extensions.h.
"""

from __future__ import annotations

from typing import Final

from workers.normalise.minidump.file import CRASHPAD, Dump, FileRange, Reader

MAX_ANNOTATIONS: Final = 200
_MAX_MODULES: Final = 256
_STRING: Final = 1


ANNOTATIONS_CUT: Final = "annotations_cut"


def read_annotations(dump: Dump, repairs: list[str]) -> dict[str, str]:
    """All annotations by name, those of the whole process before those of its modules; the first of a name counts."""
    reader = dump.reader
    span = reader.streams.get(CRASHPAD)
    if span is None:
        return {}
    annotations: dict[str, str] = {}
    # version, report id, client id, then two locations of (size, offset)
    _simple(reader, _location(reader, span.offset + 36), annotations)
    modules = _location(reader, span.offset + 44)
    for index in range(min(reader.number("I", modules.offset), _MAX_MODULES) if modules.size else 0):
        if len(annotations) > MAX_ANNOTATIONS:
            break
        module = _location(reader, modules.offset + 4 + 12 * index + 4)
        if module.size:
            _simple(reader, _location(reader, module.offset + 12), annotations)
            _objects(reader, _location(reader, module.offset + 20), annotations)
    if len(annotations) > MAX_ANNOTATIONS or (modules.size and reader.number("I", modules.offset) > _MAX_MODULES):
        repairs.append(ANNOTATIONS_CUT)
    return dict(list(annotations.items())[:MAX_ANNOTATIONS])


def _location(reader: Reader, offset: int) -> FileRange:
    size, start = reader.unpack("II", offset) or (0, 0)
    return FileRange(start, size)


def _simple(reader: Reader, dictionary: FileRange, annotations: dict[str, str]) -> None:
    """Pairs of offsets of strings."""
    for index in range(_count(reader, dictionary)):
        key, value = reader.unpack("II", dictionary.offset + 4 + 8 * index) or (0, 0)
        _put(annotations, reader.text(key), reader.text(value))


def _objects(reader: Reader, objects: FileRange, annotations: dict[str, str]) -> None:
    """Typed annotations; only texts are read, the other types are the program's own."""
    for index in range(_count(reader, objects)):
        name, kind, _, value = reader.unpack("IHHI", objects.offset + 4 + 12 * index) or (0, 0, 0, 0)
        if kind == _STRING:
            _put(annotations, reader.text(name), reader.text(value))


def _count(reader: Reader, part: FileRange) -> int:
    """One more than are kept, so that a cut is seen."""
    return min(reader.number("I", part.offset), MAX_ANNOTATIONS + 1) if part.size else 0


def _put(annotations: dict[str, str], name: str, value: str) -> None:
    if name and len(annotations) <= MAX_ANNOTATIONS:
        annotations.setdefault(name, value)
