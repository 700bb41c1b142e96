"""Why the frames of an event are not readable: what was uploaded for it, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from console.api.answers import json_answer
from console.api.errors import ApiError
from console.issues.event_shape import payload_of
from console.issues.events import EventReader
from schemas.artifacts.debug_ids import dashed, debug_id
from schemas.artifacts.urls import candidates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from console.api.request import ApiRequest

_BY_DEBUG_ID: Final = """
SELECT kind, count() AS files FROM artifact_files
WHERE organisation = {organisation:String} AND debug_id = {debug_id:String} GROUP BY kind"""
_OF_RELEASE: Final = """
SELECT artifact, dist FROM artifacts WHERE organisation = {organisation:String} AND release = {release:String}
  AND (empty(channels) OR has(channels, {channel:UInt64})) LIMIT 1000"""
_BY_URL: Final = """
SELECT artifact, url FROM artifact_files
WHERE organisation = {organisation:String} AND artifact IN {artifacts:Array(String)} AND url IN {urls:Array(String)}
LIMIT 1"""
MAX_INDEX: Final = 10_000


async def source_map_debug(request: ApiRequest) -> Response:
    """What is missing for one frame (`exception_idx`, `frame_idx`); without errors it is resolved."""
    project = request.project
    reader = EventReader(request.services.clickhouse, project.organisation)
    payload = payload_of(await reader.one([project.id], request.path("event")))
    exception = _at(_values(payload), request.number("exception_idx", 0, MAX_INDEX, 0))
    if exception is None:
        raise ApiError(400, "exception_idx: expected an exception of the event, found none there")
    if "raw_stacktrace" in exception:
        return json_answer({"errors": []})
    frames = (exception.get("stacktrace") or {}).get("frames")
    frame = _at(frames, request.number("frame_idx", 0, MAX_INDEX, 0))
    if frame is None:
        raise ApiError(400, "frame_idx: expected a frame of the exception, found none there")
    return json_answer({"errors": await _errors(request, project.id, payload, str(frame.get("abs_path") or ""))})


async def _errors(request: ApiRequest, channel: int, payload: dict[str, Any], path: str) -> list[dict[str, Any]]:
    of_file, release = _debug_id_of(payload, path), str(payload.get("release") or "")
    errors: list[dict[str, Any]] = []
    if of_file:
        errors = await _debug_id_errors(request, of_file)
        if not errors:
            return []
    if not release:
        return [*errors, _error("no_release_on_event", "the event has no release", {})]
    return [*errors, *await _release_errors(request, channel, release, (str(payload.get("dist") or ""), path))]


async def _debug_id_errors(request: ApiRequest, of_file: str) -> list[dict[str, Any]]:
    clickhouse = request.services.clickhouse
    rows = await clickhouse.query(_BY_DEBUG_ID, organisation=request.organisation, debug_id=of_file)
    kinds = {row["kind"] for row in rows}
    if not kinds:
        text = f"no uploaded artifact has the debug id {dashed(of_file)} of this file"
        return [_error("debug_id_not_uploaded", text, {"debugId": dashed(of_file)})]
    if "source_map" not in kinds:
        text = f"the minified file with debug id {dashed(of_file)} was uploaded, its source map was not"
        return [_error("sourcemap_not_found", text, {"debugId": dashed(of_file)})]
    return []


async def _release_errors(
    request: ApiRequest, channel: int, release: str, file: tuple[str, str]
) -> list[dict[str, Any]]:
    clickhouse, (dist, path) = request.services.clickhouse, file
    rows = await clickhouse.query(_OF_RELEASE, organisation=request.organisation, release=release, channel=channel)
    if not rows:
        return [_error("no_sourcemaps_on_release", f"nothing was uploaded for release {release}", {"release": release})]
    artifacts = [row["artifact"] for row in rows if row["dist"] == dist]
    if not artifacts:
        dists = sorted({row["dist"] or "none" for row in rows})
        text = f"the event has dist {dist or 'none'}, uploads of the release have {', '.join(dists)}"
        return [_error("dist_mismatch", text, {"eventDist": dist, "artifactDists": dists})]
    urls = candidates(path)
    matched = await clickhouse.query(_BY_URL, organisation=request.organisation, artifacts=artifacts, urls=urls)
    if not matched:
        text = f"no file of release {release} was uploaded as one of {', '.join(urls)}"
        return [_error("no_url_match", text, {"absPath": path, "filenames": urls})]
    return []


def _error(kind: str, message: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "message": message, "data": data or None}


def _debug_id_of(payload: dict[str, Any], path: str) -> str:
    images = (payload.get("debug_meta") or {}).get("images")
    for image in images if isinstance(images, list) else []:
        if isinstance(image, dict) and image.get("type") == "sourcemap" and image.get("code_file") == path:
            return debug_id(image.get("debug_id"))
    return ""


def _values(payload: dict[str, Any]) -> Any:
    exception = payload.get("exception")
    return exception.get("values") if isinstance(exception, dict) else exception


def _at(values: Sequence[Any] | Any, index: int) -> dict[str, Any] | None:
    value = values[index] if isinstance(values, list) and index < len(values) else None
    return value if isinstance(value, dict) else None
