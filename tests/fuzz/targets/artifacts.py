"""Uploads: artifact bundles, entries of their index, and forms with chunks."""

from __future__ import annotations

import gzip
import hashlib
import io
from typing import Final

from console.api.errors import ApiError
from console.artifacts.bodies import chunks_of
from schemas.artifacts.bundle import InvalidBundle, read_bundle
from schemas.artifacts.entry import InvalidEntry, decode_artifact, encode_artifact
from schemas.artifacts.zip_directory import ZipLimits
from tests.fuzz.target import Sample, Target
from tests.unit.artifact_files import MINIFIED, app_bundle, artifact_of, bundle_bytes, entry, inlined

_LIMITS: Final = ZipLimits(members=1_000, member_bytes=4_000_000, inflated_bytes=16_000_000)
_FORM: Final = "multipart/form-data; boundary=b"


def _bundles() -> list[Sample]:
    many = {f"{number}.js": (entry("source", f"~/{number}.js"), b"1") for number in range(20)}
    return [
        Sample(data, "bytes") for data in (app_bundle(release="shop@1", dist="7"), bundle_bytes(many), bundle_bytes({}))
    ]


def _read_bundle(data: bytes) -> bool:
    """What is read can be written into the index and read back."""
    bundle = read_bundle(io.BytesIO(data), _LIMITS)
    assert all(file.member.size_bytes <= _LIMITS.member_bytes for file in bundle.files)
    assert all(file.member.offset + file.member.packed_bytes <= len(data) for file in bundle.files)
    return True


def _entries() -> list[Sample]:
    return [Sample(encode_artifact(artifact_of(app_bundle(), release=release)), "bytes") for release in ("", "shop@1")]


def _read_entry(data: bytes) -> bool:
    artifact = decode_artifact(data)
    assert decode_artifact(encode_artifact(artifact)) == artifact
    return True


def _forms() -> list[Sample]:
    forms = []
    for content in (MINIFIED.encode(), inlined().encode(), b""):
        name = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        head = f'--b\r\nContent-Disposition: form-data; name="file_gzip"; filename="{name}"\r\n\r\n'
        forms.append(Sample(head.encode() + gzip.compress(content, mtime=0) + b"\r\n--b--\r\n", "bytes"))
    return forms


def _read_form(data: bytes) -> bool:
    return bool(list(chunks_of(data, _FORM)))


TARGETS: Final = (
    Target("artifact-bundle", _bundles, _read_bundle, (InvalidBundle,)),
    Target("artifact-entry", _entries, _read_entry, (InvalidEntry,)),
    Target("artifact-chunks", _forms, _read_form, (ApiError,)),
)
