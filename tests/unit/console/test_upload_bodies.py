"""Bodies of uploads: forms, chunks, checksums and names, each at the edge of its limit."""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from console.api.errors import ApiError
from console.artifacts import bodies

BOUNDARY = "----upload"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
SHA1 = "0123456789abcdef0123456789abcdef01234567"


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def form(*parts: tuple[str, str | None, bytes]) -> bytes:
    """A body of parts: name, file name (None for a text), content."""
    lines = []
    for name, filename, content in parts:
        file = "" if filename is None else f'; filename="{filename}"'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        lines.append(head.encode() + content + b"\r\n")
    return b"".join(lines) + f"--{BOUNDARY}--\r\n".encode()


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(ApiError) as refused:
        read()
    assert refused.value.status == 400
    return refused.value.detail


def test_chunks_are_files_plain_or_compressed() -> None:
    """Named by the SHA-1 of what they inflate to, in letters of either case."""
    plain, packed = b"first", b"second"
    body = form(("file", sha1(plain), plain), ("file_gzip", sha1(packed).upper(), gzip.compress(packed)))
    assert list(bodies.chunks_of(body, FORM)) == [plain, packed]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (("other", "x", b"x"), "form: expected parts file or file_gzip, found 'other'"),
        (("file", SHA1, b"x"), f"chunk: expected the SHA-1 of its bytes as its name, found '{SHA1}' for {sha1(b'x')}"),
        (("file", None, b"x"), "chunk: expected the SHA-1 of its bytes as its name, found ''"),
        (("file_gzip", sha1(b"x"), b"x"), f"chunk {sha1(b'x')}: "),
        (("file", sha1(gzip.compress(b"x", mtime=0)) + "0", gzip.compress(b"x", mtime=0)), "chunk: expected the SHA-1"),
    ],
)
def test_a_chunk_that_is_none_is_named(part: tuple[str, str | None, bytes], expected: str) -> None:
    """With what was expected and found."""
    assert refusal(lambda: list(bodies.chunks_of(form(part), FORM))).startswith(expected)


def test_a_chunk_has_the_size_that_was_told_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain and inflated alike; the limit itself is allowed."""
    monkeypatch.setattr(bodies, "CHUNK_BYTES", 10)
    whole, more = b"x" * 10, b"x" * 11
    body = form(("file", sha1(whole), whole), ("file_gzip", sha1(whole), gzip.compress(whole)))
    assert list(bodies.chunks_of(body, FORM)) == [whole, whole]
    plain = refusal(lambda: list(bodies.chunks_of(form(("file", sha1(more), more)), FORM)))
    assert plain == f"chunk {sha1(more)}: expected at most 10 bytes, found 11"
    packed = form(("file_gzip", sha1(more), gzip.compress(more)))
    assert refusal(lambda: list(bodies.chunks_of(packed, FORM))).startswith(f"chunk {sha1(more)}: ")


def test_a_request_has_so_many_chunks_at_most() -> None:
    """As the options of uploads tell."""
    part = ("file", sha1(b"x"), b"x")
    assert len(list(bodies.chunks_of(form(*[part] * bodies.MAX_CHUNKS_PER_REQUEST), FORM))) == 64
    more = form(*[part] * (bodies.MAX_CHUNKS_PER_REQUEST + 1))
    assert "at most 64 chunks in one request" in refusal(lambda: list(bodies.chunks_of(more, FORM)))


def test_what_is_no_form_is_refused() -> None:
    """Also a form that ends too early."""
    assert refusal(lambda: list(bodies.chunks_of(b"{}", "application/json"))).startswith("form: expected")
    assert refusal(lambda: list(bodies.chunks_of(form(("file", "x", b"x"))[:-20], FORM))).startswith("form")


def test_a_file_of_a_release() -> None:
    """Its name stands in the form, or is that of the file; headers are split at the first colon."""
    texts = [("header", None, b"Sourcemap: a.js.map: b"), ("dist", None, b"7"), ("name", None, b"~/a.js")]
    assert bodies.release_file_of(form(*texts, ("file", "a.js", b"code")), FORM) == (
        "~/a.js",
        "7",
        b"code",
        {"sourcemap": "a.js.map: b"},
    )
    assert bodies.release_file_of(form(("file", "a.js", b"")), FORM) == ("a.js", "", b"", {})
    assert "a part file with a file name, found none" in refusal(lambda: bodies.release_file_of(form(*texts), FORM))


def test_mappings_are_a_zip() -> None:
    """Every file of it, in order."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as writing:
        writing.writestr("proguard/a.txt", b"one")
        writing.writestr("proguard/b.txt", b"two")
    assert bodies.mappings_of(packed.getvalue()) == [("proguard/a.txt", b"one"), ("proguard/b.txt", b"two")]
    assert refusal(lambda: bodies.mappings_of(b"no zip")).startswith("file: ")


@pytest.mark.parametrize("value", ["", SHA1[:-1], SHA1 + "0", "g" * 40, f"{SHA1}\n", None, 7, [SHA1]])
def test_what_is_no_checksum_is_named(value: Any) -> None:
    """By the field in which it stood."""
    assert refusal(lambda: bodies.sha1_of(value)).startswith("checksum: expected a SHA-1 of 40 hex digits, found ")
    assert refusal(lambda: bodies.sha1s_of([value])).startswith("chunks: expected a SHA-1")


def test_a_list_of_checksums() -> None:
    """A missing one is empty, and it has a limit."""
    assert bodies.sha1_of(SHA1.upper()) == SHA1
    assert bodies.sha1s_of(None) == []
    assert bodies.sha1s_of([SHA1] * bodies.MAX_CHUNKS) == [SHA1] * bodies.MAX_CHUNKS
    for value in ([SHA1] * (bodies.MAX_CHUNKS + 1), SHA1, {}):
        assert "chunks: expected a list of at most 4096 SHA-1s" in refusal(lambda value=value: bodies.sha1s_of(value))


def test_a_short_text() -> None:
    """Null and a missing one are empty; the limit itself is allowed."""
    assert [bodies.short_text(document, "dist") for document in ({}, {"dist": None}, {"dist": "1"})] == ["", "", "1"]
    assert bodies.short_text({"dist": "x" * 250}, "dist") == "x" * 250
    for value in ("x" * 251, 1, ["x"]):
        detail = refusal(lambda value=value: bodies.short_text({"dist": value}, "dist"))
        assert detail == "dist: expected a text of at most 250 characters, found another form"
