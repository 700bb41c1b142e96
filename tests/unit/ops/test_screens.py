"""What commands print: results that are too wide, times, numbers and words an operator can read."""

from __future__ import annotations

import json

import pytest
from rich.console import Console
from typer import BadParameter

from ops.cli import replay, sql, terminal
from ops.cli.dead.output import readable
from ops.cli.main import _read_parameters
from schemas import headers

WIDE = {
    "meta": [{"name": f"column_{number}", "type": "String"} for number in range(110)],
    "data": [[f"value {number}" if number % 2 else "" for number in range(110)], ["x"] * 110],
}
NARROW = {"meta": [{"name": "n", "type": "UInt64"}], "data": [["1"]]}


def printed(answer: dict[str, object], columns: int) -> str:
    console = Console(width=columns)
    with console.capture() as capture:
        sql._print_table(console, json.dumps(answer).encode())
    return capture.get()


@pytest.mark.parametrize("columns", [80, 200, terminal.PIPE_WIDTH])
def test_a_wide_result_is_shown_vertically(columns: int) -> None:
    """`SELECT * FROM events` has more than a hundred columns: one line for each value that is there."""
    text = printed(WIDE, columns)
    lines = text.splitlines()
    assert max(map(len, lines)) < 200
    assert "  column_1: value 1" in text
    assert "column_2: value" not in text, "empty values are left out"
    assert "─ row 2 ─" in text
    assert "2 rows" in text


def test_a_narrow_result_stays_a_table() -> None:
    assert "│ 1 │" in printed(NARROW, 80)


def test_a_pipe_is_as_wide_whatever_the_shell_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program's output to a pipe or file does not depend on the terminal it was started from."""
    monkeypatch.setenv("COLUMNS", "40")
    answer = {"meta": NARROW["meta"], "data": [["a value of sixty characters, which is wider than forty, now."]]}
    console = terminal.console()
    with console.capture() as capture:
        sql._print_table(console, json.dumps(answer).encode())
    assert "│ a value of sixty characters, which is wider than forty, now. │" in capture.get()


def test_parameters_go_to_the_query() -> None:
    """`--param name=value` fills {name:Type}; a value may have an equals sign."""
    assert _read_parameters(["channel=7", "text=a=b"]) == {"channel": "7", "text": "a=b"}
    with pytest.raises(BadParameter, match="expected --param name=value"):
        _read_parameters(["channel"])


def test_dead_show_has_a_date() -> None:
    """Not nanoseconds; what is no time stays as it is."""
    assert readable(headers.RECEIVED_AT, "1763733600123456789") == "2025-11-21 14:00:00.123 UTC"
    assert readable(headers.RECEIVED_AT, "9" * 30) == "9" * 30
    assert readable(headers.CHANNEL, "7") == "7"


def test_a_replay_does_not_promise_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    """Messages that failed again are dead letters again."""

    class State:
        published, generation = 3, 9

    replay._print_done(State(), (0, 2), 1, as_json=False)  # type: ignore[arg-type]
    text = capsys.readouterr().out
    assert "2 dead letters were processed again and replaced. What failed again" in text
    assert "outdated rows" not in text
    assert "up to 1 dropped dead letter were processed again" not in text
    assert "up to 1 dropped dead letter was processed again" in text
