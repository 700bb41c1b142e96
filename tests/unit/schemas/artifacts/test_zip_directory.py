"""The directory at the end of a zip file, wherever its end is."""

from __future__ import annotations

import io
import zipfile

import pytest

from schemas.artifacts.zip_directory import InvalidZip, ZipLimits, read_directory, read_member


def zipped(comment: bytes = b"") -> bytes:
    """A zip file of two members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.js", b"a" * 1_000)
        archive.writestr("b.js", b"b")
        archive.comment = comment
    return file.getvalue()


@pytest.mark.parametrize("comment", [b"", b"x", b"made by a build", b"c" * 0xFFFF], ids=len)
@pytest.mark.parametrize("before", [b"", b"SYSB\x02\0\0\0"])
def test_a_comment_may_stand_behind_the_directory(comment: bytes, before: bytes) -> None:
    """As long as the format allows, also in a file that has something before the zip."""
    file = io.BytesIO(before + zipped(comment))
    members = read_directory(file, ZipLimits())
    assert list(members) == ["a.js", "b.js"]
    assert read_member(file, members["a.js"]) == b"a" * 1_000
    assert read_member(file, members["b.js"]) == b"b"


@pytest.mark.parametrize("missing", range(1, 22))
def test_an_end_that_is_cut_off_is_no_end(missing: int) -> None:
    """The record has 22 bytes."""
    with pytest.raises(InvalidZip, match="no end of its directory; it may be cut off"):
        read_directory(io.BytesIO(zipped()[:-missing]), ZipLimits())
