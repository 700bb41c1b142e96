"""Events with uploaded artifacts: their frames become those of the source, whatever the artifacts are."""

from __future__ import annotations

import json
import os
import signal

import nats.errors
import pytest

from schemas.artifacts.debug_ids import proguard_id
from schemas.artifacts.entry import PROGUARD, RELEASE_FILE
from tests.unit.artifact_files import (
    DEBUG_ID,
    LOOP,
    MAPPING,
    MINIFIED,
    PROGUARD_ID,
    SHOP,
    START,
    THROWN,
    app_bundle,
    artifact_of,
    browser_event,
    bundle_bytes,
    entry,
    frame,
    inlined,
    source_map,
)
from tests.unit.workers.symbolicate.harness import ORIGIN, SymbolicationHarness, message_of, upload_file
from workers.normalise.envelope_item import PAYLOAD_REWRITTEN, open_item
from workers.normalise.registry import normalisers
from workers.symbolicate import words
from workers.symbolicate.maps.process import MapProcess

NORMALISER = normalisers(30, 10**7)["event"]
SOURCE_FRAMES = [
    ("../src/index.js", 10, "start"),
    ("../src/index.js", 5, "checkout"),
    ("../src/shop.js", 3, "addToBasket"),
]
MANY_FRAMES = {"values": [{"stacktrace": {"frames": [frame(THROWN, "x")] * 5000}}]}
MANY_TRACES = [{"stacktrace": {"frames": [{**frame(LOOP, "x"), "data": 7}]}}] * 200


def frames_of(payload: dict, kind: str = "stacktrace") -> list[dict]:  # type: ignore[type-arg]
    return payload["exception"]["values"][0][kind]["frames"]  # type: ignore[no-any-return]


def places_of(payload: dict) -> list[tuple]:  # type: ignore[type-arg]
    return [(one["filename"], one["lineno"], one["function"]) for one in frames_of(payload)]


@pytest.mark.asyncio
async def test_frames_become_those_of_the_source_by_debug_id(harness: SymbolicationHarness) -> None:
    """File, line, column, function, context; the frames as sent stay in raw_stacktrace."""
    harness.upload(data := app_bundle(), artifact_of(data))
    event = browser_event(debug_id=DEBUG_ID)
    payload, header = await harness.resolve(event)
    assert places_of(payload) == SOURCE_FRAMES
    thrown = frames_of(payload)[-1]
    assert thrown["context_line"] == SHOP.splitlines()[2]
    assert (thrown["pre_context"], thrown["post_context"][0]) == (SHOP.splitlines()[:2], SHOP.splitlines()[3])
    assert (thrown["abs_path"], thrown["in_app"]) == ("https://shop.example/src/shop.js", True)
    assert frames_of(payload, "raw_stacktrace") == frames_of(event)
    assert (header["symbolicated"], header["repairs"]) == ("all", [])


@pytest.mark.asyncio
async def test_frames_are_found_by_release_dist_and_address(harness: SymbolicationHarness) -> None:
    """Without debug ids: `~/static/app.min.js` is that file on every host. Another dist has other files."""
    harness.upload(data := app_bundle(debug_id="", release="shop@1", dist="7"), artifact_of(data))
    payload, _ = await harness.resolve(browser_event(release="shop@1", dist="7"))
    assert places_of(payload) == SOURCE_FRAMES
    for other in ({"release": "shop@1"}, {"release": "shop@1", "dist": "8"}):
        payload, header = await harness.resolve(browser_event(**other))
        assert "raw_stacktrace" not in payload["exception"]["values"][0]
        assert header["repairs"] == [words.SOURCE_MAP_MISSING]
    payload, header = await harness.resolve(browser_event(release="shop@2", dist="7"))
    assert "repairs" not in header


@pytest.mark.asyncio
async def test_another_organisation_or_project_does_not_see_them(harness: SymbolicationHarness) -> None:
    """An upload is for the organisation of its token and the projects that it names."""
    harness.upload(data := app_bundle(), artifact_of(data, organisation="other"))
    message = message_of(browser_event(debug_id=DEBUG_ID))
    assert await harness.symbolicator.resolve(message, ORIGIN) is message
    harness.upload(data := app_bundle(debug_id="", release="shop@1"), artifact_of(data, channel_ids=(99,)))
    _, header = await harness.resolve(browser_event(release="shop@1"))
    assert header["repairs"] == [words.SOURCE_MAP_MISSING]


@pytest.mark.asyncio
async def test_a_file_of_a_release_names_its_map_in_a_header_a_comment_or_has_it_inside(
    harness: SymbolicationHarness,
) -> None:
    """Files uploaded one by one (`releases files upload-sourcemaps`) are an artifact each."""
    for number, (content, header) in enumerate([(MINIFIED, "app.min.js.map"), (MINIFIED, ""), (inlined(), "")]):
        release = f"files@{number}"
        for url, data in (("~/static/app.min.js", content.encode()), ("~/static/app.min.js.map", source_map())):
            kind, named = ("source_map", "") if url.endswith(".map") else ("minified_source", header)
            upload_file(harness, data, RELEASE_FILE, release=release, url=url, file_kind=kind, source_map=named)
        payload, _ = await harness.resolve(browser_event(release=release))
        assert places_of(payload) == SOURCE_FRAMES, number


@pytest.mark.asyncio
async def test_maps_of_sections_are_read(harness: SymbolicationHarness) -> None:
    """Indexed maps: bundlers that concatenate write one map of several."""
    indexed = {"version": 3, "sections": [{"offset": {"line": 0, "column": 0}, "map": json.loads(source_map())}]}
    data = bundle_bytes(
        {
            "a.js": (entry("minified_source", "~/static/app.min.js", **{"debug-id": DEBUG_ID}), MINIFIED.encode()),
            "a.map": (entry("source_map", "~/a.map", **{"debug-id": DEBUG_ID}), json.dumps(indexed).encode()),
        }
    )
    harness.upload(data, artifact_of(data))
    payload, _ = await harness.resolve(browser_event(debug_id=DEBUG_ID))
    assert places_of(payload) == SOURCE_FRAMES


@pytest.mark.asyncio
async def test_a_bundle_of_react_native_is_read(harness: SymbolicationHarness) -> None:
    """Metro's map has functions of its own; with Hermes the uploaded file is bytecode, and frames name the bundle."""
    functions = [[{"names": ["<global>", "addToBasket"], "mappings": "AAA,OCAQ;"}], None]
    bytecode = bytes.fromhex("c61fbc03c103191f") + bytes(range(256)) * 20
    bundle, debug_id = "app:///index.android.bundle", {"debug-id": DEBUG_ID}
    for minified in (bytecode, MINIFIED.encode(), b""):
        files = {
            "a": (entry("minified_source", "~/index.android.bundle", **debug_id), minified),
            "b": (entry("source_map", "~/b", **debug_id), source_map(x_facebook_sources=functions)),
        }
        harness.upload(data := bundle_bytes(files), artifact_of(data))
        payload, header = await harness.resolve(browser_event(debug_id=DEBUG_ID, abs_path=bundle))
        assert [place[:2] for place in places_of(payload)] == [place[:2] for place in SOURCE_FRAMES]
        assert places_of(payload)[-1][2] == "addToBasket"
        assert header["symbolicated"] == "all"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"not json", words.SOURCE_MAP_INVALID),
        (b"[]", words.SOURCE_MAP_INVALID),
        (b'{"version":3,"sources":["a"],"names":[],"mappings":"!!!!"}', words.SOURCE_MAP_INVALID),
        (b"\xff\xfe" * 100, words.SOURCE_MAP_INVALID),
        (bytes(60_000_000), words.SOURCE_MAP_TOO_COSTLY),
    ],
)
async def test_a_broken_map_leaves_frames_raw_and_is_named_once(
    harness: SymbolicationHarness, content: bytes, word: str
) -> None:
    """It is not built a second time; the next event costs no read."""
    data = bundle_bytes({"a.map": (entry("source_map", "~/a.map", **{"debug-id": DEBUG_ID}), content)}, release="r")
    harness.upload(data, artifact_of(data))
    for _ in range(2):
        payload, header = await harness.resolve(browser_event(debug_id=DEBUG_ID))
        assert header["repairs"] == [word]
        assert frames_of(payload) == frames_of(browser_event())
        reads, harness.store.reads = harness.store.reads, []
    assert not [name for name in reads if name.startswith("chunk/")]


@pytest.mark.asyncio
@pytest.mark.parametrize("comment", [b"", b"\n//# sourceMappingURL=", b"\n//# sourceMappingURL= \n"])
async def test_a_minified_file_that_names_no_map_has_none(harness: SymbolicationHarness, comment: bytes) -> None:
    """It is not broken: the map was not uploaded. Also where a tool left the comment empty."""
    file = (entry("minified_source", "~/a.js", **{"debug-id": DEBUG_ID}), b"x()" + comment)
    harness.upload(data := bundle_bytes({"a.js": file}, release="r"), artifact_of(data))
    payload, header = await harness.resolve(browser_event(debug_id=DEBUG_ID))
    assert header["repairs"] == [words.SOURCE_MAP_MISSING]
    assert frames_of(payload) == frames_of(browser_event())


@pytest.mark.asyncio
@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b")]}'\n", b"\xef\xbb\xbf)]}'\n"])
async def test_what_stands_before_the_json_of_a_map_is_left_out(harness: SymbolicationHarness, before: bytes) -> None:
    """A byte order mark of tools on Windows, and what servers put before JSON."""
    files = {
        "a.js": (entry("minified_source", "~/a.js", **{"debug-id": DEBUG_ID}), MINIFIED.encode()),
        "a.map": (entry("source_map", "~/a.map", **{"debug-id": DEBUG_ID}), before + source_map()),
    }
    harness.upload(data := bundle_bytes(files), artifact_of(data))
    payload, _ = await harness.resolve(browser_event(debug_id=DEBUG_ID))
    assert places_of(payload) == SOURCE_FRAMES


@pytest.mark.asyncio
async def test_a_map_that_takes_too_long_ends_its_process_and_the_next_map_gets_another() -> None:
    """The budget is processor time, so a busy machine does not count against a map."""
    process = MapProcess(1_000_000_000, 0.0)
    try:
        harness = SymbolicationHarness(process)
        slow = source_map(mappings=";".join(["AAAA,CAAC,CAAC"] * 1_000_000))
        data = bundle_bytes({"a.map": (entry("source_map", "~/a.map", **{"debug-id": DEBUG_ID}), slow)})
        harness.upload(data, artifact_of(data))
        _, header = await harness.resolve(browser_event(debug_id=DEBUG_ID))
        assert header["repairs"] == [words.SOURCE_MAP_TOO_COSTLY]
        assert process.pid is None
        process._cpu_budget_s = 30.0
        harness.upload(data := app_bundle(release="2"), artifact_of(data))
        payload, _ = await harness.resolve(browser_event(debug_id=DEBUG_ID))
        assert places_of(payload) == SOURCE_FRAMES
    finally:
        process.close()


@pytest.mark.asyncio
async def test_a_crashed_process_costs_the_map_that_crashed_it_and_nothing_else(
    harness: SymbolicationHarness, process: MapProcess
) -> None:
    """As a stack overflow in the parser would."""
    harness.upload(data := app_bundle(), artifact_of(data))
    await harness.resolve(browser_event(debug_id=DEBUG_ID))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    os.waitpid(process.pid, os.WNOHANG)
    payload, header = await harness.resolve(browser_event(debug_id=DEBUG_ID))
    assert places_of(payload) == SOURCE_FRAMES or header["repairs"] == [words.SOURCE_MAP_TOO_COSTLY]
    harness.upload(data := app_bundle(release="2"), artifact_of(data))
    payload, _ = await harness.resolve(browser_event(debug_id=DEBUG_ID))
    assert places_of(payload) == SOURCE_FRAMES


@pytest.mark.asyncio
async def test_without_known_artifacts_nothing_is_read_or_changed(
    harness: SymbolicationHarness,
) -> None:
    """Also with artifacts for something else: two looks into a dict for each name in the event."""
    message = message_of(browser_event(debug_id=DEBUG_ID, release="shop@1"))
    assert await harness.symbolicator.resolve(message, ORIGIN) is message
    harness.upload(data := app_bundle(debug_id="0" * 32, release="other"), artifact_of(data))
    assert await harness.symbolicator.resolve(message, ORIGIN) is message
    assert harness.store.reads == []


@pytest.mark.asyncio
async def test_an_unreachable_store_gives_back_and_at_last_stores_raw(
    harness: SymbolicationHarness,
) -> None:
    """Not a dead letter: the event is good."""
    harness.upload(data := app_bundle(), artifact_of(data))
    harness.store.error = TimeoutError()
    with pytest.raises(nats.errors.Error):
        await harness.symbolicator.resolve(message_of(browser_event(debug_id=DEBUG_ID)), ORIGIN)
    last = await harness.symbolicator.resolve(message_of(browser_event(debug_id=DEBUG_ID), deliveries=3), ORIGIN)
    [row] = NORMALISER.normalise(ORIGIN, last).rows
    assert words.SOURCE_MAP_UNREACHABLE in row[-1]


@pytest.mark.asyncio
async def test_a_deleted_artifact_is_missing_and_no_error(harness: SymbolicationHarness) -> None:
    """Between a deletion and the moment this process hears of it."""
    artifact = harness.upload(data := app_bundle(release="deleted"), artifact_of(data))
    del harness.store.objects[f"chunk/default/{artifact.sha1}"]
    _, header = await harness.resolve(browser_event(debug_id=DEBUG_ID))
    assert header["repairs"] == [words.SOURCE_MAP_MISSING]


@pytest.mark.asyncio
async def test_the_row_groups_by_the_source_and_says_how_far_it_came(harness: SymbolicationHarness) -> None:
    """Two builds with different minified names are one issue."""
    rows = []
    for release, other in (("1", "e"), ("2", "zz")):
        harness.upload(data := app_bundle(release=release), artifact_of(data))
        event = browser_event(debug_id=DEBUG_ID, release=release)
        for one in frames_of(event):
            one["function"] = other
        message = await harness.symbolicator.resolve(message_of(event), ORIGIN)
        [row] = NORMALISER.normalise(ORIGIN, message).rows
        rows.append(dict(zip(NORMALISER.columns, row, strict=True)))
    assert rows[0]["group_hash"] == rows[1]["group_hash"]
    assert "../src/shop.js:3:5 in addToBasket" in rows[0]["exception_stacktrace"]
    assert rows[0]["attributes_string"]["symbolicated"] == "all"
    assert rows[0]["attributes_string"]["debug_ids"] == DEBUG_ID.replace("-", "")
    assert json.loads(rows[0]["payload"])["exception"]["values"][0]["raw_stacktrace"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("file", "state", "repairs"), [("app.min.js", "all", []), ("other.js", "none", [words.SOURCE_MAP_MISSING])]
)
async def test_json_that_had_to_be_rewritten_is_named_once_and_does_not_change_the_state(
    harness: SymbolicationHarness, file: str, state: str, repairs: list[str]
) -> None:
    """NaN in an event says nothing about its frames. Events with another state than `all` are reprocessed."""
    harness.upload(data := app_bundle(release="1"), artifact_of(data))
    event = browser_event(abs_path=f"https://shop.example/static/{file}", release="1", extra={"ratio": float("nan")})
    message = await harness.symbolicator.resolve(message_of(json.dumps(event).encode()), ORIGIN)
    assert sorted(open_item(message.body).repairs) == sorted([*repairs, PAYLOAD_REWRITTEN])
    [row] = NORMALISER.normalise(ORIGIN, message).rows
    assert dict(zip(NORMALISER.columns, row, strict=True))["attributes_string"]["symbolicated"] == state


@pytest.mark.asyncio
async def test_java_classes_methods_and_inlined_frames_are_resolved(harness: SymbolicationHarness) -> None:
    """By the uuid of the ProGuard mapping; one frame becomes the two methods that were inlined into each other."""
    upload_file(harness, MAPPING, PROGUARD, debug_id=proguard_id(MAPPING))
    frames = [
        {"module": "android.app.Activity", "function": "onCreate", "lineno": 8, "in_app": False},
        {"module": "a.b.c", "function": "b", "lineno": 2, "filename": "SourceFile", "in_app": True},
        {"module": "a.b.c", "function": "a", "lineno": 1, "filename": "SourceFile", "in_app": True},
    ]
    error = {"type": "d", "module": "a.b", "value": "no item", "stacktrace": {"frames": frames}}
    images = [{"type": "proguard", "uuid": PROGUARD_ID}]
    event = {"platform": "java", "exception": {"values": [error]}, "debug_meta": {"images": images}}
    payload, header = await harness.resolve(event)
    [thrown] = payload["exception"]["values"]
    assert (thrown["module"], thrown["type"]) == ("com.example.shop", "EmptyItemException")
    assert [(one["module"], one["function"], one["lineno"]) for one in frames_of(payload)] == [
        ("android.app.Activity", "onCreate", 8),
        ("com.example.shop.Basket", "checkout", 30),
        ("com.example.shop.Basket", "addAll", 20),
        ("com.example.shop.Basket", "add", 14),
    ]
    assert frames_of(payload, "raw_stacktrace") == frames
    assert header["symbolicated"] == "all"


@pytest.mark.asyncio
async def test_frames_of_other_runtimes_stay_and_a_dependency_is_not_in_app(harness: SymbolicationHarness) -> None:
    """`node:fs` has no map and is not missing one."""
    sources = ["webpack://shop/./src/shop.js?1a2b", "webpack://shop/./node_modules/lib/index.js"]
    data = bundle_bytes(
        {"a.map": (entry("source_map", "~/a", **{"debug-id": DEBUG_ID}), source_map(sources=sources))},
    )
    harness.upload(data, artifact_of(data))
    event = browser_event(debug_id=DEBUG_ID)
    frames = frames_of(event)
    frames.insert(1, {"filename": "node:fs", "function": "read", "lineno": 3, "colno": 4})
    frames.insert(0, {"function": "[native code]"})
    payload, header = await harness.resolve(event)
    found = frames_of(payload)
    assert [one.get("filename") for one in found] == [
        None,
        "./node_modules/lib/index.js",
        "node:fs",
        "./node_modules/lib/index.js",
        "./src/shop.js",
    ]
    assert [one.get("in_app") for one in found] == [None, False, None, False, True]
    assert header == {**header, "symbolicated": "all", "repairs": []}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "event",
    [
        b"not json",
        b"[]",
        {"exception": None, "debug_meta": {"images": [None, 3, {"type": "sourcemap", "debug_id": DEBUG_ID}]}},
        {"exception": {"values": [{"stacktrace": {"frames": [None, 3, {"lineno": "x"}, {"abs_path": [1]}]}}]}},
        {"exception": [3, {"stacktrace": []}], "threads": {"values": [{"stacktrace": {"frames": {}}}]}},
        browser_event(debug_id=DEBUG_ID, platform=["javascript"]),
        browser_event(debug_id=DEBUG_ID, threads=[{"stacktrace": {"frames": [frame((2**40, -1), "x")]}}]),
        browser_event(debug_id=DEBUG_ID, exception=MANY_FRAMES),
        browser_event(debug_id=DEBUG_ID, exception=MANY_TRACES),
        browser_event(debug_id=DEBUG_ID, stacktrace={"frames": [frame(START, "i")]}),
    ],
)
async def test_events_of_any_form_are_normalised_afterwards(harness: SymbolicationHarness, event: object) -> None:
    """What the event is refused for is said by normalising, not by this."""
    harness.upload(data := app_bundle(release="shop@1"), artifact_of(data))
    if isinstance(event, dict):
        event = {**event, "release": "shop@1"}
    message = await harness.symbolicator.resolve(message_of(event), ORIGIN)
    verdict = NORMALISER.normalise(ORIGIN, message)
    assert len(verdict.rows) + len(verdict.rejections) == 1
    assert words.FAILED not in (verdict.rows[0][-1] if verdict.rows else [])
