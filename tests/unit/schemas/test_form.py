"""multipart/form-data: what browsers, curl and crash handlers send is read, anything else is refused in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import form
from schemas.form import FormError, Part
from tests.unit import forms


def test_fields_and_files_come_in_order() -> None:
    """Bytes as they were, names as UTF-8, a file apart from a text."""
    body = forms.write([("a", b"1\r\n2"), ("dämp", b"\x00\r\n--\xff", "c:\\x\\ü.dmp"), ("a", b"")])
    assert form.read(body, forms.CONTENT_TYPE) == [
        Part("a", None, "", b"1\r\n2"),
        Part("dämp", "ü.dmp", "application/octet-stream", b"\x00\r\n--\xff"),
        Part("a", None, "", b""),
    ]


def test_the_boundary_is_found_where_content_type_lacks_it() -> None:
    """Some uploaders forget it; it is the first line of the body."""
    body = forms.write([("a", b"1")])
    assert form.read(body, "multipart/form-data") == [Part("a", None, "", b"1")]
    quoted = f'Multipart/Form-Data; charset=utf-8; BOUNDARY="{forms.BOUNDARY}"'
    assert form.read(b"preamble\r\n" + body + b"epilogue", quoted) == [Part("a", None, "", b"1")]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "boundary"),
        (b"hello", "boundary"),
        (b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1", "end"),
        (b"--x\r\nContent-Disposition: inline\r\n\r\n1\r\n--x--", "Wrong type"),
        (b"--x\r\n\r\n1\r\n--x--", "Content-Disposition"),
        (b"--x\r\nA: " + b"b" * 5_000 + b"\r\n\r\n1\r\n--x--", "length"),
        (b"--x\r\n" + b"A: b\r\n" * 17 + b"\r\n1\r\n--x--", "count"),
    ],
)
def test_what_is_no_form_is_refused_in_words(body: bytes, word: str) -> None:
    """Never another exception; the words quote nothing of the body."""
    with pytest.raises(FormError, match=word):
        form.read(body, "multipart/form-data")


def test_parts_are_counted() -> None:
    """As many as an envelope may have items."""
    fields: list[forms.Field] = [("a", b"1")] * form.MAX_PARTS
    assert len(form.read(forms.write(fields), forms.CONTENT_TYPE)) == form.MAX_PARTS
    with pytest.raises(FormError, match="segment count"):
        form.read(forms.write([*fields, ("a", b"1")]), forms.CONTENT_TYPE)


names = st.text(st.characters(blacklist_characters='"%\\\r\n', blacklist_categories=("Cs",)), max_size=10)


@given(st.lists(st.tuples(names, st.binary(max_size=40)) | st.tuples(names, st.binary(max_size=40), names), max_size=6))
def test_what_is_written_is_read(fields: list[forms.Field]) -> None:
    """Names and bytes, whatever they hold."""
    found = form.read(forms.write(fields), forms.CONTENT_TYPE)
    assert [part.content for part in found] == [field[1] for field in fields]
    assert [part.filename is None for part in found] == [len(field) == 2 for field in fields]


@given(st.binary(max_size=200), st.text(max_size=60), st.binary(max_size=40))
def test_any_bytes_are_a_form_or_refused(body: bytes, content_type: str, around: bytes) -> None:
    """Under any Content-Type."""
    good = forms.write([("a", body)])
    for raw in (body, around + good, good[: len(body)], b"--x\r\n" + body + b"\r\n--x--"):
        for kind in (content_type, forms.CONTENT_TYPE, "multipart/form-data"):
            try:
                form.read(raw, kind)
            except FormError as error:
                assert len(str(error)) < 300  # noqa: PT017 - an answer's text
