"""Projects: created and renamed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from console.api.answers import json_answer
from console.api.errors import ApiError
from console.api.organisations import project_shape
from console.api.request import text_field
from console.api.routes import ApiRoute
from console.changes.operator import ask_operator, known_here
from schemas.operator_requests.actions import (
    CREATE_CHANNEL,
    PROJECT_ADMIN,
    RENAME_CHANNEL,
    ChannelName,
    NewChannel,
    problem_of,
)
from schemas.registry import Channel

if TYPE_CHECKING:
    from starlette.responses import Response

    from console.api.request import ApiRequest

# `platform` and `default_rules` come from Sentry's tools and mean nothing here.
_NEW_FIELDS: Final = frozenset({"name", "slug", "platform", "default_rules"})


async def create_project(request: ApiRequest) -> Response:
    """A new channel. Without a slug, one is made from the name."""
    document = await request.fields(_NEW_FIELDS)
    name, slug = text_field(document, "name", 200).strip(), text_field(document, "slug", 50)
    if not name and not slug:
        raise ApiError(400, "name: expected a name or a slug, found none")
    try:
        new = NewChannel(name=name, slug=slug)
    except ValidationError as error:
        raise ApiError(400, problem_of(error)) from None
    channel = Channel(**await ask_operator(request, CREATE_CHANNEL, new))
    await known_here(request)
    return json_answer(project_shape(channel, organisation=channel.organisation), 201)


async def change_project(request: ApiRequest) -> Response:
    """Another name, another slug. With the slug, addresses and short ids of issues change."""
    channel = request.project
    document = await request.fields(frozenset({"name", "slug", "platform"}))
    name = text_field(document, "name", 200, channel.name).strip()
    try:
        new = ChannelName(channel=channel.id, name=name, slug=text_field(document, "slug", 50))
    except ValidationError as error:
        raise ApiError(400, problem_of(error)) from None
    channel = Channel(**await ask_operator(request, RENAME_CHANNEL, new))
    await known_here(request)
    return json_answer(project_shape(channel, organisation=channel.organisation))


ROUTES: Final = (
    ApiRoute("POST", "/organizations/{organisation}/projects/", PROJECT_ADMIN, create_project),
    ApiRoute("POST", "/teams/{organisation}/{team}/projects/", PROJECT_ADMIN, create_project),
    ApiRoute("PUT", "/projects/{organisation}/{project}/", PROJECT_ADMIN, change_project),
)
