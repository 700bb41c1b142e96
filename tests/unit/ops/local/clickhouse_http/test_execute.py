"""One call on its way to the engine: how much of a statement is taken, and how long it may take."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from ops.local.clickhouse_http.access import allowed
from ops.local.clickhouse_http.access.parse import MAX_STATEMENT_BYTES
from ops.local.clickhouse_http.access.users import OPERATOR, READER, WORKER
from ops.local.clickhouse_http.errors import ServerError
from ops.local.clickhouse_http.execute import WORKER_LIMIT_S, Run
from ops.local.clickhouse_http.request import Call

PIECE = b" " * (1 << 20)


class _Rights:
    def check_database(self, _name: str) -> None:
        """Any will do."""


class _Guard:
    rights: ClassVar = {READER: _Rights(), WORKER: _Rights(), OPERATOR: _Rights()}

    def check_settings(self, _user: str, _settings: dict[str, str]) -> None:
        """Any will do."""

    def statement(self, *_: Any) -> Any:
        raise AssertionError("a statement that is too long was parsed")


class _Engine:
    guard = _Guard()


class _Pool:
    def admit_reader(self) -> None:
        """There is room."""


class _Body:
    """An endless body that counts what is taken of it."""

    taken = 0

    def pieces(self) -> Iterator[bytes]:
        while True:
            self.taken += 1
            yield PIECE


def run(call: Call, body: Iterator[bytes]) -> Run:
    reading, writing = os.pipe()
    os.close(reading)
    engine: Any = _Engine()
    pool: Any = _Pool()
    return Run(engine, pool, call, body, writing)


@pytest.mark.parametrize("user", [READER, WORKER, OPERATOR])
def test_no_more_of_a_statement_is_taken_than_its_user_may_send(user: str) -> None:
    body = _Body()
    with pytest.raises(ServerError, match="Max query size exceeded") as refused:
        run(Call(user=user, query=b"SELECT 1"), body.pieces())()
    assert refused.value.code == 62
    assert body.taken <= MAX_STATEMENT_BYTES[user] // len(PIECE) + 1


def test_a_limit_of_each_user() -> None:
    """A reader's is what it asked for, a worker's is fixed, an operator has none."""
    for call, expected_s in (
        (Call(user=READER), float(allowed.READER_DEFAULTS["max_execution_time"])),
        (Call(user=READER, settings={"max_execution_time": "7"}), 7.0),
        (Call(user=WORKER, settings={"max_execution_time": "7"}), WORKER_LIMIT_S),
        (Call(user=OPERATOR), math.inf),
    ):
        one = run(call, iter(()))
        assert one._limit_s(b"SELECT 1") == expected_s
        os.close(one._pipe)
