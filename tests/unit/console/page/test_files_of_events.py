"""Files of events: listed and downloaded, never shown by a browser, whatever they are called."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from console.issues.attachments import disposition
from tests.unit.console.fakes import FOREIGN, FakeClickHouse, client, services
from tests.unit.console.page.test_views import _ROW

EVENT = "0" * 32
PATH = f"/api/0/projects/acme/web/events/{EVENT}/attachments/"
FILE = {
    "id": "1" * 32, "name": "../<b>.html", "timestamp": "2026-11-27 12:00:00.0", "media_type": "text/html",
    "kind": "event.attachment", "size": 5, "is_cut": 0, "body": base64.b64encode(b"<b>\xff\x00").decode(),
}  # fmt: skip


def answer(sql: str, _parameters: dict[str, Any]) -> list[dict[str, Any]]:
    if "item_type = 'attachment'" in sql:
        return [FILE]
    return [_ROW | {"channel_id": 1, "payload": "{}", "trace_id": ""}]


@pytest.mark.asyncio
async def test_a_file_is_a_download_and_never_a_page() -> None:
    """Bytes as they came, of no type that a browser runs; asked for with the project and the event."""
    clickhouse = FakeClickHouse(answer)
    async with client(services(clickhouse)) as asking:
        (listed,) = (await asking.get(PATH)).json()
        got = await asking.get(f"{PATH}{listed['id']}/")
    assert (listed["name"], listed["size"], listed["mimetype"]) == ("../<b>.html", 5, "text/html")
    assert got.content == b"<b>\xff\x00"
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-disposition"].startswith("attachment; ")
    for sql, parameters in clickhouse.asked:
        if "attachment" in sql:
            assert (parameters["organisation"], parameters["channel"], parameters["event"]) == ("acme", 1, EVENT)


@pytest.mark.asyncio
async def test_files_of_others_are_not_there() -> None:
    """Nor those of no event, nor by what is no id."""
    clickhouse = FakeClickHouse(lambda sql, _: [] if "'attachment'" in sql else answer(sql, {}))
    async with client(services(clickhouse)) as asking:
        for below in (f"{'1' * 32}/", "x/", "..%2f/"):
            assert (await asking.get(PATH + below)).status_code == 404
    async with client(services(clickhouse), FOREIGN) as asking:
        assert (await asking.get(PATH)).status_code == 404


@pytest.mark.parametrize(
    "name",
    [
        'a"; filename="b.exe',
        "a\r\nSet-Cookie: x=1",
        "../../etc/passwd",
        "\u202egnp.exe",
        "",
        "ü.txt",
        ".htaccess",
        "x" * 9_000,
    ],
)
def test_a_name_cannot_leave_its_header_or_the_folder(name: str) -> None:
    """It is a sender's."""
    header = disposition(name)
    plain = header.split('"')[1]
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    assert plain
    assert "/" not in header.replace("UTF-8''", "")
    assert not plain.startswith(".")
    assert len(header) < 2_000
