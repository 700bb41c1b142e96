"""Organisations and projects: lists, one of them, its environments and keys, and what is asked for but empty here."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from console.api.answers import Page, iso_time, json_answer
from console.api.errors import ApiError
from console.api.routes import ApiRoute
from schemas.credentials import key_placeholder

if TYPE_CHECKING:
    from starlette.responses import Response

    from console.api.request import ApiRequest
    from schemas.registry import Channel, Key, Organisation

_LAST_USE: Final = (
    "SELECT key_id, max(minute) AS last FROM key_use WHERE key_id IN {keys:Array(String)} GROUP BY key_id"
)


async def list_organisations(request: ApiRequest) -> Response:
    """The one organisation of the token."""
    page = Page(request)
    organisation = request.services.registry_entries.organisation(request.caller.organisation)
    wanted = request.text("query").strip().lower()
    shown = (
        [_organisation(organisation, request)]
        if wanted in organisation.slug or wanted in organisation.name.lower()
        else []
    )
    return page.answer(page.of(shown)[: page.limit], has_more=False)


async def organisation(request: ApiRequest) -> Response:
    """One organisation with its projects."""
    slug = request.organisation
    organisation = request.services.registry_entries.organisation(slug)
    projects = [project_shape(channel) for channel in request.services.registry_entries.projects(slug)]
    return json_answer({**_organisation(organisation, request), "projects": projects, "teams": [_team(slug)]})


async def list_projects(request: ApiRequest) -> Response:
    """The projects of an organisation, or of the token's, by number."""
    slug = request.organisation if "organisation" in request.http.path_params else request.caller.organisation
    page = Page(request)
    wanted = request.text("query").strip().lower()
    projects = [
        channel
        for channel in request.services.registry_entries.projects(slug)
        if wanted in channel.project_slug or wanted in channel.name.lower()
    ]
    shown = [project_shape(channel, organisation=slug) for channel in page.of(projects)]
    return page.answer(shown[: page.limit], has_more=len(shown) > page.limit)


async def project(request: ApiRequest) -> Response:
    """One project."""
    channel = request.project
    return json_answer(
        {**project_shape(channel, organisation=channel.organisation), "options": {}, "latestRelease": None}
    )


async def project_keys(request: ApiRequest) -> Response:
    """The keys that may send to a project. Their text is stored nowhere: a placeholder with the id stands for it."""
    channel = request.project
    keys = request.services.registry_entries.keys(channel.organisation, channel.id)
    used = await _last_use(request, [key.id for key in keys]) if request.text("lastUsed") == "1" else {}
    return json_answer([key_shape(key, channel, sender_url(request)) | {"lastUsed": used.get(key.id)} for key in keys])


async def _last_use(request: ApiRequest, key_ids: list[str]) -> dict[str, str | None]:
    """The minute of each key's last use; none is known while ClickHouse is away."""
    with suppress(ApiError):
        rows = await request.services.clickhouse.query(_LAST_USE, keys=key_ids)
        return {row["key_id"]: iso_time(f"{row['last']}.0") for row in rows}
    return {}


async def environments(request: ApiRequest) -> Response:
    """The environments of the organisation."""
    slugs = [environment.slug for environment in request.services.registry_entries.environments(request.organisation)]
    return json_answer([{"id": slug, "name": slug, "isHidden": False} for slug in slugs])


async def teams(request: ApiRequest) -> Response:
    """One team, because tools ask for one: the organisation itself."""
    page = Page(request)
    return page.answer([_team(request.organisation)], has_more=False)


async def empty(request: ApiRequest) -> Response:
    """Repositories, members and the like, of which there are none here."""
    page = Page(request)
    return page.answer([], has_more=False)


def _organisation(organisation: Organisation, request: ApiRequest) -> dict[str, Any]:
    url = request.services.url
    return {
        "id": organisation.slug,
        "slug": organisation.slug,
        "name": organisation.name or organisation.slug,
        "status": {"id": "active", "name": "active"},
        "dateCreated": organisation.created_at or "1970-01-01T00:00:00Z",
        "isEarlyAdopter": False,
        "requireEmailVerification": False,
        "require2FA": False,
        "avatar": {"avatarType": "letter_avatar", "avatarUuid": None},
        "features": [],
        # sentry-mcp refuses a region without https, and takes an empty one for the address that it was given.
        "links": {"organizationUrl": url, "regionUrl": url if url.startswith("https://") else ""},
        "access": sorted(request.caller.scopes),
    }


def project_shape(channel: Channel, *, organisation: str = "") -> dict[str, Any]:
    """A channel as a project."""
    shape = {
        "id": str(channel.id),
        "slug": channel.project_slug,
        "name": channel.name or channel.project_slug,
        "platform": None,
        "status": "disabled" if channel.archived_at else "active",
        "dateCreated": channel.created_at or "1970-01-01T00:00:00Z",
        "isBookmarked": False,
        "isMember": True,
        "hasAccess": True,
        "isPublic": False,
        "features": [],
        "firstEvent": None,
        "teams": [_team(channel.organisation)],
        "team": _team(channel.organisation),
    }
    if organisation:
        shape["organization"] = {"id": organisation, "slug": organisation, "name": organisation}
    return shape


def _team(organisation: str) -> dict[str, Any]:
    return {"id": organisation, "slug": organisation, "name": organisation, "isMember": True, "memberCount": 0}


def sender_url(request: ApiRequest) -> str:
    """The address that senders use, in DSNs."""
    return request.services.settings.console_ingest_url or request.services.url


def key_shape(key: Key, channel: Channel, url: str, text: str = "") -> dict[str, Any]:
    """A key of a project. Its text is known only when it was made just now; else a placeholder stands for it."""
    scheme, _, host = url.partition("://")
    text = text or key_placeholder(is_public=key.kind == "public", key_id=key.id)
    label = key.name or f"{key.kind} key {key.id}"
    return {
        "id": key.id,
        "name": label,
        "label": label,
        "public": text,
        "secret": "",
        "projectId": channel.id,
        "isActive": not key.revoked,
        "rateLimit": None,
        "dsn": {"public": f"{scheme}://{text}@{host}/{channel.id}", "secret": ""},
        "dateCreated": key.created_at or "1970-01-01T00:00:00Z",
        "kind": key.kind,
        "environment": key.environment,
        "projects": None if key.channels is None else len(key.channels),
        "origins": list(key.origins or ()),
    }


ROUTES = (
    ApiRoute("GET", "/organizations/", "org:read", list_organisations),
    ApiRoute("GET", "/organizations/{organisation}/", "org:read", organisation),
    ApiRoute("GET", "/organizations/{organisation}/projects/", "project:read", list_projects),
    ApiRoute("GET", "/organizations/{organisation}/environments/", "org:read", environments),
    ApiRoute("GET", "/organizations/{organisation}/teams/", "org:read", teams),
    ApiRoute("GET", "/organizations/{organisation}/repos/", "org:read", empty),
    ApiRoute("GET", "/organizations/{organisation}/members/", "org:read", empty),
    ApiRoute("GET", "/projects/", "project:read", list_projects),
    ApiRoute("GET", "/projects/{organisation}/{project}/", "project:read", project),
    ApiRoute("GET", "/projects/{organisation}/{project}/keys/", "project:read", project_keys),
    ApiRoute("GET", "/projects/{organisation}/{project}/environments/", "project:read", environments),
    ApiRoute("GET", "/projects/{organisation}/{project}/teams/", "project:read", teams),
    ApiRoute("GET", "/teams/{organisation}/{team}/projects/", "project:read", list_projects),
)
