"""A request and its answer as messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

import orjson

MAX_BYTES: Final = 64_000
MAX_WORD: Final = 200
# The janitor stops working on a request after this long; the console waits a little longer for the answer.
WORK_LIMIT_S: Final = 20.0
ANSWER_LIMIT_S: Final = 25.0


@dataclass(frozen=True, slots=True)
class OperatorRequest:
    """`given` is one of the models of actions.py, as JSON; `token_sha256` says for whom."""

    action: str
    organisation: str
    token_sha256: str
    given: dict[str, Any]

    def encoded(self) -> bytes:
        """As a message."""
        return orjson.dumps(
            {"action": self.action, "organisation": self.organisation, "token": self.token_sha256, "given": self.given}
        )


@dataclass(frozen=True, slots=True)
class OperatorAnswer:
    """`status` is that of HTTP; `detail` says what was expected and found if it is not 200."""

    status: int
    detail: str = ""
    result: dict[str, Any] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """As a message."""
        return orjson.dumps({"status": self.status, "detail": self.detail, "result": self.result})


def read_request(body: bytes) -> OperatorRequest:
    """Raises ValueError that says what was expected."""
    document = _object(body)
    action, organisation, token, given = (document.get(name) for name in ("action", "organisation", "token", "given"))
    if not (is_word(action) and is_word(organisation) and is_word(token) and isinstance(given, dict)):
        raise ValueError("expected the texts action, organisation and token, and the object given")
    return OperatorRequest(action, organisation, token, given)


def is_word(value: object) -> TypeGuard[str]:
    """A text of a length that names have."""
    return isinstance(value, str) and len(value) <= MAX_WORD


def read_answer(body: bytes) -> OperatorAnswer:
    """Raises ValueError that says what was expected."""
    document = _object(body)
    status, detail, result = document.get("status"), document.get("detail"), document.get("result")
    if not isinstance(status, int) or not isinstance(detail, str) or not isinstance(result, dict):
        raise ValueError("expected the number status, the text detail and the object result")
    return OperatorAnswer(status, detail, result)


def _object(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BYTES:
        raise ValueError(f"expected at most {MAX_BYTES} bytes, found {len(body)}")
    document = orjson.loads(body)
    if not isinstance(document, dict):
        raise ValueError("expected a JSON object")
    return document
