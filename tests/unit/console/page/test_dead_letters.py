"""Dead letters on the page: of the own organisation only, with their bytes for who may decide, retried and dropped."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from console.explore.dead_letters import HEX_BYTES, MAX_INFLATED, SHOWN_BYTES, DeadLetterBody, hex_lines
from console.services import Services
from console.storage.broker import NobodyAnswers
from ops.runtime.registry.registry_log import RegistryEntryChange
from schemas.operator_requests.actions import DROP_DEAD_LETTERS, MAX_DEAD_LETTERS, RETRY_DEAD_LETTERS
from schemas.operator_requests.messages import OperatorAnswer, OperatorRequest, read_request
from schemas.registry import key_hash
from tests.unit.console.fakes import READ_ONLY, TOKEN, FakeClickHouse, client, registry_entries, services, token

pytestmark = pytest.mark.asyncio
PATH = "/api/0/organizations/acme/delivery/dead-letters/"
DECIDER = "may-decide"
KEY = "pt_" + "a" * 32
ROW = {
    "dead_seq": 7, "channel_id": 1, "key_id": "k", "stage": "unpack", "item_type": "sentry_envelope",
    "reason": "invalid", "error": "expected a header", "received_at": "2026-11-27 11:00:00.123456789",
    "deliveries": 1, "size": 3, "headers": {"Organisation": "acme"}, "bytes": base64.b64encode(b"abc").decode(),
    "dead_id": "0", "said": "why", "number": 2, "last": "2026-11-27 11:00:00.0", "sequence": 7, "channel": 1,
}  # fmt: skip


class FakeOperator:
    """The janitor: keeps what it was asked, answers what a test says."""

    def __init__(self, answer: OperatorAnswer | None = None) -> None:
        self.answer = answer or OperatorAnswer(200)
        self.error: Exception | None = None
        self.asked: list[OperatorRequest] = []

    async def ask(self, body: bytes) -> bytes:
        self.asked.append(read_request(body))
        if self.error:
            raise self.error
        return self.answer.encoded()


def made(operator: FakeOperator | None = None, clickhouse: FakeClickHouse | None = None) -> Services:
    known = registry_entries()
    decider = token(DECIDER, scopes=("delivery:write", "event:read"))
    known.put(RegistryEntryChange(decider.kv_key, 50, decider.model_dump_json().encode()))
    found = services(clickhouse or FakeClickHouse(), known)
    found.operator = operator
    return found


async def test_a_list_asks_for_the_own_channels() -> None:
    """And for what the reader chose, as parameters."""
    clickhouse = FakeClickHouse(lambda _sql, _parameters: [ROW])
    async with client(made(None, clickhouse), READ_ONLY) as asking:
        answer = await asking.get(PATH, params={"reason": "x' OR 1", "stage": "unpack", "limit": 5})
    (letter,) = answer.json()
    assert (letter["number"], letter["project"], letter["sizeBytes"]) == (7, "web", 3)
    assert "bytes" not in json.dumps(letter).lower().replace("sizebytes", "")
    ((sql, parameters),) = clickhouse.asked
    assert "organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}" in sql
    assert (parameters["organisation"], parameters["channels"]) == ("acme", [1, 2])
    assert (parameters["reason"], parameters["stage"], parameters["limit"]) == ("x' OR 1", "unpack", 6)


@pytest.mark.parametrize("below", ["7/", "7/bytes/"])
async def test_bytes_are_for_those_who_decide(below: str) -> None:
    """They came before secrets in them could be filtered."""
    clickhouse = FakeClickHouse(lambda _sql, _parameters: [ROW])
    async with client(made(None, clickhouse), READ_ONLY) as asking:
        refused = await asking.get(PATH + below)
    assert (refused.status_code, clickhouse.asked) == (403, [])
    assert "delivery:write" in refused.json()["detail"]
    async with client(made(None, clickhouse), DECIDER) as asking:
        assert (await asking.get(PATH + below)).status_code == 200


@pytest.mark.parametrize(("text", "shown"), [(READ_ONLY, ""), (DECIDER, "abc")])
async def test_the_first_bytes_too(text: str, shown: str) -> None:
    """In the list by reason."""
    answers = {"dead_letters": [ROW | {"bytes": "abc"}]}
    clickhouse = FakeClickHouse(lambda sql, _: answers["dead_letters"] if "FROM dead_letters" in sql else [])
    async with client(made(None, clickhouse), text) as asking:
        told = (await asking.get("/api/0/organizations/acme/delivery/problems/")).json()
    assert told["deadLetters"][0]["bytes"] == shown


async def test_a_download_is_a_file_and_never_a_page() -> None:
    """A browser does not run what a sender wrote."""
    row = ROW | {"bytes": base64.b64encode(b"<script>\x00\xff").decode()}
    async with client(made(None, FakeClickHouse(lambda _sql, _parameters: [row])), DECIDER) as asking:
        answer = await asking.get(f"{PATH}7/bytes/")
    assert answer.content == b"<script>\x00\xff"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="dead-letter-7.bin"'
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_compressed_body_is_shown_as_what_is_in_it() -> None:
    """With keys masked, which the table could not see."""
    shown = DeadLetterBody(gzip.compress(f'{{"dsn":"http://{KEY}@h/1"}}'.encode()), "gzip").shown()
    assert shown["isText"]
    assert shown["text"].startswith('{"dsn":"http://')
    assert KEY not in shown["text"] + shown["hex"]


@pytest.mark.parametrize(
    ("data", "encoding"),
    [(b"\x1f\x8b broken", "gzip"), (gzip.compress(b"x" * (MAX_INFLATED + 1)), "gzip"), (b"x", "unheard-of")],
)
async def test_what_cannot_be_decompressed_is_shown_as_it_is(data: bytes, encoding: str) -> None:
    """And says why."""
    shown = DeadLetterBody(data, encoding).shown()
    assert shown["note"]
    assert shown["sizeBytes"] == len(data)


async def test_binary_and_long_bodies_are_bounded() -> None:
    """64 kB as text, 4 kB in hexadecimal."""
    binary = DeadLetterBody(bytes(range(256)) * 1_000, "").shown()
    assert not binary["isText"]
    assert binary["hex"].count("\n") == HEX_BYTES // 16 - 1
    text = DeadLetterBody("ü".encode() * 100_000, "").shown()
    assert text["isText"]
    assert (text["shownBytes"], text["sizeBytes"]) == (SHOWN_BYTES, 200_000)


def lines_of(text: str) -> list[str]:
    return hex_lines(text.encode()).split("\n")


async def test_hexadecimal_lines() -> None:
    """Offset, bytes, characters."""
    assert lines_of("GET /\n0123456789abc")[0] == (
        "00000000  47 45 54 20 2f 0a 30 31 32 33 34 35 36 37 38 39  GET /.0123456789"
    )
    assert lines_of("GET /\n0123456789abc")[1] == f"00000010  61 62 63{' ' * 39}  abc"


@pytest.mark.parametrize(("below", "action"), [("retry/", RETRY_DEAD_LETTERS), ("drop/", DROP_DEAD_LETTERS)])
async def test_a_decision_goes_to_the_janitor(below: str, action: str) -> None:
    """With the organisation and the token that asks, and only what was chosen."""
    operator = FakeOperator(OperatorAnswer(200, result={"retried": 2, "left": 0}))
    chosen = {"reason": "invalid", "stage": "unpack", "before": "2026-11-27T12:00:00+00:00"}
    async with client(made(operator), DECIDER) as asking:
        answer = await asking.post(PATH + below, json=chosen, params={"project": "web"})
    assert answer.json() == {"retried": 2, "left": 0}
    (request,) = operator.asked
    assert (request.action, request.organisation, request.token_sha256) == (action, "acme", key_hash(DECIDER))
    assert request.given["reasons"] == ["invalid"]
    assert request.given["channels"] == [1]
    assert request.given["before"] == "2026-11-27T12:00:00Z"


@pytest.mark.parametrize("text", [READ_ONLY, TOKEN])
@pytest.mark.parametrize("below", ["retry/", "drop/"])
async def test_without_the_scope_the_janitor_is_not_asked(text: str, below: str) -> None:
    """Other scopes to write do not include it."""
    operator = FakeOperator()
    async with client(made(operator), text) as asking:
        answer = await asking.post(PATH + below, json={"numbers": [7]})
    assert (answer.status_code, operator.asked) == (403, [])


@pytest.mark.parametrize(
    "chosen",
    [
        {}, {"numbers": []}, {"reason": ""}, {"numbers": [0]}, {"numbers": ["x"]},
        {"numbers": [7] * (MAX_DEAD_LETTERS + 1)}, {"reason": "x" * 201}, {"before": "soon"},
        {"before": "2026-11-27T12:00:00"}, {"everything": True},
        {"reason": {"a": 1}}, {"numbers": {"a": 1}}, {"channels": [9]},
    ],
)  # fmt: skip
async def test_what_chooses_nothing_or_nonsense_is_a_400(chosen: dict[str, Any]) -> None:
    """Nobody drops everything by accident."""
    operator = FakeOperator()
    async with client(made(operator), DECIDER) as asking:
        answer = await asking.post(f"{PATH}drop/", json=chosen)
    assert (answer.status_code, operator.asked) == (400, [])
    assert "expected" in answer.json()["detail"].lower() or "should" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NobodyAnswers(may_be_done=False), "does `axonpush janitor` run? Nothing was changed"),
        (NobodyAnswers(may_be_done=True), "it may have been done"),
    ],
)
async def test_without_a_janitor_the_page_says_so(error: Exception, words: str) -> None:
    """And whether something may have happened."""
    operator = FakeOperator()
    operator.error = error
    async with client(made(operator), DECIDER) as asking:
        answer = await asking.post(f"{PATH}retry/", json={"numbers": [7]})
    assert answer.status_code == 503
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(("status", "expected"), [(403, 403), (404, 404), (409, 409), (503, 503), (0, 503), (302, 503)])
async def test_a_refusal_of_the_janitor_is_the_answer(status: int, expected: int) -> None:
    """In its words."""
    operator = FakeOperator(OperatorAnswer(status, "token: expected another one"))
    async with client(made(operator), DECIDER) as asking:
        answer = await asking.post(f"{PATH}retry/", json={"numbers": [7]})
    assert (answer.status_code, answer.json()["detail"]) == (expected, "token: expected another one")


@pytest.mark.parametrize("path", ["x/", "0/", "-1/", "99999999999999999999/", "retries/0/", "retries/x/"])
async def test_numbers_of_a_path(path: str) -> None:
    """Anything else is not there."""
    async with client(made(), DECIDER) as asking:
        assert (await asking.get(PATH + path)).status_code == 404


async def test_what_became_of_a_retry() -> None:
    """By its generation, in the own channels."""

    def answer(sql: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        assert (parameters["generation"], parameters["channels"]) == (5, [1, 2])
        return [{"number": 3}] if "taken_rows" in sql else [{"reason": "invalid", "number": 1, "newest": 9}]

    async with client(made(None, FakeClickHouse(answer)), READ_ONLY) as asking:
        told = (await asking.get(f"{PATH}retries/5/")).json()
    assert told == {"processed": 3, "deadAgain": [{"reason": "invalid", "number": 1, "newest": 9}]}
