"""Keys of a project: made, with a text that is shown once, and revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from starlette.responses import Response

from console.api.answers import json_answer
from console.api.errors import ApiError
from console.api.organisations import key_shape, sender_url
from console.api.request import text_field
from console.api.routes import ApiRoute
from console.changes.operator import ask_operator, known_here
from ops.runtime.registry.key_text import new_key_text
from schemas.operator_requests.actions import (
    CREATE_KEY,
    PROJECT_ADMIN,
    REVOKE_KEY,
    KeyToRevoke,
    NewKey,
    problem_of,
)
from schemas.registry import Key, key_hash

if TYPE_CHECKING:
    from console.api.request import ApiRequest

_FIELDS: Final = frozenset({"name", "kind", "environment", "isNewEnvironment", "forAllProjects"})
_DEFAULT_ENVIRONMENT: Final = "production"


async def create_key(request: ApiRequest) -> Response:
    """A new key. Only this answer has its text; what is stored, and sent over the broker, is its hash."""
    channel = request.project
    document = await request.fields(_FIELDS)
    kind = text_field(document, "kind", 20, "public") or "public"
    text = new_key_text(public=kind == "public")
    new = _new_key(request, document, kind, key_hash(text))
    created = await ask_operator(request, CREATE_KEY, new)
    await known_here(request)
    key = Key(**{name: value for name, value in created.items() if name != "id"}, sha256=new.sha256)
    shape = key_shape(key, channel, sender_url(request), text)
    return json_answer(shape | {"text": text}, 201)


async def revoke_key(request: ApiRequest) -> Response:
    """Senders with it get 401 within a second."""
    key_id = request.path("key").lower()
    channel = request.project
    if not any(key.id == key_id for key in request.services.registry_entries.keys(channel.organisation, channel.id)):
        raise ApiError(404, f"key: expected one of {channel.project_slug}, found {key_id[:40]!r}")
    await ask_operator(request, REVOKE_KEY, KeyToRevoke(key_id=key_id))
    await known_here(request)
    return Response(status_code=204)


def _new_key(request: ApiRequest, document: dict[str, Any], kind: str, sha256: str) -> NewKey:
    try:
        return NewKey(
            sha256=sha256,
            kind=kind,
            environment=text_field(document, "environment", 64) or _environment(request),
            channel=None if document.get("forAllProjects") is True else request.project.id,
            name=text_field(document, "name", 200),
            is_new_environment=document.get("isNewEnvironment") is True,
        )
    except ValidationError as error:
        raise ApiError(400, problem_of(error)) from None


def _environment(request: ApiRequest) -> str:
    """Where none is named, as tools of Sentry do not: `production`, or the only one."""
    known = [environment.slug for environment in request.services.registry_entries.environments(request.organisation)]
    if len(known) == 1 and _DEFAULT_ENVIRONMENT not in known:
        return known[0]
    return _DEFAULT_ENVIRONMENT


_PATH: Final = "/projects/{organisation}/{project}/keys/"
ROUTES: Final = (
    ApiRoute("POST", _PATH, PROJECT_ADMIN, create_key),
    ApiRoute("DELETE", f"{_PATH}{{key}}/", PROJECT_ADMIN, revoke_key),
)
