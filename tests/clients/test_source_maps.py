"""Source maps and mappings, uploaded by Sentry's own tools: an error of the minified file becomes readable in SQL."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.clients.sentry_clients import cli_program, cli_version, npm_pin, run
from tests.clients.toolchains import npm_project
from tests.unit.artifact_files import MAPPING, PROGUARD_ID

pytestmark = pytest.mark.clients

PROGRAM = "source-maps"
URL = "https://shop.example/static/app.min.js"
READABLE = "shop.js:3"


def of_cli(major: str, feature: str, result: str) -> pytest.MarkDecorator:
    """A claim for one of the two sentry-cli."""
    return pytest.mark.proves("sentry-cli", cli_version(major), feature, result)


@pytest.fixture
def project() -> Path:
    """The application and its tools."""
    return npm_project(PROGRAM)


@pytest.fixture
def environment(ready: Any) -> dict[str, str]:
    """The three lines that a pipeline needs. The token names the server and the organisation by itself."""
    return {"SENTRY_AUTH_TOKEN": ready["auth_token"], "SENTRY_PROJECT": ready["project"]}


@pytest.fixture
def cli(project: Path, environment: Mapping[str, str], tmp_path: Path) -> Callable[..., str]:
    """Runs `cli(major, *arguments)` in a folder of its own."""
    return lambda major, *arguments, exit_code=0: run(
        [cli_program(project, major), *arguments], tmp_path, exit_code=exit_code, **environment
    )


@pytest.fixture
def built(project: Path, tmp_path: Path) -> Path:
    """The application, minified by esbuild, in a folder of this test: `dist/app.min.js` and its map."""
    esbuild = project / "node_modules/.bin/esbuild"
    output = tmp_path / "dist" / "app.min.js"
    # A debug id is a hash of the content: each test has its own.
    banner = f"--banner:js=/* {uuid4().hex} */"
    run([esbuild, project / "src/index.js", "--bundle", "--minify", "--sourcemap", f"--outfile={output}", banner])
    return output


def thrown(minified: Path, release: str = "", *, with_id: bool = True) -> dict[str, Any]:
    """The error of the application as a browser SDK sends it."""
    text = minified.read_text()
    line, before = text[: text.index("throw ")].count("\n") + 1, text[: text.index("throw ")].rpartition("\n")[2]
    frame = {
        "abs_path": URL,
        "filename": URL,
        "function": "e",
        "lineno": line,
        "colno": len(before) + 1,
        "in_app": True,
    }
    error = {"type": "TypeError", "value": "no item to add to basket", "stacktrace": {"frames": [frame]}}
    event = {"platform": "javascript", "exception": {"values": [error]}, "event_id": uuid4().hex}
    named = re.search(r"sentry-dbid-([0-9a-f-]{36})|debugId=([0-9a-f-]{36})", text)
    images = [{"type": "sourcemap", "code_file": URL, "debug_id": named[1] or named[2]}] if named and with_id else []
    return {**event, "timestamp": time.time(), "release": release, "debug_meta": {"images": images}}


def send(ready: Any, event: dict[str, Any]) -> str:
    """Sends the event; returns its id."""
    body = b"\n".join([b"{}", b'{"type":"event"}', json.dumps(event).encode()])
    url = f"{ready['url']}/api/{ready['channel']}/envelope/?sentry_key={ready['api_key']}"
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=60) as answer:
        assert answer.status == 200
    return str(event["event_id"])


def wait_until_readable(sql: Any, event_id: str, text: str = READABLE) -> dict[str, Any]:
    """The row of an event, once its stack trace has this text; also after a late upload."""
    where = f"event_id = toUUID('{event_id}') AND position(exception_stacktrace, '{text}') > 0"
    (row,) = sql.wait(f"SELECT exception_stacktrace, payload, repairs FROM events WHERE {where}", 1)
    found: dict[str, Any] = row
    return found


@pytest.mark.parametrize(
    "major",
    [
        pytest.param("2", marks=of_cli("2", "sourcemaps inject, upload", "minified frames become those of the source")),
        pytest.param("3", marks=of_cli("3", "sourcemaps inject, upload", "minified frames become those of the source")),
    ],
)
def test_an_error_before_and_one_after_the_upload_are_readable(
    cli: Any, built: Path, ready: Any, sql: Any, major: str
) -> None:
    """By debug id: the first event came before its source map did, and is processed again."""
    cli(major, "sourcemaps", "inject", "dist")
    early = send(ready, thrown(built))
    sql.wait(f"SELECT 1 FROM events WHERE event_id = toUUID('{early}')", 1)
    said = cli(major, "sourcemaps", "upload", "--wait", "dist")
    assert "Uploaded files to Sentry" in said
    row = wait_until_readable(sql, send(ready, thrown(built)))
    assert "in addToBasket" in row["exception_stacktrace"]
    assert "raw_stacktrace" in row["payload"]
    late = wait_until_readable(sql, early)
    assert late["exception_stacktrace"] == row["exception_stacktrace"]


@of_cli("2", "releases files upload-sourcemaps, list, upload, delete; sourcemaps explain", "by release and address")
def test_files_of_a_release_are_found_by_address(cli: Any, built: Path, ready: Any, sql: Any) -> None:
    """As pipelines did before debug ids; `explain` says what is missing, and when nothing is."""
    release = f"shop@{uuid4().hex}"
    cli("2", "releases", "new", release)
    cli("2", "releases", "files", release, "upload-sourcemaps", "--url-prefix", "~/static", "dist")
    assert "~/static/app.min.js.map" in cli("2", "releases", "files", release, "list")
    event_id = send(ready, thrown(built, release, with_id=False))
    wait_until_readable(sql, event_id)
    assert "already source mapped" in cli("2", "sourcemaps", "explain", event_id)
    cli("2", "releases", "files", release, "upload", str(built), "~/alone.js")
    assert "~/alone.js" in cli("2", "releases", "files", release, "list")
    cli("2", "releases", "files", release, "delete", "~/alone.js")
    assert "~/alone.js" not in cli("2", "releases", "files", release, "list")
    event = thrown(built, release, with_id=False)
    frame = event["exception"]["values"][0]["stacktrace"]["frames"][0]
    frame["abs_path"] = frame["filename"] = "https://shop.example/static/other.js"
    other = send(ready, event)
    sql.wait(f"SELECT 1 FROM events WHERE event_id = toUUID('{other}')", 1)
    assert "do not include entry: ~/static/other.js" in cli("2", "sourcemaps", "explain", other, exit_code=1)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("2", "upload-proguard"), marks=of_cli("2", "upload-proguard", "Java frames of the source")),
        pytest.param(("3", "proguard", "upload"), marks=of_cli("3", "proguard upload", "Java frames of the source")),
    ],
)
def test_a_mapping_of_proguard_makes_java_readable(
    cli: Any, ready: Any, sql: Any, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Class, method and line, by the id of the mapping."""
    (tmp_path / "mapping.txt").write_bytes(MAPPING)
    cli(*command, "mapping.txt")
    frame = {"module": "a.b.c", "function": "a", "lineno": 1, "filename": "SourceFile", "in_app": True}
    error = {"type": "d", "module": "a.b", "value": "no item", "stacktrace": {"frames": [frame]}}
    images = [{"type": "proguard", "uuid": PROGUARD_ID}]
    event = {"platform": "java", "timestamp": time.time(), "event_id": uuid4().hex}
    event_id = send(ready, {**event, "exception": {"values": [error]}, "debug_meta": {"images": images}})
    row = wait_until_readable(sql, event_id, "Basket.java:14 in add")
    assert "EmptyItemException" in row["exception_stacktrace"]


@pytest.mark.proves(
    "@sentry/bundler-plugins (vite)",
    npm_pin(PROGRAM, "@sentry/bundler-plugins"),
    "build",
    "upload through the `sentry` command",
)
def test_a_build_with_vite_uploads_its_maps(
    project: Path, environment: dict[str, str], ready: Any, sql: Any, tmp_path: Path
) -> None:
    """The plugin makes the release, injects debug ids, and uploads."""
    release = f"vite@{uuid4().hex}"
    named = {"SENTRY_ORG": ready["organisation"], "SENTRY_URL": ready["console_url"]}
    vite = project / "node_modules/.bin/vite"
    run([vite, "build"], project, OUTPUT=str(tmp_path / "vite"), RELEASE=release, **environment, **named)
    wait_until_readable(sql, send(ready, thrown(tmp_path / "vite/app.min.js", release)))


@pytest.mark.proves(
    "@sentry/webpack-plugin", npm_pin(PROGRAM, "@sentry/webpack-plugin"), "build", "upload through sentry-cli 2"
)
def test_a_build_with_an_older_webpack_plugin_uploads_its_maps(
    project: Path, environment: dict[str, str], ready: Any, sql: Any, tmp_path: Path
) -> None:
    """It renames files after their debug ids, so only these can find them."""
    release = f"webpack@{uuid4().hex}"
    named = {"SENTRY_ORG": ready["organisation"], "SENTRY_URL": ready["console_url"]}
    run(["node", "webpack.mjs"], project, OUTPUT=str(tmp_path / "webpack"), RELEASE=release, **environment, **named)
    wait_until_readable(sql, send(ready, thrown(tmp_path / "webpack/app.min.js", release)))
