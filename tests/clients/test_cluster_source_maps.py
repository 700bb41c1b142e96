"""sentry-cli against a console of its own process, three brokers and their users: uploads, also with a dead broker."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.clients.sentry_clients import cli_program, cli_version, run
from tests.clients.test_source_maps import thrown
from tests.clients.toolchains import npm_project
from tests.cluster_site import CHANNEL, ClusterSite, open_site
from tests.polling import eventually
from tests.servers import HOST, Server

pytestmark = pytest.mark.clients

RESULT = "minified frames become those of the source"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, clickhouse_server: Server) -> Iterator[ClusterSite]:
    """Receiver, worker, console and janitor as separate processes."""
    with open_site(tmp_path_factory.mktemp("cluster"), clickhouse_server.url) as running:
        yield running


@pytest.fixture(scope="module")
def cli(site: ClusterSite) -> Callable[..., str]:
    """Runs sentry-cli 3 in a folder with the token of the console."""
    _, token = site.start_console()
    program = cli_program(npm_project("source-maps"), "3")
    settings = {"SENTRY_AUTH_TOKEN": token, "SENTRY_PROJECT": str(CHANNEL)}
    return lambda folder, *arguments: run([program, *arguments], folder, **settings)


def build(folder: Path) -> Path:
    """A build of the application with its map; each is another one."""
    project = npm_project("source-maps")
    output = folder / "dist" / "app.min.js"
    command = [project / "node_modules/.bin/esbuild", project / "src/index.js", "--bundle", "--minify", "--sourcemap"]
    run([*command, f"--outfile={output}", f"--banner:js=/* {uuid4().hex} */"])
    return output


def send(site: ClusterSite, event: dict[str, Any]) -> str:
    """Sends an event, again while a broker is missing; returns its id."""
    body = b"\n".join([b"{}", b'{"type":"event"}', json.dumps(event).encode()])
    url = f"http://{HOST}:{site.port}/api/{CHANNEL}/envelope/?sentry_key={site.key}"

    def is_sent() -> bool:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=60) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    eventually(is_sent, "the event to be accepted")
    return str(event["event_id"])


def stack_trace(site: ClusterSite, event_id: str, text: str) -> str:
    """The stack trace of an event, once this text is in it."""
    sql = f"SELECT exception_stacktrace FROM events WHERE event_id = toUUID('{event_id}')"
    (found,) = eventually(lambda: [row[0] for row in site.query(sql) if text in str(row[0])], f"{text} in {event_id}")
    return str(found)


@pytest.mark.proves("sentry-cli", cli_version("3"), "sourcemaps upload, three brokers", RESULT)
def test_maps_are_uploaded_to_three_brokers(site: ClusterSite, cli: Callable[..., str], tmp_path: Path) -> None:
    """An error before the upload and one after it; the brokers refused nobody anything."""
    built = build(tmp_path)
    cli(tmp_path, "sourcemaps", "inject", "dist")
    early = send(site, thrown(built))
    stack_trace(site, early, "app.min.js")
    release = f"shop@{uuid4().hex}"
    cli(tmp_path, "releases", "new", release)
    cli(tmp_path, "sourcemaps", "upload", "--wait", "--release", release, "dist")
    late = send(site, thrown(built))
    assert stack_trace(site, early, "shop.js:3") == stack_trace(site, late, "shop.js:3")
    cli(tmp_path, "releases", "finalize", release)
    assert release in cli(tmp_path, "releases", "list")
    assert "no item to add to basket" in cli(tmp_path, "issues", "list")
    assert site.violations() == []


@pytest.mark.proves("sentry-cli", cli_version("3"), "sourcemaps upload, one broker of three killed", RESULT)
def test_maps_are_uploaded_while_a_broker_is_dead(site: ClusterSite, cli: Callable[..., str], tmp_path: Path) -> None:
    """The one that leads the artifacts. The tool sends again what the console answers with 503."""
    dead = site.cluster.leader("OBJ_artifacts")
    built = build(tmp_path)
    cli(tmp_path, "sourcemaps", "inject", "dist")
    dead.kill()
    try:
        cli(tmp_path, "sourcemaps", "upload", "--wait", "dist")
        assert "in addToBasket" in stack_trace(site, send(site, thrown(built)), "shop.js:3")
    finally:
        site.cluster.start(dead)
