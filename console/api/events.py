"""Events of a project: the list, one as tools read it, and one as it was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from console.api.answers import Page, json_answer
from console.api.errors import ApiError
from console.api.routes import ApiRoute
from console.issues.attachments import AttachmentReader, disposition
from console.issues.event_shape import event_shape, payload_of
from console.issues.events import EventReader, uuid_of

if TYPE_CHECKING:
    from console.api.request import ApiRequest
    from console.storage.clickhouse import Row


async def list_events(request: ApiRequest) -> Response:
    """The errors of a project, the newest first."""
    project, page, period = request.project, Page(request), request.period()
    full = request.text("full") in ("1", "true")
    events = await EventReader(request.services.clickhouse, project.organisation).page(
        [project.id], **page.parameters, period=period.parameters() if period else None, full=full
    )
    shown = [event_shape(event, project, full=full) for event in events[: page.limit]]
    return page.answer(shown, has_more=len(events) > page.limit)


async def one_event(request: ApiRequest) -> Response:
    """One event of a project, with its neighbours if it is an error."""
    project = request.project
    reader = EventReader(request.services.clickhouse, project.organisation)
    event = await reader.one([project.id], request.path("event"))
    previous, following = await reader.beside(event) if event["is_error"] else (None, None)
    return json_answer({**event_shape(event, project), "previousEventID": previous, "nextEventID": following})


async def event_json(request: ApiRequest) -> Response:
    """What was sent."""
    return json_answer(payload_of(await _event(request)))


async def attachments(request: ApiRequest) -> Response:
    """Files that were sent with an event."""
    project, event = request.project, await _event(request)
    reader = AttachmentReader(request.services.clickhouse, project.organisation, project.id)
    return json_answer(await reader.of_event(event))


async def attachment(request: ApiRequest) -> Response:
    """The bytes of one of them, as a file: never shown by a browser."""
    project, event = request.project, await _event(request)
    attachment_id = uuid_of(request.path("attachment"))
    if attachment_id is None:
        raise ApiError(404, f"attachment: expected its id, found {request.path('attachment')[:60]!r}")
    reader = AttachmentReader(request.services.clickhouse, project.organisation, project.id)
    name, data = await reader.one(event, attachment_id)
    return Response(data, 200, {"Content-Disposition": disposition(name)}, "application/octet-stream")


async def _event(request: ApiRequest) -> Row:
    project = request.project
    reader = EventReader(request.services.clickhouse, project.organisation)
    return await reader.one([project.id], request.path("event"))


async def event_id(request: ApiRequest) -> Response:
    """Where an event of the organisation is."""
    projects = {project.id: project for project in request.services.registry_entries.projects(request.organisation)}
    reader = EventReader(request.services.clickhouse, request.organisation)
    event = await reader.one(list(projects), request.path("event"))
    project = projects[int(event["channel_id"])]
    shape = event_shape(event, project)
    return json_answer(
        {
            "organizationSlug": project.organisation,
            "projectSlug": project.project_slug,
            "groupId": shape["groupID"],
            "eventId": shape["id"],
            "event": shape,
        }
    )


_OF_PROJECT = "/projects/{organisation}/{project}/events/"
ROUTES = (
    ApiRoute("GET", _OF_PROJECT, "event:read", list_events),
    ApiRoute("GET", f"{_OF_PROJECT}{{event}}/", "event:read", one_event),
    ApiRoute("GET", f"{_OF_PROJECT}{{event}}/json/", "event:read", event_json),
    ApiRoute("GET", f"{_OF_PROJECT}{{event}}/attachments/", "event:read", attachments),
    ApiRoute("GET", f"{_OF_PROJECT}{{event}}/attachments/{{attachment}}/", "event:read", attachment),
    ApiRoute("GET", "/organizations/{organisation}/eventids/{event}/", "event:read", event_id),
)
