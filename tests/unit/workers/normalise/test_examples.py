"""Each file of tests/examples/cases is one body and the rows it must become. A new case is a new file.

`body` is a text, a list of lines, or JSON (an OTLP request). `base64` stands in place of it for bytes. `rows` names
columns that must have these values, row by row; a map must hold what is named. Rejections, drops and counts are exact.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas import subjects
from schemas.headers import Origin
from tests.unit import normalised
from workers.consume.message import Message
from workers.normalise.registry import normalisers
from workers.normalise.verdict import Verdict
from workers.unpack.readers import READERS

CASES = Path(__file__).parents[3] / "examples" / "cases"
MAX_BODY_BYTES = 6_000_000
OF_WORKER = normalisers(retention_days=30, max_body_bytes=MAX_BODY_BYTES)
MAPS = ("attributes_string", "attributes_int", "attributes_double", "attributes_bool", "resource")


def cases() -> list[Any]:
    """Every case by the name of its file."""
    return [pytest.param(path, id=path.stem) for path in sorted(CASES.glob("*.json"))]


def body_of(case: dict[str, Any]) -> bytes:
    """The bytes that were sent."""
    if "base64" in case:
        return base64.b64decode(case["base64"])
    body = case["body"]
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, list):
        return b"\n".join(line.encode() if isinstance(line, str) else orjson.dumps(line) for line in body)
    return orjson.dumps(body)


def verdicts(case: dict[str, Any]) -> tuple[list[tuple[str, Verdict]], dict[str, int]]:
    """(worker, verdict) of each item of the body, and what was dropped by reason and type."""
    origin = normalised.origin(**{"content_type": case.get("content_type", ""), **case.get("origin", {})})
    route, body = case["route"], body_of(case)
    if route not in READERS:
        sources = subjects.SOURCES.values()
        worker = next(source.worker for source in sources if source.subject.startswith(f"raw.{route}."))
        return [(worker, normalise(worker, origin, body))], {}
    split = READERS[route](body, origin, MAX_BODY_BYTES)
    dropped = Counter({f"unsupported_item_type:{name}": number for name, number in split.dropped.items()})
    dropped.update({f"{reason}:{name}": number for (reason, name), number in split.reports.items()})
    found = []
    for index, worker, item in split.items:
        found.append((worker, normalise(worker, normalised.origin(**{**vars_of(origin), "item_index": index}), item)))
    return found, dict(dropped)


def vars_of(origin: Origin) -> dict[str, Any]:
    """The fields of an origin."""
    return {name: getattr(origin, name) for name in origin.__dataclass_fields__}


def normalise(worker: str, origin: Origin, body: bytes) -> Verdict:
    """What the worker makes of one message."""
    message = Message("", {}, body, subjects.RAW, 1, 1, 0, receipt=None)  # type: ignore[arg-type]
    return OF_WORKER[worker].normalise(origin, message)


def rows_of(found: list[tuple[str, Verdict]]) -> list[dict[str, Any]]:
    """All rows by column, in the order of the body."""
    return [
        dict(zip(OF_WORKER[worker].columns, values, strict=True))
        for worker, verdict in found
        for values in verdict.rows
    ]


@pytest.mark.parametrize("path", cases())
def test_the_body_becomes_these_rows(path: Path) -> None:
    """What `rows` names is there, and there are no other rows, rejections or drops."""
    case = json.loads(path.read_text())
    found, dropped = verdicts(case)
    rows = rows_of(found)
    assert len(rows) == len(case["rows"]), rows
    for row, expected in zip(rows, case["rows"], strict=True):
        check_row(row, expected)
    reasons = [rejection.reason for _, verdict in found for rejection in verdict.rejections]
    assert reasons == case.get("rejections", [])
    assert dropped == case.get("dropped", {})


def check_row(row: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each column named has its value; `absent` names texts that stand in no column at all."""
    for column, value in expected.items():
        if column == "absent":
            text = json.dumps({key: str(cell) for key, cell in row.items()})
            assert not [word for word in value if word in text], row
        elif column in MAPS:
            present = {key: row[column].get(key) for key in value}
            assert present == value, (column, row[column])
        elif column == "event_id":
            assert f"{row[column]:032x}" == value
        else:
            assert row[column] == value, (column, row[column])


def test_every_item_type_has_a_case() -> None:
    """Of what senders send; outcomes and dead letters are messages of our own."""
    cases_read = [verdicts(json.loads(path.read_text()))[0] for path in CASES.glob("*.json")]
    with_rows = {worker for found in cases_read for worker, verdict in found if verdict.rows}
    assert set(OF_WORKER) - with_rows == {"outcome", "dead"}
