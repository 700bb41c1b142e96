"""Artifact bundles: what Sentry's tools pack is read, and everything hostile is refused with a reason, bounded."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib

import pytest

from schemas.artifacts.bundle import Bundle, InvalidBundle, read_bundle
from schemas.artifacts.debug_ids import debug_id, proguard_id
from schemas.artifacts.entry import InvalidEntry, decode_artifact, encode_artifact
from schemas.artifacts.urls import candidates, joined
from schemas.artifacts.zip_directory import InvalidZip, ZipLimits, read_directory, read_member
from tests.unit.artifact_files import (
    DEBUG_ID,
    MAPPING,
    MINIFIED,
    PROGUARD_ID,
    app_bundle,
    artifact_of,
    bundle_bytes,
    entry,
    source_map,
)

LIMITS = ZipLimits(members=50, member_bytes=100_000, inflated_bytes=300_000)


def read(data: bytes, limits: ZipLimits = LIMITS) -> Bundle:
    return read_bundle(io.BytesIO(data), limits)


def refusal(data: bytes, limits: ZipLimits = LIMITS) -> str:
    with pytest.raises(InvalidBundle) as error:
        read(data, limits)
    return str(error.value)


def test_a_bundle_names_its_files_by_address_and_debug_id() -> None:
    """The manifest says what a file is; its bytes lie where the entry says, counted from the bundle's first byte."""
    data = app_bundle(release="shop@1", dist="7", debug_id=DEBUG_ID.upper())
    bundle = read(data)
    assert (bundle.release, bundle.dist) == ("shop@1", "7")
    minified, mapped = bundle.files
    assert (minified.kind, minified.url, minified.source_map) == (
        "minified_source",
        "~/static/app.min.js",
        "app.min.js.map",
    )
    assert {minified.debug_id, mapped.debug_id} == {DEBUG_ID.replace("-", "")}
    packed = data[mapped.member.offset : mapped.member.offset + mapped.member.packed_bytes]
    assert zlib.decompress(packed, -15) == source_map()


@pytest.mark.parametrize("name", ["Sourcemap", "sourcemap", "SourceMap", "X-SourceMap"])
def test_header_names_have_any_case(name: str) -> None:
    """The two command lines of Sentry write them differently."""
    about = {"type": "minified_source", "url": "~/a.js", "headers": {name: "a.js.map", "Debug-ID": DEBUG_ID}}
    [file] = read(bundle_bytes({"_/_/a.js": (about, b"1")})).files
    assert (file.source_map, file.debug_id) == ("a.js.map", DEBUG_ID.replace("-", ""))


@pytest.mark.parametrize(
    "path", ["../a.js", "files/../../a.js", "/etc/passwd", "C:/a.js", "a\\..\\..\\b", "a/\x01b", ".."]
)
def test_a_path_that_leaves_the_archive_is_refused(path: str) -> None:
    """We never write such a file, but whoever unpacks the bundle might."""
    assert "inside of the archive" in refusal(bundle_bytes({path: (entry("source", "~/a.js"), b"1")}))


def test_a_bomb_is_refused_by_what_it_says_before_it_is_unpacked() -> None:
    """A megabyte of zeros in a kilobyte."""
    data = bundle_bytes({"a.js": (entry("source", "~/a.js"), bytes(200_000))})
    assert len(data) < 2_000
    assert "at most 100000 bytes once unpacked" in refusal(data)
    many = {f"{number}.js": (entry("source", f"~/{number}.js"), bytes(90_000)) for number in range(5)}
    assert "at most 300000 bytes once unpacked" in refusal(bundle_bytes(many))


def test_a_bomb_that_lies_about_its_size_makes_no_more_bytes_than_it_said() -> None:
    """Sizes in the directory are the sender's."""
    data = bytearray(bundle_bytes({"a.js": (entry("source", "~/a.js"), bytes(50_000_000))}))
    place = data.index(b"PK\x01\x02")
    assert struct.unpack_from("<L", data, place + 24)[0] == 50_000_000
    struct.pack_into("<L", data, place + 24, 1_000)
    assert "expected 1000 bytes, found 1001" in refusal(bytes(data))


def test_too_many_files_and_a_wrong_number_of_them_are_refused() -> None:
    """The directory is not read into objects first."""
    many = {f"{number}.js": (entry("source", f"~/{number}.js"), b"") for number in range(60)}
    assert "at most 50 files" in refusal(bundle_bytes(many))
    data = bytearray(bundle_bytes({"a.js": (entry("source", "~/a.js"), b"1")}))
    struct.pack_into("<H", data, data.rindex(b"PK\x05\x06") + 10, 40)
    assert "expected 40 files in the zip's directory, found 2" in refusal(bytes(data))


def test_files_that_share_their_bytes_are_refused() -> None:
    """Overlapping files make a bomb whose directory looks small for each."""
    data = bytearray(bundle_bytes({f"{n}.js": (entry("source", f"~/{n}.js"), b"1234") for n in range(2)}))
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    assert "do not overlap" in refusal(bytes(data))


def test_a_wrong_checksum_is_refused() -> None:
    """A byte of a stored file is another one."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("manifest.json", '{"files": {"a.js": {}}}')
        archive.writestr("a.js", b"good bytes")
    assert read(b"SYSB\x02\0\0\0" + packed.getvalue()).files
    assert "a.js: expected the checksum" in refusal(
        b"SYSB\x02\0\0\0" + packed.getvalue().replace(b"good bytes", b"evil bytes")
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "which begins with"),
        (b"PK\x03\x04", "which begins with"),
        (b"SYSB\x02\0\0\0", "no end of its directory"),
        (app_bundle()[:-30], "no end of its directory"),
        (bundle_bytes({}).replace(b"manifest.json", b"manifest.jsom"), "manifest.json in the bundle"),
    ],
)
def test_what_is_no_bundle_is_refused_with_what_was_expected(data: bytes, reason: str) -> None:
    """The text is the answer of the upload."""
    assert reason in refusal(data)


@pytest.mark.parametrize(
    "manifest", [b"{", b"[]", b'{"files": []}', b'{"files": {"a": 1}}', b'{"files": {"gone": {}}}']
)
def test_a_manifest_of_another_form_is_refused(manifest: bytes) -> None:
    """It decides what is in the bundle."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("manifest.json", manifest)
    assert "manifest.json" in refusal(b"SYSB\x02\0\0\0" + packed.getvalue())


def test_changed_bytes_are_refused_or_read_and_never_raise_anything_else() -> None:
    """A thousand bundles with some bytes changed, cut off or doubled."""
    chosen, data = random.Random(17), app_bundle(release="1")
    outcomes = set()
    for _ in range(1_000):
        changed = bytearray(data)
        for _ in range(chosen.randint(1, 6)):
            changed[chosen.randrange(len(changed))] = chosen.randrange(256)
        if chosen.random() < 0.2:
            del changed[chosen.randrange(len(changed)) :]
        try:
            read(bytes(changed))
            outcomes.add("read")
        except InvalidBundle:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_members_are_read_alone_from_a_plain_zip() -> None:
    """What stands before the zip is not counted in its offsets."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one/a.js", MINIFIED)
    file = io.BytesIO(b"anything" + packed.getvalue())
    [member] = read_directory(file, LIMITS).values()
    assert read_member(file, member) == MINIFIED.encode()
    with pytest.raises(InvalidZip, match="no end of its directory"):
        read_directory(io.BytesIO(b"x" * 100), LIMITS)


def test_an_entry_of_the_index_is_read_back_as_it_was_written() -> None:
    """Console and workers share it; a worker that does not know its form leaves it."""
    artifact = artifact_of(app_bundle(), release="shop@1", channel_ids=(3, 4))
    assert decode_artifact(encode_artifact(artifact)) == artifact
    for broken in (b"", b"x", encode_artifact(artifact)[:-3]):
        with pytest.raises(InvalidEntry):
            decode_artifact(broken)


def test_the_same_bytes_of_two_releases_are_two_artifacts() -> None:
    """A build that changed nothing is uploaded for a new release."""
    names = {artifact_of(app_bundle(), release=release).object_name for release in ("1", "2", "")}
    assert len(names) == 3


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (DEBUG_ID, DEBUG_ID.replace("-", "")),
        (DEBUG_ID.replace("-", "").upper(), DEBUG_ID.replace("-", "")),
        (f"{DEBUG_ID}-1", DEBUG_ID.replace("-", "")),
        ("no id", ""),
        (7, ""),
        ("f" * 1_000_000, ""),
    ],
)
def test_debug_ids_are_compared_without_dashes_and_case(text: object, plain: str) -> None:
    """Tools write them in several forms."""
    assert debug_id(text) == plain


def test_the_id_of_a_mapping_is_that_of_sentrys_plugin() -> None:
    """The value that sentry-cli 2.58 printed for this file (`debug-files check`)."""
    assert proguard_id(MAPPING) == PROGUARD_ID.replace("-", "")


def test_a_frames_address_is_looked_for_with_and_without_host_and_query() -> None:
    """Best match first."""
    assert candidates("https://shop.example/static/app.js?v=1#top") == [
        "https://shop.example/static/app.js?v=1",
        "https://shop.example/static/app.js",
        "~/static/app.js?v=1",
        "~/static/app.js",
    ]
    assert candidates("app:///main.js")[-1] == "~/main.js"
    assert candidates("/srv/app/main.js") == ["/srv/app/main.js", "~/srv/app/main.js"]
    assert candidates("data:text/javascript,1") == candidates("") == candidates("a" * 5_000) == []
    assert candidates("http://[broken/app.js") == ["http://[broken/app.js"]


@pytest.mark.parametrize(
    ("file", "reference", "url"),
    [
        ("~/static/app.min.js", "app.min.js.map", "~/static/app.min.js.map"),
        ("~/static/js/app.min.js", "../maps/app.js.map", "~/static/maps/app.js.map"),
        ("~/app.js", "~/maps/app.js.map", "~/maps/app.js.map"),
        ("https://cdn/x/app.js", "app.js.map", "https://cdn/x/app.js.map"),
        ("~/a/app.js", "/maps/app.js.map", "~/maps/app.js.map"),
        ("~/app.js", "data:application/json,{}", ""),
    ],
)
def test_a_source_map_is_named_relative_to_its_file(file: str, reference: str, url: str) -> None:
    """As browsers resolve it."""
    assert joined(file, reference) == url
