"""Issues: lists, one issue, changes of one and of many, and the events of an issue."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from console.api.answers import Page, json_answer
from console.api.errors import ApiError
from console.api.request import Period, read_time
from console.api.routes import ApiRoute
from console.explore.question import Question, QuestionReader, Scope
from console.explore.rows import Explorer
from console.issues.assignments import (
    assignee_shape,
    assignment_activity,
    assignments,
    read_assignee,
)
from console.issues.assignments import store as store_assignments
from console.issues.changes import FIELDS, IssueChange, IssueChanges, read_change, status_details
from console.issues.event_shape import event_shape
from console.issues.events import EventReader
from console.issues.find import SORTS, IssueFinder
from console.issues.groups import Search
from console.issues.ids import MAX_ID
from console.issues.shapes import SHOWN_STATUS, issue_shape
from console.issues.stats import CHARTS, charts
from console.issues.tags import issue_tags, tag_values
from console.query.conditions import MAX_KEY
from console.query.datasets import ERRORS
from console.query.fields import ISSUE_ID_OF

if TYPE_CHECKING:
    from console.api.request import ApiRequest
    from console.storage.clickhouse import Row
    from schemas.registry import Channel

MAX_IDS = 1_000
# Each costs as much as a list.
MAX_COUNTED = 5
# What lists show if nothing else is asked for, as at Sentry.
DEFAULT_QUERY = "is:unresolved"


async def list_issues(request: ApiRequest) -> Response:
    """A page of issues of projects, by query, time and order."""
    page, search = Page(request), _search(request)
    chart = _chart(request)
    rows = await _finder(request).page(search, **page.parameters)
    shown = await _shapes(request, rows[: page.limit])
    if chart:
        await _add_charts(request, rows[: page.limit], shown, (chart,))
    return page.answer(shown, has_more=len(rows) > page.limit)


async def issues_count(request: ApiRequest) -> Response:
    """How many issues each `query=` has, all pages together."""
    queries = request.texts("query") or [DEFAULT_QUERY]
    if len(queries) > MAX_COUNTED:
        raise ApiError(400, f"query: expected at most {MAX_COUNTED} of them, found {len(queries)}")
    search, finder = _search(request), _finder(request)
    return json_answer({query: await finder.count(replace(search, query=query)) for query in queries})


async def one_issue(request: ApiRequest) -> Response:
    """One issue with what was done to it."""
    row = await _the_issue(request)
    (shape,) = shapes = await _shapes(request, [row])
    await _add_charts(request, [row], shapes, ("24h", "14d", "30d"))
    activity = await _activity(request, row)
    releases = {"firstRelease": row["first_release"], "lastRelease": row["last_release"]}
    shown = {name: {"version": version} if version else None for name, version in releases.items()}
    nothing: dict[str, Any] = {"seenBy": [], "participants": [], "tags": []}
    return json_answer({**shape, **shown, "activity": activity, **nothing})


async def short_id(request: ApiRequest) -> Response:
    """The issue of a short id."""
    row = await _the_issue(request)
    (shape,) = await _shapes(request, [row])
    project = shape["project"]
    return json_answer(
        {
            "organizationSlug": request.organisation,
            "projectSlug": project["slug"],
            "shortId": shape["shortId"],
            "groupId": shape["id"],
            "group": shape,
        }
    )


async def change_issue(request: ApiRequest) -> Response:
    """Resolves, archives or reopens one issue."""
    document = await request.fields(FIELDS)
    change, assignee = read_change(document), read_assignee(document, request.caller)
    row = await _the_issue(request)
    if change is not None:
        await IssueChanges(request.services, request.caller).store(change, [row])
    if assignee is not None:
        await store_assignments(request.services, request.caller, assignee, [row])
    (shape,) = await _shapes(request, [await _the_issue(request)])
    return json_answer(shape)


async def change_issues(request: ApiRequest) -> Response:
    """Resolves, archives or reopens the issues with these ids, or all of a search."""
    document = await request.fields(FIELDS)
    change, assignee = read_change(document), read_assignee(document, request.caller)
    rows = await _chosen(request)
    if (change is None and assignee is None) or not rows:
        return Response(status_code=204)
    said: dict[str, Any] = {}
    if assignee is not None:
        await store_assignments(request.services, request.caller, assignee, rows)
        said["assignedTo"] = assignee_shape(assignee)
    if change is not None:
        said |= _changed(await IssueChanges(request.services, request.caller).store(change, rows))
    return json_answer(said)


async def issue_tag_names(request: ApiRequest) -> Response:
    """The tags that errors of an issue have."""
    row = await _the_issue(request)
    return json_answer(await issue_tags(request.services.clickhouse, request.caller.organisation, row))


async def issue_tag(request: ApiRequest) -> Response:
    """How often each value of a tag came."""
    return json_answer(await _values_of_tag(request))


async def issue_tag_values(request: ApiRequest) -> Response:
    """The values alone, the most frequent first."""
    page = Page(request)
    shown = page.of((await _values_of_tag(request))["topValues"])
    return page.answer(shown[: page.limit], has_more=len(shown) > page.limit)


async def _values_of_tag(request: ApiRequest) -> dict[str, Any]:
    name = request.path("tag")
    if len(name) > MAX_KEY:
        raise ApiError(404, f"tag: expected a name of at most {MAX_KEY} characters, found {len(name)}")
    row = await _the_issue(request)
    return await tag_values(request.services.clickhouse, request.caller.organisation, row, name)


async def issue_activities(request: ApiRequest) -> Response:
    """What was done to an issue, and by whom."""
    return json_answer({"activity": await _activity(request, await _the_issue(request))})


async def issue_events(request: ApiRequest) -> Response:
    """The errors of an issue, the newest first; `query` chooses among them."""
    row, page, period = await _the_issue(request), Page(request), request.period()
    project = _project(request, row)
    full = request.text("full") in ("1", "true")
    reader = EventReader(request.services.clickhouse, request.caller.organisation)
    if request.text("query").strip():
        question = _errors_of_issue(request, row, project, period)
        explorer = Explorer(request.services.clickhouse, [project])
        events = await reader.read(await explorer.event_keys(question, page.limit + 1, page.offset), full=full)
    else:
        events = await reader.page(
            [project.id],
            **page.parameters,
            issue_id=int(row["issue_id"]),
            period=period.parameters() if period else None,
            full=full,
        )
    shown = [event_shape(event, project, full=full) for event in events[: page.limit]]
    return page.answer(shown, has_more=len(events) > page.limit)


def _errors_of_issue(request: ApiRequest, row: Row, project: Channel, period: Period | None) -> Question:
    """Without a time, from the first error of the issue to its last."""
    services = request.services

    def number(text: str) -> int | None:
        channel = services.registry_entries.project(request.caller.organisation, text)
        return channel.id if channel else None

    begin, end = (read_time("seen", str(row[name])[:19]) for name in ("first_seen", "last_seen"))
    period = period or Period(begin, end + dt.timedelta(seconds=1))
    scope = Scope(request.caller.organisation, [project], period, services.now())
    question = QuestionReader(ERRORS, scope, number).read(["id"], request.text("query"), [])
    of_issue = f"{ISSUE_ID_OF} = {question.parameters.new(int(row['issue_id']), 'UInt64')}"
    question.conditions.of_event = f"{of_issue} AND ({question.conditions.of_event or 'true'})"
    return question


async def no_notes(request: ApiRequest) -> Response:
    """Notes are not kept here, so no issue has one."""
    await _the_issue(request)
    return Page(request).answer([], has_more=False)


async def issue_event(request: ApiRequest) -> Response:
    """One error of an issue: by its id, `latest`, `oldest` or `recommended`, with its neighbours."""
    row = await _the_issue(request)
    project = _project(request, row)
    reader = EventReader(request.services.clickhouse, request.caller.organisation)
    event = await reader.of_issue(project.id, int(row["issue_id"]), request.path("event"))
    previous, following = await reader.beside(event)
    shape = event_shape(event, project)
    return json_answer({**shape, "previousEventID": previous, "nextEventID": following})


async def _activity(request: ApiRequest, row: Row) -> list[dict[str, Any]]:
    entries = await IssueChanges(request.services, request.caller).activity(row)
    assigned = await assignments(request.services, request.caller.organisation, [row])
    entries.extend(assignment_activity(assignment) for assignment in assigned.values())
    return sorted(entries, key=lambda entry: str(entry["dateCreated"]), reverse=True)


def _chart(request: ApiRequest) -> str:
    """The chart of a list: `groupStatsPeriod`; none with `collapse=stats` or an empty one."""
    name = request.text("groupStatsPeriod", "24h")
    if not name or "stats" in request.texts("collapse"):
        return ""
    if name == "auto":
        return "14d" if request.text("statsPeriod") not in ("", "24h", "1h") else "24h"
    if name not in CHARTS:
        raise ApiError(400, f"groupStatsPeriod: expected one of {', '.join(CHARTS)}, auto, found {name[:40]!r}")
    return name


async def _add_charts(
    request: ApiRequest, rows: Sequence[Row], shapes: Sequence[dict[str, Any]], names: Sequence[str]
) -> None:
    services, environments = request.services, _environments(request)
    for name in names:
        points = await charts(
            services.clickhouse, request.caller.organisation, rows, name, services.now(), environments=environments
        )
        for row, shape in zip(rows, shapes, strict=True):
            shape.setdefault("stats", {})[name] = points[int(row["issue_id"])]


async def _the_issue(request: ApiRequest) -> Row:
    """The issue of the path, among all projects of the caller's organisation."""
    organisation = request.organisation if "organisation" in request.http.path_params else request.caller.organisation
    projects = request.services.registry_entries.projects(organisation)
    return await _finder(request).one(organisation, projects, request.path("issue"))


async def _chosen(request: ApiRequest) -> list[Row]:
    """The issues that a change means. Raises ApiError 404 if an id is none of these projects."""
    projects, numbers = request.projects(), _numbers(request)
    if not numbers:
        return await _finder(request).ids(_search(request, default=_status_query(request)))
    rows = await _finder(request).by_numbers(request.organisation, projects, numbers)
    present = {int(row["issue_id"]) for row in rows}
    if missing := [str(number) for number in numbers if number not in present]:
        raise ApiError(404, f"id: expected issues of these projects, found {', '.join(missing[:10])}, which are none")
    return rows


def _numbers(request: ApiRequest) -> list[int]:
    numbers = [value for text in request.texts("id") for value in text.split(",") if value]
    for text in numbers:
        if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= MAX_ID):
            raise ApiError(400, f"id: expected numbers of issues, found {text[:40]!r}")
    if len(numbers) > MAX_IDS:
        raise ApiError(400, f"id: expected at most {MAX_IDS} of them, found {len(numbers)}")
    return list(dict.fromkeys(map(int, numbers)))


def _status_query(request: ApiRequest) -> str:
    """`status=` of older tools. Without it, a change means all issues of the search."""
    status = request.text("status")
    return f"is:{status}" if status else ""


def _search(request: ApiRequest, default: str = DEFAULT_QUERY) -> Search:
    given = request.http.query_params.get("query")
    return Search(
        request.organisation,
        request.projects(),
        default if given is None else str(given),
        _environments(request),
        request.period(),
        request.choice("sort", SORTS, "date"),
    )


def _environments(request: ApiRequest) -> list[str]:
    return [value for value in request.texts("environment") if value]


def _finder(request: ApiRequest) -> IssueFinder:
    services = request.services
    return IssueFinder(services.clickhouse, services.registry_entries, services.now())


def _project(request: ApiRequest, row: Row) -> Channel:
    project = request.services.registry_entries.project(request.caller.organisation, str(row["channel_id"]))
    assert project is not None
    return project


async def _shapes(request: ApiRequest, rows: Sequence[Row]) -> list[dict[str, Any]]:
    last = await _finder(request).last_events(request.caller.organisation, rows)
    assigned = await assignments(request.services, request.caller.organisation, rows)
    for row in rows:
        row["assigned_to"] = assigned.get(int(row["issue_id"]), {}).get("assigned_to", "")
    url = request.services.url
    return [issue_shape(row, _project(request, row), last.get(str(row["last_event_id"]), {}), url) for row in rows]


def _changed(change: IssueChange) -> dict[str, Any]:
    details = status_details(change.resolved_in, in_next_release=change.in_next_release)
    return {"status": SHOWN_STATUS[change.status], "statusDetails": details}


_OF_ORGANISATION = "/organizations/{organisation}/issues/"
_OF_PROJECT = "/projects/{organisation}/{project}/issues/"
ROUTES = (
    ApiRoute("GET", _OF_ORGANISATION, "event:read", list_issues),
    ApiRoute("GET", _OF_PROJECT, "event:read", list_issues),
    ApiRoute("GET", "/organizations/{organisation}/issues-count/", "event:read", issues_count),
    ApiRoute("PUT", _OF_ORGANISATION, "event:write", change_issues),
    ApiRoute("PUT", _OF_PROJECT, "event:write", change_issues),
    ApiRoute("GET", "/organizations/{organisation}/shortids/{issue}/", "event:read", short_id),
    *(
        route
        for issue in (f"{_OF_ORGANISATION}{{issue}}/", "/issues/{issue}/", "/groups/{issue}/")
        for route in (
            ApiRoute("GET", issue, "event:read", one_issue),
            ApiRoute("PUT", issue, "event:write", change_issue),
            ApiRoute("GET", f"{issue}tags/", "event:read", issue_tag_names),
            ApiRoute("GET", f"{issue}tags/{{tag}}/", "event:read", issue_tag),
            ApiRoute("GET", f"{issue}tags/{{tag}}/values/", "event:read", issue_tag_values),
            ApiRoute("GET", f"{issue}activities/", "event:read", issue_activities),
            ApiRoute("GET", f"{issue}notes/", "event:read", no_notes),
            ApiRoute("GET", f"{issue}comments/", "event:read", no_notes),
            ApiRoute("GET", f"{issue}events/", "event:read", issue_events),
            ApiRoute("GET", f"{issue}events/{{event}}/", "event:read", issue_event),
        )
    ),
)
