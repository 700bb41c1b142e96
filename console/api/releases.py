"""Releases: create, list, change, delete; their commits and deploys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from console.access.bearer import project_of
from console.api.answers import Page, json_answer
from console.api.errors import ApiError
from console.api.routes import ApiRoute
from console.releases.adoption import adoption
from console.releases.read_body import (
    DEPLOY_FIELDS,
    RELEASE_FIELDS,
    deploy_values,
    project_names,
    release_values,
    version_of,
)
from console.releases.shapes import commit_shape, deploy_shape, json_list, release_shape
from console.releases.store import SORTS, ReleaseStore

if TYPE_CHECKING:
    from console.api.request import ApiRequest
    from console.storage.clickhouse import Row


async def list_releases(request: ApiRequest) -> Response:
    """Releases, the newest first; of one project, of several, or of the whole organisation."""
    page = Page(request)
    is_limited = "project" in request.http.path_params or request.texts("project")
    channels = [project.id for project in request.projects()] if is_limited else None
    store = _store(request)
    rows = await store.page(
        channels,
        query=request.text("query"),
        order=request.choice("sort", SORTS, "date"),
        status=request.choice("status", {"": "", "open": "open", "archived": "archived"}, ""),
        **page.parameters,
    )
    shown = rows[: page.limit]
    entries = await _shapes(request, store, shown)
    if request.text("adoption") == "1":
        organisation, projects = request.caller.organisation, [project.id for project in request.projects()]
        shares = await adoption(request.services.clickhouse, organisation, projects, request.services.now())
        entries = [entry | {"adoption": shares.get(entry["version"])} for entry in entries]
    return page.answer(entries, has_more=len(rows) > page.limit)


async def create_release(request: ApiRequest) -> Response:
    """Creates a release, or adds projects, refs and commits to one that exists."""
    document = await request.fields(RELEASE_FIELDS)
    version, values = version_of(document.get("version")), release_values(document)
    channels = _channels(request, project_names(document))
    store = _store(request)
    existed = await store.exists(version)
    await store.write(version, channels, values)
    return await _release_response(request, version, 208 if existed and not values else 201)


async def one_release(request: ApiRequest) -> Response:
    """One release with what its events say."""
    return await _release_response(request, request.path("version"))


async def change_release(request: ApiRequest) -> Response:
    """Finalises, archives, or adds refs and commits. sentry-cli 2 creates releases with this too."""
    document = await request.fields(RELEASE_FIELDS)
    values, store = release_values(document), _store(request)
    version = version_of(request.path("version"))
    channels = _channels(request, project_names(document))
    if not channels:  # one that does not exist is no release of any project
        await store.one(version)
    await store.write(version, channels, values)
    return await _release_response(request, version)


async def delete_release(request: ApiRequest) -> Response:
    """Removes the release; the events that name it stay."""
    await _store(request).delete(request.path("version"))
    return Response(status_code=204)


async def previous_with_commits(request: ApiRequest) -> Response:
    """The release before, from which `set-commits --auto` goes on; an empty object if there is none."""
    store = _store(request)
    previous = await store.previous_with_commits(await store.one(request.path("version")))
    return json_answer((await _shapes(request, store, [previous]))[0] if previous else {})


async def commits(request: ApiRequest) -> Response:
    """The commits that a tool sent with the release."""
    page = Page(request)
    all_commits = json_list((await _store(request).one(request.path("version")))["commits"])
    shown = [commit_shape(commit) for commit in page.of(all_commits)]
    return page.answer(shown[: page.limit], has_more=len(shown) > page.limit)


async def list_deploys(request: ApiRequest) -> Response:
    """The deploys of a release, the newest first."""
    store = _store(request)
    version = (await store.one(request.path("version")))["version"]
    return json_answer([deploy_shape(row) for row in await store.deploys([version])])


async def create_deploy(request: ApiRequest) -> Response:
    """Notes that a release runs in an environment."""
    values = deploy_values(await request.fields(DEPLOY_FIELDS))
    store = _store(request)
    version = (await store.one(request.path("version")))["version"]
    stored = await store.add_deploy(version, values)
    return json_answer(deploy_shape(stored), 201)


def _store(request: ApiRequest) -> ReleaseStore:
    return ReleaseStore(request.services, request.caller)


def _channels(request: ApiRequest, names: list[str]) -> list[int]:
    """The projects of a release: that of the path, and those that the body names. Raises ApiError 400."""
    if "project" in request.http.path_params:
        names = [request.path("project"), *names]
    try:
        return [project_of(request.services.registry_entries, request.caller, name).id for name in names]
    except ApiError as error:
        raise ApiError(400, error.detail.replace("project:", "projects:", 1)) from None


async def _release_response(request: ApiRequest, version: str, status: int = 200) -> Response:
    store = _store(request)
    (shape,) = await _shapes(request, store, [await store.one(version)])
    return json_answer(shape, status)


async def _shapes(request: ApiRequest, store: ReleaseStore, rows: Sequence[Row]) -> list[dict[str, Any]]:
    deploys = await store.deploys([row["version"] for row in rows])
    numbers, entries = await store.by_project(rows), request.services.registry_entries
    return [
        release_shape(
            row,
            request.organisation,
            entries,
            [deploy for deploy in deploys if deploy["release"] == row["version"]],
            numbers,
        )
        for row in rows
    ]


def _of(prefix: str) -> tuple[ApiRoute, ...]:
    release = f"{prefix}releases/{{version}}/"
    return (
        ApiRoute("GET", f"{prefix}releases/", "project:read", list_releases),
        ApiRoute("POST", f"{prefix}releases/", "project:releases", create_release),
        ApiRoute("GET", release, "project:read", one_release),
        ApiRoute("PUT", release, "project:releases", change_release),
        ApiRoute("DELETE", release, "project:releases", delete_release),
        ApiRoute("GET", f"{release}previous-with-commits/", "project:read", previous_with_commits),
        ApiRoute("GET", f"{release}commits/", "project:read", commits),
        ApiRoute("GET", f"{release}deploys/", "project:read", list_deploys),
        ApiRoute("POST", f"{release}deploys/", "project:releases", create_deploy),
    )


ROUTES = (*_of("/organizations/{organisation}/"), *_of("/projects/{organisation}/{project}/"))
