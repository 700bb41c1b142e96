"""What events and transactions share, Sentry's scope: tags, user, request, contexts, extra, resource, environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from schemas.headers import Origin
from workers.normalise.attributes import Attributes
from workers.normalise.envelope_item import EnvelopeItem
from workers.normalise.scalars import as_dict, as_text
from workers.normalise.sentry.payload.contexts import put_contexts, read_contexts
from workers.normalise.sentry.payload.pairs import pairs
from workers.normalise.sentry.payload.request import read_request
from workers.normalise.sentry.payload.resource import build_resource, dist_of, environment_of, release_of, sdk_of
from workers.normalise.sentry.payload.tags import RESERVED, read_tags
from workers.normalise.sentry.payload.user import NEVER, infer_ip, read_user, resolve_auto_address
from workers.normalise.trace_context import TraceContext, read_trace

_MAX_PLATFORM: Final = 64
_MAX_TRANSACTION: Final = 200
# What an envelope's header says of its trace is true of an item that does not say it itself.
_NO_TRACE: Final[dict[str, Any]] = {}


@dataclass(slots=True)
class SentryScope:
    """`environment` is the one to store; `user_id` is the user's id, name, e-mail or address."""

    attributes: Attributes
    resource: dict[str, str]
    environment: str
    trace: TraceContext
    user_id: str


def read_scope(origin: Origin, item: EnvelopeItem, repairs: list[str]) -> SentryScope:
    """Tags come first: where a tag and a context have one name, the user's own tag is the attribute."""
    payload = item.fields
    attributes = Attributes()
    tags = read_tags(payload.get("tags"), repairs)
    attributes.put_texts({key: tag for key, tag in tags.items() if key not in RESERVED})
    contexts = read_contexts(payload, repairs)
    trace = read_trace(contexts, item.envelope.trace, repairs)
    user_id = read_user(payload, origin.sender_ip, attributes, repairs)
    read_request(payload, attributes, repairs)
    put_contexts(contexts, attributes)
    _put_fields(payload, attributes, repairs)
    header = item.envelope.trace or _NO_TRACE
    named = payload.get("environment") or tags.get("environment") or header.get("environment")
    environment = choose_environment(origin, named, attributes, repairs)
    resource = _resource(origin, item, tags, environment, repairs)
    attributes.put_all("", as_dict(trace.fields.get("data")))
    settings = as_dict(as_dict(payload.get("sdk")).get("settings"))
    resolve_auto_address(attributes, "" if infer_ip(settings.get("infer_ip")) == NEVER else origin.sender_ip)
    return SentryScope(attributes, resource, environment, trace, user_id)


def choose_environment(origin: Origin, named: Any, attributes: Attributes, repairs: list[str]) -> str:
    """The event's own environment if the key allows it, else the resolved one; the event's stays as an attribute."""
    own = environment_of(named, repairs)
    if not own or own == origin.environment:
        return origin.environment
    if origin.environment_from_event:
        return own
    attributes.put("sentry.environment", own)
    return origin.environment


def _put_fields(payload: dict[str, Any], attributes: Attributes, repairs: list[str]) -> None:
    """The payload's own fields that Sentry lets people search for."""
    put, get = attributes.put, payload.get
    dist = dist_of(get("dist"), repairs)
    if dist:
        put("dist", dist)
    for name in ("server_name", "site", "logger", "culprit"):
        text = as_text(get(name))
        if text:
            put(name, text)
    transaction = get("transaction")
    if transaction is not None:
        put("transaction", as_text(transaction)[:_MAX_TRANSACTION])
    modules = get("modules")
    if modules:
        put("modules", modules)
    breadcrumbs = get("breadcrumbs")
    values = breadcrumbs.get("values") if breadcrumbs.__class__ is dict else breadcrumbs
    if values and values.__class__ is list:
        put("breadcrumbs.count", len(values))
    for key, value in pairs(get("extra")):
        put(f"extra.{key}", value)


def _resource(
    origin: Origin, item: EnvelopeItem, tags: dict[str, str], environment: str, repairs: list[str]
) -> dict[str, str]:
    payload = item.fields
    contexts = as_dict(payload.get("contexts"))
    declared = as_dict(as_dict(contexts.get("otel")).get("resource"))
    app = as_dict(contexts.get("app")).get("app_name")
    service = tags.get("service.name") or as_text(declared.get("service.name")) or tags.get("service") or as_text(app)
    release = payload.get("release")
    if release is None:
        release = tags.get("release") or (item.envelope.trace or _NO_TRACE).get("release")
    resource = build_resource(
        service=service,
        release=release_of(release, repairs),
        environment=environment,
        server_name=as_text(payload.get("server_name")),
        sdk=sdk_of(payload.get("sdk"), item.envelope.sdk, origin.sentry_client),
    )
    resource["telemetry.sdk.language"] = platform_of(payload.get("platform"))
    for key, value in declared.items():
        resource.setdefault(key, as_text(value))
    return resource


def platform_of(value: Any) -> str:
    """The platform as sent: Sentry makes 'other' of what it does not know, and loses dart, rust and crystal."""
    return as_text(value).strip()[:_MAX_PLATFORM] or "other"
