"""The page's own modules, run by Node with a stub of a browser: what a sender wrote never makes them fail."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from console.issues.event_shape import event_shape
from console.page.files import STATIC
from console.releases.shapes import release_shape
from schemas.registry import Channel
from tests.unit.console.fakes import registry_entries

NODE: Final = shutil.which("node")
STUB: Final = Path(__file__).with_name("browser_stub.mjs")
pytestmark = pytest.mark.skipif(NODE is None, reason="needs Node")


def run_program(folder: Path, program: str) -> str:
    """Runs a module that can import `./stub.mjs` and `./static/…`; its output."""
    shutil.copytree(STATIC, folder / "static")
    shutil.copy(STUB, folder / "stub.mjs")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "program.js").write_text(f'import {{ document, EventSource, timers }} from "./stub.mjs";\n{program}')
    ran = subprocess.run([str(NODE), "program.js"], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


OBJECT: Final = {"toString": 1, "valueOf": 1}
WRONG: Final[list[Any]] = [
    OBJECT, [OBJECT], [], {}, "", "soon", True, None, -1, 1.5, 1e300, -1e300, 1_764_244_800_000_000, 2**63, 2**64 - 1,
    -(2**63), "__proto__", "constructor", {"__proto__": OBJECT},
]  # fmt: skip
_ROW: Final[dict[str, Any]] = {
    "event_id": "0" * 32, "issue_id": 1, "is_error": 1, "title": "t", "body": "b", "timestamp": "2026-11-27 12:00:00.0",
    "received_at": "2026-11-27 12:00:00.0", "exception_type": "E", "exception_message": "m", "platform": "python",
    "exception_stacktrace": "", "attributes": {}, "environment": "", "severity_number": 17, "release": "",
    "host_name": "", "service_name": "", "user_id": "", "user_email": "", "user_name": "", "trace_id": "",
    "span_id": "", "sdk_name": "", "sdk_version": "", "fingerprint": [], "group_hash": "1", "repairs": [],
}  # fmt: skip


def sent(wrong: Any) -> dict[str, Any]:
    """An event that has the value wherever the page formats one."""
    names = (
        "filename", "abs_path", "module", "package", "platform", "function", "raw_function", "colno",
        "in_app", "instruction_addr", "symbol", "vars",
    )  # fmt: skip
    around = {"context_line": "x", "pre_context": ["a", wrong], "post_context": wrong}
    frames = [
        {**dict.fromkeys(names, wrong), "lineno": wrong, **around},
        {"lineno": wrong, "function": "f", **around},
        {"filename": "a.py", "lineno": 3, "vars": {"a": wrong}},
    ]
    exception = {"type": wrong, "value": wrong, "module": wrong, "mechanism": wrong, "stacktrace": {"frames": frames}}
    thread = {"id": wrong, "name": wrong, "crashed": wrong, "current": wrong, "stacktrace": {"frames": frames}}
    crumbs = [
        dict.fromkeys(("timestamp", "type", "category", "level", "message", "data"), wrong),
        {"timestamp": wrong, "data": dict.fromkeys(("url", "method", "status_code"), wrong)},
    ]
    request = dict.fromkeys(("url", "method", "headers", "cookies", "env", "query_string", "data"), wrong)
    return {
        "exception": [exception, {"type": "E"}], "threads": [thread], "breadcrumbs": crumbs, "request": request,
        "contexts": {"a": wrong, "b": {"c": wrong}}, "extra": {"a": wrong}, "modules": {"a": wrong}, "dist": wrong,
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [2**63, 2**64 - 1, -(2**63), 2**53, -1, True, 1.5, OBJECT, "7"], ids=str)
def test_a_line_number_that_is_none_can_be_answered(wrong: Any) -> None:
    """Lines around it would be numbers that JSON of ours does not have."""
    shape = event_shape(_ROW | {"payload": orjson.dumps(sent(wrong)).decode()}, Channel(id=1, organisation="acme"))
    (values,) = [entry["data"]["values"] for entry in shape["entries"] if entry["type"] == "exception"]
    assert [frame["lineNo"] for frame in values[0]["stacktrace"]["frames"]] == [None, None, 3]
    assert orjson.dumps(shape)


def test_nothing_that_a_sender_writes_makes_an_event_unreadable(tmp_path: Path) -> None:
    """Times, numbers and names of other types, as the server gives them on, and as an older server would."""
    project = Channel(id=1, organisation="acme")
    events = [event_shape(_ROW | {"payload": orjson.dumps(sent(wrong)).decode()}, project) for wrong in WRONG]
    raw = [
        {"filename": wrong, "function": wrong, "lineNo": wrong, "colNo": wrong, "context": [], "inApp": True}
        for wrong in WRONG
    ]
    (tmp_path / "events.json").write_bytes(orjson.dumps({"events": events, "frames": raw, "wrong": WRONG}))
    printed = run_program(
        tmp_path,
        """
        import { readFileSync } from "node:fs";
        const { chain, threads, frameElement } = await import("./static/views/event/frames.js");
        const sections = await import("./static/views/event/sections.js");
        const { breadcrumbs, requestCard, contexts, packagesCard, thisEvent } = sections;
        const { eventMarkdown } = await import("./static/views/event/markdown.js");
        const { exact, relative, offset } = await import("./static/dom/times.js");
        const { session } = await import("./static/shell/session.js");
        session.organisation = { slug: "acme" };
        const given = JSON.parse(readFileSync("events.json"));
        const issue = { shortId: "A-1", count: "1", userCount: 0, title: "t", metadata: {} };
        let drawn = 0;
        for (const event of given.events) {
          const of = (type) => event.entries.find((one) => one.type === type).data;
          const crumbs = of("breadcrumbs").values;
          const shown = [breadcrumbs(crumbs, event, "E"), threads(of("threads").values), requestCard(of("request"))];
          shown.push(...[chain(of("exception").values, { all: true })].flat(9).filter(Boolean));
          shown.push(contexts(event), packagesCard(event), thisEvent(event, () => {}));
          eventMarkdown(issue, event, of("exception").values, crumbs);
          for (const one of shown.filter(Boolean)) drawn += String(one.textContent ?? one).length;
        }
        for (const frame of given.frames) {
          frameElement(frame, { open: true });
          eventMarkdown(issue, given.events[0], [{ stacktrace: { frames: [frame] } }], []);
        }
        for (const wrong of given.wrong) [exact(wrong), relative(wrong), offset(wrong, wrong)];
        console.log(JSON.stringify({ events: given.events.length, drawn }));
        """,
    )
    told = json.loads(printed)
    assert told["events"] == len(WRONG)
    assert told["drawn"] > 1_000


def test_live_lines_come_once_through_one_stream(tmp_path: Path) -> None:
    """Hidden and shown, reconnected, refused: nothing twice, no second stream, and the server hears what came last."""
    printed = run_program(
        tmp_path,
        """
        const { session } = await import("./static/shell/session.js");
        session.organisation = { slug: "acme" };
        const { follow } = await import("./static/views/logs/stream.js");
        const shown = [];
        const said = [];
        const show = (lines) => shown.push(...lines.map(({ id }) => id));
        const tail = follow({ words: "a", project: null }, { show, tell: (words) => said.push(words) });
        const now = () => EventSource.opened.at(-1);
        const dataOf = (ids) => JSON.stringify({ lines: ids.map((id) => ({ id })), hasMore: false });
        const lines = (lastEventId, ...ids) => now().dispatch("lines", { lastEventId, data: dataOf(ids) });
        const hide = (isHidden) => ((document.hidden = isHidden), document.dispatch("visibilitychange"));
        const live = () => EventSource.opened.filter((one) => one.readyState !== EventSource.CLOSED).length;
        const runTimers = () => timers.splice(0).forEach((run) => run?.());
        lines("100", "a", "b");
        lines("105", "b", "c");
        hide(true);
        hide(false);
        lines("130", "b", "c", "d");
        const second = now().url;
        now().close();
        now().dispatch("error");
        hide(true);
        hide(false);
        runTimers();
        lines("140", "d", "e");
        const most = live();
        now().close();
        now().dispatch("error");
        hide(true);
        runTimers();
        const whileHidden = live();
        hide(false);
        now().dispatch("problem", { data: JSON.stringify({ detail: "too wide" }) });
        now().dispatch("error");
        const words = said.at(-1);
        tail.pause();
        lines("150", "e", "f");
        tail.goOn();
        now().close();
        now().dispatch("error");
        tail.close();
        runTimers();
        console.log(JSON.stringify({ shown, second, most, whileHidden, words, atEnd: live() }));
        """,
    )
    told = json.loads(printed)
    assert told["shown"] == ["a", "b", "c", "d", "e", "f"]
    assert told["second"].endswith("&lastEventId=105")
    assert (told["most"], told["whileHidden"], told["atEnd"]) == (1, 0, 0)
    assert told["words"] == "too wide"


def test_polls_say_so_and_do_not_pile_up_while_somebody_signs_in(tmp_path: Path) -> None:
    """An hour before the dialog would be a thousand requests at once after it."""
    printed = run_program(
        tmp_path,
        """
        let status = 200;
        const asked = [];
        globalThis.fetch = async (path, { headers }) => {
          asked.push(headers["X-Axonpush-Poll"] ?? "");
          return { status, ok: status === 200, headers: { get: () => null }, json: async () => ({}) };
        };
        const { get, own } = await import("./static/shell/api.js");
        let signedIn;
        own.onEnded = () => new Promise((resolve) => (signedIn = resolve));
        await get("/api/0/x", null, { isPoll: true });
        await get("/api/0/x");
        status = 401;
        const poll = get("/api/0/x", null, { isPoll: true });
        await new Promise((resolve) => setImmediate(resolve));
        const refused = [];
        for (let number = 0; number < 100; number++) {
          await get("/api/0/x", null, { isPoll: true }).catch((error) => refused.push(error.status));
        }
        status = 200;
        signedIn();
        await poll;
        await get("/api/0/x", null, { isPoll: true });
        console.log(JSON.stringify({ asked, refused: refused.length }));
        """,
    )
    told = json.loads(printed)
    assert told == {"asked": ["1", "", "1", "1", "1"], "refused": 100}


_NUMBERS: Final[dict[str, Any]] = {
    "new_issues": 1, "sessions": 200, "users": 150, "crashed_sessions": 20, "crashed_users": 3,
    "crash_free_sessions": 0.9, "crash_free_users": 0.98,
}  # fmt: skip


def test_crash_free_rates_of_a_release_are_of_all_its_projects_or_of_the_chosen_one(tmp_path: Path) -> None:
    """Not of whichever project is first; and compared with a release of the same projects."""
    row = _NUMBERS | {
        "version": "a@1", "channels": [1, 2], "commits": "", "refs": "", "status": "open", "ref": "", "url": "",
        "errors": 1, **dict.fromkeys(("created_at", "started_at", "released_at", "first_event", "last_event"), ""),
    }  # fmt: skip
    numbers = {
        ("a@1", 1): _NUMBERS | {"sessions": 50, "crash_free_sessions": 0.5},
        ("a@1", 2): _NUMBERS | {"sessions": 150, "crash_free_sessions": 0.99},
    }
    release = release_shape(row, "acme", registry_entries(), [], numbers)
    assert release["healthData"]["crashFreeSessions"] == 90.0
    (tmp_path / "release.json").write_bytes(orjson.dumps(release))
    printed = run_program(
        tmp_path,
        """
        import { readFileSync } from "node:fs";
        const { health, before } = await import("./static/views/more/releases.js");
        const release = JSON.parse(readFileSync("release.json"));
        const other = { version: "b@1", projects: [{ id: 2, slug: "b" }] };
        const older = { version: "a@0", projects: [{ id: 2, slug: "b" }, { id: 1, slug: "web" }] };
        const all = [release, other, older];
        console.log(JSON.stringify({
          rates: ["", "web", "1", "2", "none"].map((project) => health(release, project).crashFreeSessions ?? null),
          before: [before(all, 0)?.version, before(all, 0, "web")?.version, before(all, 1)?.version ?? null],
        }));
        """,
    )
    told = json.loads(printed)
    assert told == {"rates": [90, 50, 50, 99, None], "before": ["a@0", "b@1", None]}


def test_only_addresses_of_ours_and_of_the_web_become_links(tmp_path: Path) -> None:
    """A browser reads `/\\host` as `//host`, and leaves tabs and line breaks out."""
    program = """
        const { h } = await import("./static/dom/elements.js");
        const isLink = (href) => {
          try {
            return Boolean(h("a", { href }));
          } catch {
            return false;
          }
        };
        const wrong = ["//a.b", "/\\\\a.b", "/\\t/a.b", "/\\n/a.b", "javascript:x", "data:x", "x", ""];
        const right = ["/", "/organizations/a/", "#x", "?a=1", "https://a.b"];
        console.log(JSON.stringify([wrong.map(isLink), right.map(isLink)]));
        """
    wrong, right = json.loads(run_program(tmp_path, program))
    assert not any(wrong)
    assert all(right)
