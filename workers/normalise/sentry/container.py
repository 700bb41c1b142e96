"""Containers of logs and of v2 spans: their list, their ingest settings, what their attributes say of the sender."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from schemas.headers import Origin
from schemas.rows import NANOS_PER_SECOND, Row
from workers.normalise.attributes import Attributes
from workers.normalise.envelope_item import EnvelopeItem, RecordRefused
from workers.normalise.scalars import as_dict, as_text, value_text
from workers.normalise.sentry.payload.resource import build_resource, environment_of, release_of, sdk_of
from workers.normalise.sentry.payload.user import AUTO, NEVER, infer_ip, resolve_auto_address
from workers.normalise.verdict import Verdict

INVALID_CONTAINER: Final = "invalid_container"
TOO_MANY_RECORDS: Final = "too_many_records"

# The shortest valid record has 70 bytes, so no body of records reaches this; three million zeros would take a worker
# half a minute to refuse one by one.
MAX_RECORDS: Final = 100_000

_BROWSER: Final = "Mozilla/"
# With one of these a record is about an HTTP request.
_HTTP_KEYS: Final = frozenset(
    {
        *("http.request.method", "http.method", "http.route", "http.response.status_code", "http.status_code"),
        *("http.scheme", "http.target", "http.url", "http.host", "url.full", "url.path", "url.scheme", "url.query"),
        *("network.protocol.name", "network.protocol.version", "server.port"),
    }
)


def records_of(item: EnvelopeItem) -> list[Any]:
    """The container's `items`. Raises RecordRefused."""
    records = item.fields.get("items")
    if records.__class__ is not list:
        raise RecordRefused(
            INVALID_CONTAINER, f'expected {{"items": [...]}} as the container, found {value_text(records)} there'
        )
    check_record_count(records, "items")
    return records


def check_record_count(records: list[Any], where: str) -> None:
    """Raises RecordRefused for more records than one item can honestly hold."""
    if len(records) > MAX_RECORDS:
        raise RecordRefused(
            TOO_MANY_RECORDS, f"expected at most {MAX_RECORDS} {where} in one item, found {len(records)}"
        )


def read_records(
    records: list[Any], verdict: Verdict, read: Callable[[Any, int], Row], places: Iterable[int] | None = None
) -> None:
    """Puts the row of each record into `verdict`, or why it is refused. `read` takes the record and its place.

    What has no members is refused by its kind: of 100,000 zeros a hundred are described and the others counted.
    `places` are those of the records to read; else all are.
    """
    reasons: dict[type, str] = {}
    rows, more = verdict.rows, verdict.more
    for index in range(len(records)) if places is None else places:
        value = records[index]
        is_bare = not value or value.__class__ is not dict
        if is_bare and (reason := reasons.get(value.__class__)) and not verdict.describes(reason):
            more[reason] += 1
            continue
        try:
            rows.append(read(value, index))
        except RecordRefused as refused:
            verdict.refuse(index, refused.reason, refused.detail)
            if is_bare:
                reasons[value.__class__] = refused.reason


def count_warning(item: EnvelopeItem, found_count: int) -> str:
    """A sentence if the item header's item_count says otherwise; the records are stored all the same."""
    said = item.header.get("item_count")
    if said is None or said == found_count:
        return ""
    return f"expected the {as_text(said)[:20]} records of item_count, found {found_count}; all found are stored"


def sequence_ns(attributes: Attributes) -> int:
    """Nanoseconds that tell apart records of one tick of the sender's clock (`sentry.timestamp.sequence`), else 0."""
    sequence = attributes.number("sentry.timestamp.sequence") or 0
    return sequence if 0 <= sequence < NANOS_PER_SECOND else 0


class Sender:
    """What one container's records say of who sent them. Records of one SDK share one resource map."""

    __slots__ = (
        *("_address", "_browser", "_item", "_origin", "_placeholder", "_resources"),
        *("_trace_environment", "_trace_release"),
    )

    def __init__(self, origin: Origin, item: EnvelopeItem) -> None:
        settings = as_dict(item.fields.get("ingest_settings"))
        has_version = item.fields.get("version") is not None
        infer_browser = settings.get("infer_user_agent") == "auto" or not has_version
        self._origin = origin
        self._item = item
        rule = infer_ip(settings.get("infer_ip"))
        self._address = origin.sender_ip if rule == AUTO else ""
        self._placeholder = "" if rule == NEVER else origin.sender_ip
        trace = as_dict(item.envelope.trace)
        self._trace_release, self._trace_environment = trace.get("release"), trace.get("environment")
        # a server's SDK names itself in this header; only a browser's is worth an attribute
        self._browser = origin.user_agent if infer_browser and origin.user_agent.startswith(_BROWSER) else ""
        self._resources: dict[tuple[str, ...], tuple[dict[str, str], tuple[str, ...]]] = {}

    def infer(self, attributes: Attributes) -> None:
        """Put the sender's address and browser where the container asks for it and the record has none.

        An `{{auto}}` of the record is the sender's address unless the container says never.
        """
        resolve_auto_address(attributes, self._placeholder)
        if self._address and "user.ip_address" not in attributes.keys:
            attributes.put("client.address", self._address)
        if self._browser:
            attributes.put("user_agent.original", self._browser)

    def environment(self, attributes: Attributes, repairs: list[str]) -> str:
        """The record's own environment if the key allows it, or its envelope's, else the resolved one."""
        if not self._origin.environment_from_event:
            return self._origin.environment
        text = attributes.text
        named = text("sentry.environment") or text("deployment.environment.name") or text("environment")
        return environment_of(named, repairs) or environment_of(self._trace_environment, []) or self._origin.environment

    def resource(
        self, attributes: Attributes, environment: str, repairs: list[str], *, is_on_server: bool
    ) -> dict[str, str]:
        """The resource of a record. `server.address` names the sender's machine only where nobody else can have
        written it: for a client it is the peer, and for an HTTP server it is what a visitor put into `Host`.
        """
        text = attributes.text
        is_named = is_on_server and not attributes.keys.intersection(_HTTP_KEYS)
        key = (
            environment,
            text("sentry.release") or text("release") or release_of(self._trace_release, []),
            text("service.name"),
            text("sentry.server.address") or (text("server.address") if is_named else ""),
            text("sentry.sdk.name"),
            text("sentry.sdk.version"),
            text("sentry.platform"),
        )
        known = self._resources.get(key)
        if known is None:
            named: list[str] = []
            known = self._resources[key] = (self._build(key, named), tuple(named))
        repairs += known[1]
        return known[0]

    def _build(self, key: tuple[str, ...], repairs: list[str]) -> dict[str, str]:
        environment, release, service, server, sdk_name, sdk_version, platform = key
        own_sdk = {"name": sdk_name, "version": sdk_version}
        resource = build_resource(
            service=service,
            release=release_of(release, repairs),
            environment=environment,
            server_name=server,
            sdk=sdk_of(own_sdk, self._item.envelope.sdk, self._origin.sentry_client),
        )
        if platform:
            resource["telemetry.sdk.language"] = platform[:64]
        return resource
