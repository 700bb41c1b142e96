"""Fields of bodies: what is refused is named as it was found."""

from __future__ import annotations

from typing import Any

import pytest

from console.api.errors import ApiError
from console.api.request import MAX_DEPTH, read_time, text_field
from tests.unit.console.fakes import FakeClickHouse, client, services


@pytest.mark.parametrize(
    ("value", "found"),
    [("x" * 6, "found 6 characters"), (["x"], "found a list"), (7, "found a number"), (True, "found true or false")],
)
def test_a_field_that_is_no_short_text_is_refused_as_what_it_is(value: object, found: str) -> None:
    """A text is not the wrong form: its length is."""
    with pytest.raises(ApiError) as refused:
        text_field({"name": value}, "name", 5)
    assert refused.value.detail == f"name: expected a text of at most 5 characters, {found}"


@pytest.mark.parametrize(("value", "text"), [("x" * 5, "x" * 5), ("", ""), (None, "none")])
def test_a_short_text_is_taken_and_null_is_the_default(value: object, text: str) -> None:
    """The limit itself is allowed."""
    assert text_field({"name": value}, "name", 5, "none") == text


def nested(depth: int, *, in_lists: bool) -> dict[str, Any]:
    """An object of so many levels, below it objects or lists."""
    value: Any = [] if in_lists else {}
    for _ in range(depth - 2):
        value = [value] if in_lists else {"a": value}
    return {"version": value}


@pytest.mark.parametrize("in_lists", [False, True])
@pytest.mark.asyncio
async def test_a_body_has_so_many_levels_at_most(in_lists: bool) -> None:
    """Of objects and of lists; the limit itself is allowed, and then the field is what is wrong."""
    too_deep = f"body: expected JSON of at most {MAX_DEPTH} levels, found more"
    async with client(services(FakeClickHouse())) as asking:
        answers = [
            await asking.post("/api/0/organizations/acme/releases/", json=nested(depth, in_lists=in_lists))
            for depth in (MAX_DEPTH, MAX_DEPTH + 1)
        ]
    assert [answer.status_code for answer in answers] == [400, 400]
    allowed, refused = (answer.json()["detail"] for answer in answers)
    assert allowed.startswith("version: expected")
    assert refused == too_deep


@pytest.mark.parametrize(
    ("body", "found"), [(b"[]", "a list"), (b"7", "a number"), (b'"x"', "a text"), (b"null", "null"), (b"true", "true")]
)
@pytest.mark.asyncio
async def test_a_body_that_is_no_object_is_named(body: bytes, found: str) -> None:
    """As what it is."""
    async with client(services(FakeClickHouse())) as asking:
        answer = await asking.post("/api/0/organizations/acme/releases/", content=body)
    assert answer.json()["detail"].startswith(f"body: expected a JSON object, found {found}")


@pytest.mark.parametrize(("more", "detail"), [(0, "version: expected"), (1, "body: expected at most 4096 bytes")])
@pytest.mark.asyncio
async def test_a_body_may_have_the_bytes_of_the_setting(more: int, detail: str) -> None:
    """One byte more is too much; at the limit it is read, and found wrong."""
    made = services(FakeClickHouse(), console_body_bytes=4_096)
    async with client(made) as asking:
        answer = await asking.post("/api/0/organizations/acme/releases/", content=b"{}".ljust(4_096 + more))
    assert answer.status_code == (413 if more else 400)
    assert answer.json()["detail"].startswith(detail)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", "2026-01-31T00:00:00+00:00"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00+00:00"),
        ("1971-01-01", "1971-01-01T00:00:00+00:00"),
        ("2199-12-31T23:59:59", "2199-12-31T23:59:59+00:00"),
    ],
)
def test_a_time_is_utc(text: str, moment: str) -> None:
    """Without an offset too; the first and the last year are allowed."""
    assert read_time("start", text).isoformat() == moment


@pytest.mark.parametrize("text", ["1970-12-31", "2200-01-01", "0001-01-01", "9999-12-31"])
def test_a_year_that_no_table_can_hold_is_refused(text: str) -> None:
    """By its name."""
    with pytest.raises(ApiError) as refused:
        read_time("end", text)
    assert refused.value.detail == f"end: expected a year from 1971 to 2199, found {int(text[:4])}"
