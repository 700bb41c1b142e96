"""Reads the directory of a zip file, and one member. Everything is bounded, whatever the file says.

Not zipfile: it reads a directory of any size into objects, and trusts the sizes. Format: PKWARE APPNOTE, without zip64,
encryption and files in several parts.
"""

from __future__ import annotations

import struct
import sys
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Final

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STORED: Final = 0
DEFLATED: Final = 8
ZSTANDARD: Final = 93
MAX_DIRECTORY_BYTES: Final = 32 * 1024 * 1024
METHODS: Final = (STORED, DEFLATED, ZSTANDARD)

_END: Final = struct.Struct("<4s4H2LH")
_END_SIGNATURE: Final = b"PK\x05\x06"
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
_ENTRY_SIGNATURE: Final = b"PK\x01\x02"
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_LOCAL_SIGNATURE: Final = b"PK\x03\x04"
_MAX_COMMENT_BYTES: Final = 0xFFFF
_ENCRYPTED: Final = 0x1
_UTF8: Final = 0x800
_ZIP64: Final = 0xFFFFFFFF
_STEP_BYTES: Final = 256 * 1024
_ZSTD_WINDOW_LOG_MAX: Final = 27


class InvalidZip(ValueError):
    """The file is no zip file, is damaged, or asks for more than is allowed. The text says what was expected."""


@dataclass(frozen=True, slots=True)
class ZipLimits:
    """What a zip file may ask for."""

    members: int = 20_000
    member_bytes: int = 256 * 1024 * 1024
    inflated_bytes: int = 1024 * 1024 * 1024
    name_bytes: int = 1024


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the zip: where its packed bytes begin, their number, its size once unpacked, its checksum."""

    name: str
    offset: int
    packed_bytes: int
    size_bytes: int
    method: int
    crc32: int


def read_directory(file: BinaryIO, limits: ZipLimits) -> dict[str, Member]:
    """The members by name. Raises InvalidZip. Offsets count from the beginning of `file`, whatever stands before the
    zip.
    """
    file_bytes = file.seek(0, 2)
    end_offset, (_, _, _, _, count, directory_bytes, directory_offset, _) = _end(file, file_bytes)
    if count == 0xFFFF or _ZIP64 in {directory_bytes, directory_offset}:
        raise InvalidZip("expected a zip file below 4 GB with fewer than 65,535 files, found zip64")
    if count > limits.members or directory_bytes > MAX_DIRECTORY_BYTES:
        raise InvalidZip(f"expected at most {limits.members} files in the zip, found {count}")
    # What stands before the zip (a bundle's header) is not counted in its offsets.
    before = end_offset - directory_bytes - directory_offset
    if before < 0:
        raise InvalidZip("expected the zip's directory inside of the file, found it to begin before the file")
    file.seek(before + directory_offset)
    members = _entries(file.read(directory_bytes), count, limits)
    return _locate_members(file, members, before, before + directory_offset)


def unpack(packed: bytes | memoryview, member: Member) -> bytes:
    """The content of a member. Raises InvalidZip; never makes more bytes than the member's size."""
    content = _inflated(packed, member)
    if len(content) != member.size_bytes:
        raise InvalidZip(f"{member.name}: expected {member.size_bytes} bytes, found {len(content)}")
    if zlib.crc32(content) != member.crc32:
        raise InvalidZip(f"{member.name}: expected the checksum {member.crc32:08x}, found {zlib.crc32(content):08x}")
    return content


def read_member(file: BinaryIO, member: Member) -> bytes:
    """The content of a member of this file. Raises InvalidZip."""
    file.seek(member.offset)
    return unpack(file.read(member.packed_bytes), member)


def _end(file: BinaryIO, file_bytes: int) -> tuple[int, tuple[int, ...]]:
    """Where the record at the end of the directory begins, and its fields."""
    tail_bytes = min(file_bytes, _END.size + _MAX_COMMENT_BYTES)
    file.seek(file_bytes - tail_bytes)
    tail = file.read(tail_bytes)
    position = tail.rfind(_END_SIGNATURE)
    if position < 0 or len(tail) - position < _END.size:
        raise InvalidZip("expected a zip file, found no end of its directory; it may be cut off")
    return file_bytes - tail_bytes + position, _END.unpack_from(tail, position)


def _entries(directory: bytes, count: int, limits: ZipLimits) -> list[Member]:
    """The members as the directory has them; `offset` is that of the local header, from the zip's beginning."""
    members: list[Member] = []
    position, left_bytes = 0, limits.inflated_bytes
    for _ in range(count):
        if len(directory) - position < _ENTRY.size or directory[position : position + 4] != _ENTRY_SIGNATURE:
            raise InvalidZip(f"expected {count} files in the zip's directory, found {len(members)}")
        fields = _ENTRY.unpack_from(directory, position)
        name_bytes, extra_bytes, comment_bytes = fields[10:13]
        start = position + _ENTRY.size
        member = _member(fields, directory[start : start + name_bytes], limits)
        left_bytes -= member.size_bytes
        if left_bytes < 0:
            raise InvalidZip(f"expected at most {limits.inflated_bytes} bytes once unpacked, found more")
        members.append(member)
        position = start + name_bytes + extra_bytes + comment_bytes
    return members


def _member(fields: tuple[int, ...], name: bytes, limits: ZipLimits) -> Member:
    _, _, _, flags, method, _, _, crc32, packed_bytes, size_bytes, *_, offset = fields
    try:
        text = name.decode("utf-8" if flags & _UTF8 else "cp437")
    except UnicodeDecodeError as error:
        raise InvalidZip(f"expected names in UTF-8, found {name[:80]!r}") from error
    check_name(text, limits)
    if flags & _ENCRYPTED:
        raise InvalidZip(f"{text}: expected no encryption, found an encrypted file")
    if method not in METHODS:
        raise InvalidZip(f"{text}: expected compression method {', '.join(map(str, METHODS))}, found {method}")
    if _ZIP64 in {packed_bytes, size_bytes, offset}:
        raise InvalidZip(f"{text}: expected a file below 4 GB, found zip64")
    if size_bytes > limits.member_bytes:
        raise InvalidZip(f"{text}: expected at most {limits.member_bytes} bytes once unpacked, found {size_bytes}")
    return Member(text, offset, packed_bytes, size_bytes, method, crc32)


def check_name(name: str, limits: ZipLimits) -> None:
    """Raises InvalidZip for a name that points out of the archive. We never write files by these names; whoever
    unpacks the bundle later might.
    """
    parts = name.replace("\\", "/").split("/")
    if len(name.encode()) > limits.name_bytes or not name:
        raise InvalidZip(f"expected names of 1 to {limits.name_bytes} bytes, found {len(name.encode())}")
    if ".." in parts or parts[0] == "" or parts[0].endswith(":") or any(char < " " for char in name):
        raise InvalidZip(f"expected names inside of the archive, found {name[:80]!r}")


def _locate_members(file: BinaryIO, members: list[Member], before: int, directory_start: int) -> dict[str, Member]:
    """The members with the offset of their bytes, which must not overlap. Of equal names, InvalidZip."""
    located: dict[str, Member] = {}
    free_from = before
    for member in sorted(members, key=lambda member: member.offset):
        file.seek(before + member.offset)
        local = file.read(_LOCAL.size)
        if len(local) < _LOCAL.size or not local.startswith(_LOCAL_SIGNATURE):
            raise InvalidZip(f"{member.name}: expected a file at byte {member.offset} of the zip, found none")
        *_, name_bytes, extra_bytes = _LOCAL.unpack(local)
        start = before + member.offset + _LOCAL.size + name_bytes + extra_bytes
        if before + member.offset < free_from or start + member.packed_bytes > directory_start:
            raise InvalidZip(f"{member.name}: expected files that do not overlap, found some that do")
        if member.name in located:
            raise InvalidZip(f"{member.name}: expected each name once, found it twice")
        free_from = start + member.packed_bytes
        located[member.name] = Member(
            member.name, start, member.packed_bytes, member.size_bytes, member.method, member.crc32
        )
    return located


def _inflated(packed: bytes | memoryview, member: Member) -> bytes:
    if len(packed) != member.packed_bytes:
        raise InvalidZip(f"{member.name}: expected {member.packed_bytes} packed bytes, found {len(packed)}")
    if member.method == STORED:
        return bytes(packed)
    try:
        if member.method == DEFLATED:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.size_bytes + 1)
        options = {int(zstd.DecompressionParameter.window_log_max): _ZSTD_WINDOW_LOG_MAX}
        return bytes(zstd.ZstdDecompressor(options=options).decompress(packed, member.size_bytes + 1))
    except (zlib.error, zstd.ZstdError) as error:
        raise InvalidZip(f"{member.name}: expected compressed bytes, found others: {error}") from error
