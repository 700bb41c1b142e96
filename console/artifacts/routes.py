"""Routes of uploads: chunks, artifact bundles, debug files, files of a release, and lists of them."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import orjson
from starlette.responses import Response

from console.api.answers import Page, iso_time, json_answer
from console.api.errors import ApiError
from console.api.routes import ApiRoute
from console.artifacts.bodies import (
    CHUNK_BYTES,
    FORM_BYTES,
    MAX_CHUNKS_PER_REQUEST,
    MAX_FILES,
    REQUEST_BYTES,
    chunks_of,
    mappings_of,
    projects_of,
    release_file_of,
    sha1_of,
    sha1s_of,
    short_text,
)
from console.artifacts.debugging import source_map_debug
from console.artifacts.store import ArtifactStore
from console.artifacts.uploads import UploadRequest, Uploads, reprocessing_name, unavailable
from schemas.artifacts.bundle import MINIFIED_SOURCE, SOURCE_MAP
from schemas.artifacts.debug_ids import dashed, debug_id
from schemas.artifacts.entry import BUNDLE, DEBUG_FILE, PROGUARD, RELEASE_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.api.request import ApiRequest

# What both command lines look for, and what we accept and list.
ACCEPTED: Final = (
    *("debug_files", "release_files", "artifact_bundles", "artifact_bundles_v2", "sources", "pdbs", "portablepdbs"),
    *("bcsymbolmaps", "il2cpp", "proguard"),
)
_PROGUARD_NAME: Final = re.compile(r"/?proguard/(?:mapping-)?(?P<id>[0-9A-Fa-f-]{32,36})\.txt")
_ASSEMBLE_FIELDS: Final = frozenset({"checksum", "chunks", "projects", "version", "dist"})
_WHO_UPLOADS: Final = "project:releases"


async def upload_options(request: ApiRequest) -> Response:
    """How to upload: sizes, hash, compression, and what is accepted."""
    organisation = request.organisation
    return json_answer(
        {
            "url": f"{request.services.url}/api/0/organizations/{organisation}/chunk-upload/",
            "chunkSize": CHUNK_BYTES,
            "chunksPerRequest": MAX_CHUNKS_PER_REQUEST,
            "maxRequestSize": REQUEST_BYTES,
            "maxFileSize": request.services.settings.console_artifact_bytes,
            "concurrency": 4,
            "hashAlgorithm": "sha1",
            "compression": ["gzip"],
            "accept": list(ACCEPTED),
        }
    )


async def upload_chunks(request: ApiRequest) -> Response:
    """Stores chunks; each is named by the SHA-1 of its bytes."""
    assert request.organisation
    uploads = Uploads(request.services, request.caller)
    async with request.services.upload_slots:
        body = await request.body(REQUEST_BYTES + FORM_BYTES)
        for chunk in chunks_of(body, request.http.headers.get("content-type", "")):
            await uploads.put_chunk(chunk)
    return json_answer([])


async def assemble_bundle(request: ApiRequest) -> Response:
    """An artifact bundle: which chunks are missing, or that it is there. Also the older form for a release."""
    assert request.organisation
    document = await request.fields(_ASSEMBLE_FIELDS)
    upload = UploadRequest(
        sha1_of(document.get("checksum")),
        tuple(sha1s_of(document.get("chunks"))),
        BUNDLE,
        short_text(document, "version") or request.http.path_params.get("version", ""),
        short_text(document, "dist"),
        projects_of(request, document.get("projects")),
    )
    state, missing, _ = await _assemble(Uploads(request.services, request.caller), upload)
    return json_answer({"state": state, "missingChunks": missing})


async def assemble_debug_files(request: ApiRequest) -> Response:
    """Debug files and mappings, by their SHA-1: for each which chunks are missing, or what it is."""
    channel, document = request.project, await request.document()
    if len(document) > MAX_FILES:
        raise ApiError(400, f"body: expected at most {MAX_FILES} files, found {len(document)}")
    uploads, answers = Uploads(request.services, request.caller), dict[str, Any]()
    for sha1, about in document.items():
        if not isinstance(about, dict):
            raise ApiError(400, "body: expected an object for each SHA-1, found another form")
        upload = _debug_file(sha1_of(sha1, "body"), about, channel.id)
        if not upload.chunks and await uploads.known(upload) is None:  # "do you have it?"
            answers[sha1] = {"state": "not_found", "missingChunks": []}
            continue
        state, missing, is_there = await _assemble(uploads, upload)
        answers[sha1] = {"state": state, "missingChunks": missing}
        if is_there:
            answers[sha1]["dif"] = _dif(upload)
    return json_answer(answers)


async def _assemble(uploads: Uploads, upload: UploadRequest) -> tuple[str, list[str], bool]:
    """(state, missing chunks, whether it is there)."""
    if await uploads.known(upload) is not None:
        return "ok", [], True
    missing = await uploads.missing(upload.chunks)
    if missing or not upload.chunks:
        return "not_found", missing, False
    await uploads.assemble(upload)
    return "ok", [], True


def _debug_file(sha1: str, about: Mapping[str, Any], channel_id: int) -> UploadRequest:
    name = short_text(dict(about), "name").lstrip("/")
    chunks = tuple(sha1s_of(about.get("chunks")))
    mapping = _PROGUARD_NAME.fullmatch(name)
    kind = PROGUARD if mapping else DEBUG_FILE
    of_file = debug_id(about.get("debug_id")) or (debug_id(mapping["id"]) if mapping else "")
    return UploadRequest(sha1, chunks, kind, channel_ids=(channel_id,), label=name, debug_id=of_file)


def _dif(upload: UploadRequest) -> dict[str, Any]:
    """A debug file as tools print it."""
    is_mapping = upload.kind == PROGUARD
    # sentry-cli reads `type` as a class of object files, and a mapping is none.
    data = {"features": ["mapping"]} if is_mapping else {"type": "dbg", "features": ["debug"]}
    return {
        "id": upload.checksum,
        "uuid": dashed(upload.debug_id) or None,
        "debugId": dashed(upload.debug_id) or None,
        "objectName": "proguard-mapping" if is_mapping else upload.label,
        "cpuName": "any" if is_mapping else "unknown",
        "symbolType": upload.kind,
        "sha1": upload.checksum,
        "size": 0,
        "data": data,
    }


async def upload_debug_files(request: ApiRequest) -> Response:
    """A zip with mappings, as `sentry-cli upload-proguard` sends it."""
    channel = request.project
    uploads, stored = Uploads(request.services, request.caller), []
    async with request.services.upload_slots:
        body = await request.body(REQUEST_BYTES + FORM_BYTES)
        _, _, packed, _ = release_file_of(body, request.http.headers.get("content-type", ""))
        for name, content in await asyncio.to_thread(mappings_of, packed):
            sha1, chunks = await uploads.put_file(content)
            upload = _debug_file(sha1, {"name": name, "chunks": chunks}, channel.id)
            await uploads.assemble(upload)
            stored.append(_dif(upload))
    return json_answer(stored, 201)


async def upload_release_file(request: ApiRequest) -> Response:
    """One file of a release, as `releases files upload` sends it."""
    assert request.organisation
    channel_ids = (request.project.id,) if "project" in request.http.path_params else ()
    async with request.services.upload_slots:
        body = await request.body(REQUEST_BYTES)
        content_type = request.http.headers.get("content-type", "")
        name, dist, content, headers = release_file_of(body, content_type)
        if not name:
            raise ApiError(400, "name: expected the address of the file, found none")
        uploads = Uploads(request.services, request.caller)
        sha1, chunks = await uploads.put_file(content)
        kind = SOURCE_MAP if name.partition("?")[0].endswith(".map") else MINIFIED_SOURCE
        reference = headers.get("sourcemap") or headers.get("x-sourcemap") or ""
        release = request.path("version")
        upload = UploadRequest(
            *(sha1, tuple(chunks), RELEASE_FILE, release, dist, channel_ids, name),
            url=name,
            file_kind=kind,
            source_map=reference,
        )
        artifact = await uploads.assemble(upload)
    row = {"artifact": artifact.id, "url": name, "dist": dist, "sha1": sha1, "size_bytes": len(content)}
    return json_answer(_release_file({**row, "source_map": reference, "uploaded_at": ""}), 201)


async def release_files(request: ApiRequest) -> Response:
    """The files of a release."""
    page = Page(request)
    assert request.organisation
    rows = await ArtifactStore(request.services, request.caller).release_files(
        request.path("version"), **page.parameters
    )
    return page.answer([_release_file(row) for row in rows[: page.limit]], has_more=len(rows) > page.limit)


def _release_file(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["artifact"],
        "name": row["url"],
        "dist": row["dist"] or None,
        "sha1": row["sha1"],
        "size": row["size_bytes"],
        "headers": {"Sourcemap": row["source_map"]} if row["source_map"] else {},
        "dateCreated": iso_time(row["uploaded_at"]),
    }


async def list_bundles(request: ApiRequest) -> Response:
    """Artifact bundles and files of releases, the newest first."""
    return await _list_artifacts(request, (BUNDLE, RELEASE_FILE))


async def list_debug_files(request: ApiRequest) -> Response:
    """Mappings and debug files, the newest first."""
    return await _list_artifacts(request, (PROGUARD, DEBUG_FILE))


async def _list_artifacts(request: ApiRequest, kinds: tuple[str, ...]) -> Response:
    page = Page(request)
    channel = request.project.id if "project" in request.http.path_params else None
    assert request.organisation
    store = ArtifactStore(request.services, request.caller)
    rows = await store.page(kinds, channel, request.text("query"), **page.parameters)
    return page.answer([_artifact_json(row) for row in rows[: page.limit]], has_more=len(rows) > page.limit)


def _artifact_json(row: Mapping[str, Any]) -> dict[str, Any]:
    release = {"release": row["release"], "dist": row["dist"] or None}
    return {
        "id": row["artifact"],
        "bundleId": row["artifact"],
        "kind": row["kind"],
        "type": row["kind"],
        "name": row["label"] or row["release"] or row["sha1"],
        "objectName": row["label"],
        "sha1": row["sha1"],
        "debugId": dashed(row["debug_id"]) or None,
        "size": row["size_bytes"],
        "fileCount": row["files"],
        "associations": [release] if row["release"] else [],
        "projects": row["channels"],
        "date": iso_time(row["uploaded_at"]),
        "dateCreated": iso_time(row["uploaded_at"]),
    }


async def delete_artifact(request: ApiRequest) -> Response:
    """Deletes one artifact; rows that it made readable stay so."""
    assert request.organisation
    name = request.http.path_params.get("artifact") or request.text("id") or request.text("bundleId")
    await ArtifactStore(request.services, request.caller).delete(name)
    return Response(status_code=204)


async def reprocessing_progress(request: ApiRequest) -> Response:
    """How far the events that came before an upload are: how many were found, and processed again."""
    organisation, read = request.organisation, request.services.reprocessing_of
    if read is None:
        raise unavailable()
    try:
        entry = await read(reprocessing_name(organisation, request.path("artifact")))
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise unavailable() from error
    if not entry:
        raise ApiError(404, "artifact: expected one that was uploaded in the last days, found another")
    progress = orjson.loads(entry)
    numbers = {name: progress.get(name, 0) for name in ("found", "published", "gone")}
    return json_answer({"artifact": progress["artifact"], "state": progress.get("state", "waiting"), **numbers})


_ORGANISATION: Final = "/organizations/{organisation}/"
_PROJECT: Final = "/projects/{organisation}/{project}/"
ROUTES: Final = (
    ApiRoute("GET", f"{_ORGANISATION}chunk-upload/", _WHO_UPLOADS, upload_options),
    ApiRoute("POST", f"{_ORGANISATION}chunk-upload/", _WHO_UPLOADS, upload_chunks),
    ApiRoute("POST", f"{_ORGANISATION}artifactbundle/assemble/", _WHO_UPLOADS, assemble_bundle),
    ApiRoute("POST", f"{_ORGANISATION}releases/{{version}}/assemble/", _WHO_UPLOADS, assemble_bundle),
    ApiRoute("POST", f"{_PROJECT}files/difs/assemble/", _WHO_UPLOADS, assemble_debug_files),
    ApiRoute("GET", f"{_PROJECT}files/dsyms/", "project:read", list_debug_files),
    ApiRoute("POST", f"{_PROJECT}files/dsyms/", _WHO_UPLOADS, upload_debug_files),
    ApiRoute("DELETE", f"{_PROJECT}files/dsyms/", "project:write", delete_artifact),
    ApiRoute("GET", f"{_PROJECT}files/artifact-bundles/", "project:read", list_bundles),
    ApiRoute("GET", f"{_PROJECT}files/source-maps/", "project:read", list_bundles),
    ApiRoute("DELETE", f"{_PROJECT}files/source-maps/", "project:write", delete_artifact),
    ApiRoute("GET", f"{_ORGANISATION}artifacts/", "project:read", list_bundles),
    ApiRoute("DELETE", f"{_ORGANISATION}artifacts/{{artifact}}/", "project:releases", delete_artifact),
    ApiRoute("GET", f"{_ORGANISATION}artifacts/{{artifact}}/late-maps/", "project:read", reprocessing_progress),
    ApiRoute("GET", f"{_PROJECT}events/{{event}}/source-map-debug/", "project:read", source_map_debug),
    *(
        route
        for prefix in (_ORGANISATION, _PROJECT)
        for route in (
            ApiRoute("GET", f"{prefix}releases/{{version}}/files/", "project:read", release_files),
            ApiRoute("POST", f"{prefix}releases/{{version}}/files/", _WHO_UPLOADS, upload_release_file),
            ApiRoute("DELETE", f"{prefix}releases/{{version}}/files/{{artifact}}/", _WHO_UPLOADS, delete_artifact),
        )
    ),
)
