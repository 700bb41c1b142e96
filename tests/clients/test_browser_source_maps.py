"""Minified pages in a real browser throw: unreadable before their source map is uploaded, readable after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.clients.browser_shop import Shop, open_pages
from tests.clients.sentry_clients import cli_program, npm_pin, run
from tests.clients.toolchains import npm_project

pytestmark = pytest.mark.clients

READABLE = "readable by its source map, before and after the upload"
SOURCE = "basket.js:3"
PAGES = {"sentry": "sentry-browser", "otel": "otel-browser"}


@pytest.fixture(scope="module")
def pages(system: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, Path]]:
    """Both pages, bundled and minified by esbuild, on a server of their own; and the folder of their files."""
    folder = tmp_path_factory.mktemp("pages")
    for page, program in PAGES.items():
        project = npm_project(program)
        # Each run is another build: an upload of an earlier one must not help.
        banner = f"--banner:js=/* {uuid4().hex} */"
        output = f"--outfile={folder / page}.min.js"
        build = ["minified/page.js", "--bundle", "--minify", "--sourcemap", output, banner]
        run([project / "node_modules/.bin/esbuild", *build], project)
        (folder / f"{page}.html").write_text(
            f'<!doctype html><title>Shop</title><script src="/{page}.min.js"></script>'
        )
    with open_pages(system, folder, f"shop@{uuid4().hex}") as shop:
        run([_cli(), "sourcemaps", "inject", folder], folder, SENTRY_AUTH_TOKEN=shop.ready["auth_token"])
        yield shop, folder


def _cli() -> Path:
    return cli_program(npm_project("source-maps"), "3")


def release_of(shop: Shop, page: str) -> str:
    """Each page is an application of its own, with its own releases."""
    return f"{page}-{shop.release}"


def visit(shop: Shop, page: str) -> str:
    """The id of the event or trace that the page sent."""
    release = release_of(shop, page)
    service, _, version = release.partition("@")
    given = {"release": release, "service": service, "version": version, "dsn": shop.dsn, "key": shop.key}
    given |= {"address": shop.ready["url"], "channel": str(shop.ready["channel"])}
    [found] = shop.visit({"url": f"http://127.0.0.1:{shop.ports['http']}/{page}.html", "given": given})
    assert "basket.js" not in found.facts["stack"]
    return str(found.facts["id"])


def stack_traces(sql: Any, page: str, ids: list[str], condition: str) -> list[dict[str, Any]]:
    """The stack trace of each visit's row, once the condition holds for all."""
    column = "toString(event_id)" if page == "sentry" else "trace_id"
    wanted = ", ".join(f"'{one if page == 'otel' else _dashed(one)}'" for one in ids)
    where = f"{column} IN ({wanted}) AND exception_type != '' AND {condition}"
    found: list[dict[str, Any]] = sql.wait(
        f"SELECT exception_stacktrace, group_hash FROM events WHERE {where}", len(ids)
    )
    return found


def _dashed(event_id: str) -> str:
    return "-".join((event_id[:8], event_id[8:12], event_id[12:16], event_id[16:20], event_id[20:]))


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page,
            marks=pytest.mark.proves(package, npm_pin(PAGES[page], package), "error of a minified page", READABLE),
        )
        for page, package in (("sentry", "@sentry/browser"), ("otel", "@opentelemetry/sdk-trace-web"))
    ],
)
def test_an_error_of_a_minified_page_becomes_readable(pages: tuple[Shop, Path], sql: Any, page: str) -> None:
    """The visit before the upload and the one after it have one stack trace and one group."""
    shop, folder = pages
    early = visit(shop, page)
    [raw] = stack_traces(sql, page, [early], "1")
    assert f"{page}.min.js" in raw["exception_stacktrace"]
    assert SOURCE not in raw["exception_stacktrace"]
    upload = ["sourcemaps", "upload", "--wait", "--release", release_of(shop, page), folder]
    run([_cli(), *upload], folder, SENTRY_AUTH_TOKEN=shop.ready["auth_token"], SENTRY_PROJECT=shop.ready["project"])
    late = visit(shop, page)
    rows = stack_traces(sql, page, [early, late], f"position(exception_stacktrace, '{SOURCE}') > 0")
    assert all("addToBasket" in row["exception_stacktrace"] for row in rows)
    assert rows[0]["group_hash"] == rows[1]["group_hash"]
