"""The fields that a search can name, and the column of each. Everything else is a tag or an attribute."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    """How the values of a field are read and compared."""

    TEXT = "a text"
    NUMBER = "a number"
    TIME = "a time like 2026-01-31, 2026-01-31T10:00:00 or -24h"
    LEVEL = "one of fatal, error, warning, info, debug"
    STATUS = "one of unresolved, resolved, archived, ignored, regressed, new, for_review, assigned, unassigned"
    USER = "id:…, email:…, username:… or an id"
    PROJECT = "the slug or number of a project"
    CONSTANT = "its one value"


@dataclass(frozen=True, slots=True)
class Field:
    """`column` is an expression of ours. `of_issue`: of the whole issue, not of one of its errors.

    `in_errors`: the small table of errors has it too, so that `events` need not be read.
    """

    kind: Kind
    column: str
    of_issue: bool = False
    in_errors: bool = False


LEVEL_OF: Final = (
    "multiIf(severity_number = 0, 'error', severity_number < 9, 'debug', severity_number < 13, 'info', "
    "severity_number < 17, 'warning', severity_number < 21, 'error', 'fatal')"
)
ISSUE_ID_OF: Final = "bitShiftRight(sipHash64(organisation, channel_id, group_hash), 1)"
_TEXT_OF_EVENT: Final = "concat(title, '\\n', exception_message, '\\n', body, '\\n', attributes_string['culprit'])"

_ISSUE: Final[dict[tuple[str, ...], Field]] = {
    ("is",): Field(Kind.STATUS, "status", of_issue=True),
    ("firstSeen", "first_seen", "age"): Field(Kind.TIME, "first_seen", of_issue=True),
    ("lastSeen", "last_seen"): Field(Kind.TIME, "last_seen", of_issue=True),
    ("timesSeen", "times_seen"): Field(Kind.NUMBER, "times", of_issue=True),
    ("userCount", "user_count"): Field(Kind.NUMBER, "users", of_issue=True),
    ("firstRelease", "first-release", "first_release"): Field(Kind.TEXT, "first_release", of_issue=True),
    ("issue.id",): Field(Kind.NUMBER, "issue_id", of_issue=True),
    ("issue.category", "issue.type"): Field(Kind.CONSTANT, "'error'", of_issue=True),
}
_EVENT: Final[dict[tuple[str, ...], Field]] = {
    ("level",): Field(Kind.LEVEL, LEVEL_OF, in_errors=True),
    ("release",): Field(Kind.TEXT, "release", in_errors=True),
    ("environment",): Field(Kind.TEXT, "environment", in_errors=True),
    ("timestamp", "event.timestamp"): Field(Kind.TIME, "timestamp", in_errors=True),
    ("project", "project.name", "project.id", "project_id"): Field(Kind.PROJECT, "channel_id", in_errors=True),
    ("title",): Field(Kind.TEXT, "title"),
    ("message",): Field(Kind.TEXT, _TEXT_OF_EVENT),
    ("transaction",): Field(Kind.TEXT, "attributes_string['transaction']"),
    ("culprit",): Field(Kind.TEXT, "attributes_string['culprit']"),
    ("error.type",): Field(Kind.TEXT, "exception_type"),
    ("error.value",): Field(Kind.TEXT, "exception_message"),
    ("id",): Field(Kind.TEXT, "replaceAll(toString(event_id), '-', '')"),
    ("trace", "trace_id"): Field(Kind.TEXT, "trace_id"),
    ("span", "span_id"): Field(Kind.TEXT, "span_id"),
    ("platform", "platform.name"): Field(Kind.TEXT, "platform"),
    ("sdk.name",): Field(Kind.TEXT, "sdk_name"),
    ("sdk.version",): Field(Kind.TEXT, "sdk_version"),
    ("service", "service.name"): Field(Kind.TEXT, "service_name"),
    ("server_name",): Field(Kind.TEXT, "host_name"),
    ("logger",): Field(Kind.TEXT, "scope_name"),
    ("url", "http.url"): Field(Kind.TEXT, "url"),
    ("http.method",): Field(Kind.TEXT, "http_method"),
    ("http.status_code",): Field(Kind.NUMBER, "http_status_code"),
    ("user",): Field(Kind.USER, "user_id"),
    ("user.id",): Field(Kind.TEXT, "user_id"),
    ("user.email",): Field(Kind.TEXT, "user_email"),
    ("user.username", "user.name"): Field(Kind.TEXT, "user_name"),
    ("user.ip",): Field(Kind.TEXT, "attributes_string['client.address']"),
    ("event.type",): Field(Kind.TEXT, "item_type"),
}
FIELDS: Final = {name: field for fields in (_ISSUE, _EVENT) for names, field in fields.items() for name in names}
# Fields that Sentry has and this server does not: a tag of this name would be a silent surprise.
UNKNOWN_HERE: Final = frozenset(
    {"assigned", "assigned_or_suggested", "bookmarks", "issue.priority", "issue.seer_actionability", "subscribed"}
)


def field_of(key: str) -> Field | None:
    """The field of this name; None if it is a tag."""
    return FIELDS.get(key)
