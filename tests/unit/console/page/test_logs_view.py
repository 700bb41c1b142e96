"""The view of logs, run by Node with a stub of a browser: the bars over time, and new lines at the end of the list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.console.page.test_views import NODE, run_program

pytestmark = pytest.mark.skipif(NODE is None, reason="needs Node")


def bars(folder: Path, *questions: tuple[list[int], list[int]]) -> list[dict[str, Any]]:
    """What the histogram of each (lines, errors) shows: its label, and kind, left end, top and height of each bar."""
    asked = json.dumps(questions)
    printed = run_program(
        folder,
        f"const asked = {asked};"
        """
        const { histogram } = await import("./static/views/logs/histogram.js");
        const series = (counts) => counts.map((count, index) => [1795780800 + 60 * index, [{ count }]]);
        const shown = asked.map(([all, bad]) => {
          const [picture, words] = histogram(series(all), series(bad));
          const rects = picture.children.map(({ attributes: { class: kind, x, y, height } }) => [kind, x, +y, +height]);
          return { label: picture.getAttribute("aria-label"), words: words.textContent, rects };
        });
        console.log(JSON.stringify(shown));
        """,
    )
    found: list[dict[str, Any]] = json.loads(printed)
    return found


def test_a_bar_is_as_high_as_its_lines_are_many(tmp_path: Path) -> None:
    """Errors stand inside of it, by the same measure; the smallest can be seen, and none is nothing."""
    (shown,) = bars(tmp_path, ([1000, 0, 500, 1], [250, 0, 0, 0]))
    assert shown["label"] == "1,501 lines, 250 errors; at most 1,000 in one bar"
    assert shown["rects"] == [
        ["", "0.000%", 2, 46], ["", "50.000%", 25, 23], ["", "75.000%", 47, 1], ["bad", "0.000%", 36.5, 11.5],
    ]  # fmt: skip
    assert shown["words"].startswith("1,501 lines, 250 errorsfrom ")


def test_a_time_without_lines_has_no_bars(tmp_path: Path) -> None:
    none, zeros = bars(tmp_path, ([], []), ([0, 0], [0, 0]))
    assert (none["rects"], zeros["rects"]) == ([], [])
    assert none["label"] == "0 lines, 0 errors; at most 1 in one bar"
    assert "from" not in none["words"]


LIVE = """
const { session } = await import("./static/shell/session.js");
session.organisation = { slug: "acme" };
const { LiveLines } = await import("./static/views/logs/live.js");
const live = new LiveLines({ words: "a", project: null }, () => {});
const { box, status } = live;
const list = box.firstChild;
Object.assign(box, { scrollHeight: 0, scrollTop: 0, clientHeight: 100 });
const line = (id) => ({ id, message: `line ${id}`, timestamp: "2026-11-27T12:00:00Z", severity: "info" });
const source = () => EventSource.opened.at(-1);
const dataOf = (ids, hasMore) => JSON.stringify({ lines: ids.map(line), hasMore });
const send = (ids, hasMore = false) => source().dispatch("lines", { data: dataOf(ids, hasMore) });
const shown = () => list.children.map((item) => item.getAttribute("data-id"));
"""


def test_new_lines_wait_while_somebody_reads_and_come_when_they_go_on(tmp_path: Path) -> None:
    """Away from the end, a scroll pauses; a click on a line does too; at the end it goes on by itself."""
    printed = run_program(
        tmp_path,
        LIVE
        + """
        const said = [status.textContent];
        send(["a"]);
        said.push(status.textContent);
        Object.assign(box, { scrollHeight: 1000, scrollTop: 500 });
        box.dispatch("scroll");
        send(["b", "c"]);
        said.push(status.textContent);
        const before = shown();
        status.lastChild.dispatch("click");
        said.push(status.textContent);
        const atEnd = box.scrollTop;
        list.dispatch("click");
        send(["d"]);
        said.push(status.textContent);
        const isPaused = live.isPaused;
        Object.assign(box, { scrollTop: 900 });
        box.dispatch("scroll");
        send(["e"], true);
        said.push(status.textContent);
        live.close();
        const isClosed = source().readyState === EventSource.CLOSED;
        const after = shown();
        console.log(JSON.stringify({ said, before, after, atEnd, isPaused, goesOn: !live.isPaused, isClosed }));
        """,
    )
    told = json.loads(printed)
    assert told["said"] == [
        "Listening. Nothing matches yet.", "Live", "Paused. 2 new linesGo on", "Live", "Paused. 1 new lineGo on",
        "More lines arrive than can be shown. Narrow the filter to see all.",
    ]  # fmt: skip
    assert (told["before"], told["after"]) == (["a"], ["a", "b", "c", "d", "e"])
    assert told["atEnd"] == 1000
    assert (told["isPaused"], told["goesOn"], told["isClosed"]) == (True, True, True)


def test_the_oldest_lines_go_and_what_waited_too_long_is_counted(tmp_path: Path) -> None:
    """A page that is left open holds 2,000 lines, and as many that wait."""
    printed = run_program(
        tmp_path,
        LIVE
        + """
        const ids = (first, count) => Array.from({ length: count }, (_, index) => `${first + index}`);
        send(ids(0, 1990));
        send(ids(1990, 30));
        const [first, last, count] = [shown().at(0), shown().at(-1), shown().length];
        list.dispatch("click");
        send(ids(3000, 1500));
        send(ids(5000, 1500));
        const said = status.textContent;
        live.goOn();
        console.log(JSON.stringify({ first, last, count, said, oldest: shown().at(0), whole: shown().length }));
        """,
    )
    told = json.loads(printed)
    assert (told["first"], told["last"], told["count"]) == ("20", "2019", 2000)
    assert told["said"] == "Paused. 3,000 new linesGo on"
    assert (told["oldest"], told["whole"]) == ("4000", 2000)
