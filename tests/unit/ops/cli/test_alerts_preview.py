"""`axonpush alerts preview`: what is asked of the console, and what is shown of its answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ops.cli import main
from ops.cli.alerts.web_api import TOKEN_VARIABLE, WebApi

ANSWER = {
    "from": "2026-11-26T12:00:00.000000Z", "to": "2026-11-27T12:00:00.000000Z", "isCut": False, "number": 2,
    "firings": [{"at": "2026-11-27T10:00:00.000000Z", "status": "firing", "title": "web: \x1b[31mCardRefused",
                 "message": "a new issue"}],
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the console is asked; it answers with ANSWER."""
    questions: list[tuple[Any, ...]] = []

    def ask(_self: WebApi, method: str, path: str, body: Any = None, **query: Any) -> Any:
        questions.append((method, path, body, query))
        return ANSWER

    monkeypatch.setattr(WebApi, "ask", ask)
    monkeypatch.setenv(TOKEN_VARIABLE, "t")
    monkeypatch.setenv("AXONPUSH_CONSOLE_URL", "https://console.test")
    return questions


def test_a_stored_rule_is_named_by_its_number(asked: list[tuple[Any, ...]]) -> None:
    """A table, and how often on stderr; texts of senders cannot colour the screen."""
    done = CliRunner().invoke(main.app, ["alerts", "preview", "12", "--period", "7d"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert asked == [("POST", "alerts/12/preview/", {}, {"statsPeriod": "7d"})]
    assert "CardRefused" in done.stdout
    assert "\x1b[31m" not in done.stdout
    assert "2 times from 2026-11-26 12:00:00 to 2026-11-27 12:00:00 UTC" in done.stderr


def test_a_rule_that_is_not_made_yet_comes_from_a_file(asked: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """With its kind and its project."""
    file = tmp_path / "rule.json"
    file.write_text('{"name": "x"}')
    done = CliRunner().invoke(
        main.app, ["alerts", "preview", "issue", "--file", str(file), "--project", "web", "--json"]
    )
    assert json.loads(done.stdout) == ANSWER
    body = {"kind": "issue", "project": "web", "rule": {"name": "x"}}
    assert asked == [("POST", "alerts/preview/", body, {"statsPeriod": "24h"})]


@pytest.mark.parametrize(
    "arguments", [["12", "--file", "x"], ["issue"], ["issue", "--file", "x"], ["12", "--project", "web"], ["moon"]]
)
def test_half_of_a_question_is_bad_usage(asked: list[tuple[Any, ...]], arguments: list[str]) -> None:
    """Nothing is asked."""
    assert CliRunner().invoke(main.app, ["alerts", "preview", *arguments]).exit_code == 2
    assert asked == []
