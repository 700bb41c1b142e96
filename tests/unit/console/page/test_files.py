"""How the page is served: its policy, its encodings, what a browser may keep, and how large it is."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import brotli
import pytest

from console.page.files import STATIC, PageFiles
from tests.unit.console.fakes import FakeClickHouse, client, services

FIRST_VIEW_BYTES = 120_000
PATHS = ("/", "/sign-in", "/organizations/acme/issues/", "/organizations/acme/issues/1/events/2/")
HTML = {"Accept": "text/html"}
SCRIPTS = sorted(path for path in STATIC.rglob("*.js"))


@pytest.mark.asyncio
@pytest.mark.parametrize("path", PATHS)
async def test_every_address_of_the_page_has_the_policy(path: str) -> None:
    """Nothing inline, nothing of another host, no frame, no text that becomes markup; no token is needed to get it."""
    async with client(services(FakeClickHouse()), "") as asking:
        answer = await asking.get(path, headers=HTML)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.asyncio
async def test_programs_get_a_hint_and_browsers_the_page() -> None:
    """At the same address."""
    async with client(services(FakeClickHouse()), "") as asking:
        assert (await asking.get("/")).json()["api"].startswith("/api/0/")
        page = await asking.get("/", headers=HTML)
    assert page.text.startswith("<!doctype html>")
    assert "Accept" in page.headers["vary"]


@pytest.mark.asyncio
async def test_the_page_names_files_that_exist_and_may_be_kept() -> None:
    """Each by the digest of all; compressed as the browser can; unchanged ones are 304."""
    async with client(services(FakeClickHouse()), "") as asking:
        html = (await asking.get("/sign-in")).text
        named = re.findall(r'(?:href|src)="(/page/[^"]+)"', html)
        assert len(named) > 10
        for path in named:
            plain = await asking.get(path, headers={"Accept-Encoding": "identity"})
            assert plain.status_code == 200, path
            assert "immutable" in plain.headers["cache-control"]
            assert plain.headers["x-content-type-options"] == "nosniff"
            for encoding in ("br", "gzip"):
                answer = await asking.get(path, headers={"Accept-Encoding": encoding})
                assert answer.headers["content-encoding"] == encoding
                assert answer.content == plain.content
            again = await asking.get(path, headers={"If-None-Match": plain.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        other = await asking.get(named[0].replace(named[0].split("/")[2], "0" * 16))
        assert (other.status_code, other.headers["cache-control"]) == (200, "no-store")


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["x.js", "%2e%2e/files.py", "..%2f..%2fapp.py", "/etc/passwd", "index.html", ""])
async def test_no_other_file_is_served(path: str) -> None:
    """Files are found in memory, by their exact names."""
    async with client(services(FakeClickHouse()), "") as asking:
        answer = await asking.get(f"/page/{PageFiles().digest}/{path}")
    assert answer.status_code == 404


def test_a_changed_file_changes_every_address(tmp_path: Path) -> None:
    """So that no browser mixes two versions."""
    (tmp_path / "index.html").write_text("{base} {preloads}")
    (tmp_path / "a.js").write_text("1")
    before = PageFiles(tmp_path)
    (tmp_path / "a.js").write_text("2")
    after = PageFiles(tmp_path)
    assert before.digest != after.digest
    assert after.html.plain.decode() == f'{after.base} <link rel="modulepreload" href="{after.base}/a.js">\n'


def test_encodings_hold_the_same_bytes() -> None:
    """Whatever a browser accepts."""
    for file in PageFiles().files.values():
        assert brotli.decompress(file.encoded["br"]) == gzip.decompress(file.encoded["gzip"]) == file.plain


def test_everything_together_is_small() -> None:
    """All files, also those that the first view does not need."""
    files = PageFiles()
    whole = sum(len(file.encoded["gzip"]) for file in [*files.files.values(), files.html])
    assert whole < FIRST_VIEW_BYTES


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(STATIC).as_posix())
def test_no_script_makes_markup_of_text(path: Path) -> None:
    """Elements are built; what would parse a text as markup or code is not used, and no style is written inline."""
    source = path.read_text()
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "DOMParser",
        "eval(",
        "new Function",
        "srcdoc",
        ".style.",
        "cssText",
        "createContextualFragment",
    ):
        assert word not in source, word
    assert not re.search(r"[\"']https?://(?!www\.w3\.org/2000/svg)", source), "no address of another host"
    assert 0 < source.count("\n") <= 330


def test_names_are_those_of_python() -> None:
    """snake_case, as in the rest of the tree."""
    names = [part for path in STATIC.rglob("*") for part in path.relative_to(STATIC).parts]
    assert [name for name in names if not re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z]+)?", name)] == []


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("br, gzip", "br"),
        ("gzip;q=0.5, br;q=0", "gzip"),
        ("br;q=0.000, gzip ; q=0", ""),
        ("BR ; Q=1", "br"),
        ("", ""),
    ],
)
def test_an_encoding_that_a_program_refuses_is_not_sent(accepted: str, encoding: str) -> None:
    files = PageFiles()
    name, data = files.html.best(accepted)
    assert name == encoding
    plain = {"br": brotli.decompress, "gzip": gzip.decompress, "": bytes}[encoding](data)
    assert plain == files.html.plain


def test_files_of_other_programs_do_not_keep_a_console_from_starting(tmp_path: Path) -> None:
    """An editor and a file manager leave them in a checkout."""
    for name in ("index.html", "main.js", "main.js~", ".DS_Store", "main.js.swp", "README"):
        (tmp_path / name).write_text("x")
    assert set(PageFiles(tmp_path).files) == {"main.js"}
