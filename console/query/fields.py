"""The fields that a search can name, and the column of each. Everything else is a tag or an attribute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    """How the values of a field are read and compared."""

    TEXT = "a text"
    NUMBER = "a number"
    DURATION = "a duration like 300ms, 2s or a number of milliseconds"
    FLAG = "true or false"
    TIME = "a time like 2026-01-31, 2026-01-31T10:00:00 or -24h"
    LEVEL = "one of fatal, error, warning, info, debug"
    STATUS = "one of unresolved, resolved, archived, ignored, regressed, new, for_review, assigned, unassigned"
    USER = "id:…, email:…, username:… or an id"
    PROJECT = "the slug or number of a project"
    PROJECT_NUMBER = "the number or slug of a project"
    ASSIGNEE = "user:…, team:…, an address or none"
    ISSUE = "the short id of an issue"
    ISSUE_NUMBER = "the number of an issue"
    FRAMES = "a text of one frame of a stack trace"
    CONSTANT = "its one value"


@dataclass(frozen=True, slots=True)
class Field:
    """`column` is an expression of ours. `of_issue`: of the whole issue, not of one of its errors.

    `in_errors`: the small table of errors has it too, so that `events` need not be read. `answered`: the expression in
    answers, if it is not `column`.
    """

    kind: Kind
    column: str
    of_issue: bool = False
    in_errors: bool = False
    answered: str = ""


LEVEL_OF: Final = (
    "multiIf(severity_number = 0, 'error', severity_number < 9, 'debug', severity_number < 13, 'info', "
    "severity_number < 17, 'warning', severity_number < 21, 'error', 'fatal')"
)
_HANDLED: Final = "attributes_bool['exception.mechanism.handled']"
# An error that nobody said to be unhandled is handled.
IS_UNHANDLED: Final = f"(mapContains(attributes_bool, 'exception.mechanism.handled') AND NOT {_HANDLED})"
# Lines `  file:line:column in function`, the innermost call last.
_FILES_OF_FRAMES: Final = r"extractAll(exception_stacktrace, '(?m)^  (.+?)(?::[0-9]+)?(?::[0-9]+)? in ')"
_FUNCTIONS_OF_FRAMES: Final = r"extractAll(exception_stacktrace, '(?m)^  .+? in (.+)$')"
TIME_OF_EVENT: Final = "timestamp"
ISSUE_ID_OF: Final = "bitShiftRight(sipHash64(organisation, channel_id, group_hash), 1)"
# What a client calls the type of an event; ours is the type of the item.
_TYPE_OF_EVENT: Final = (
    "multiIf(is_error, 'error', item_type = 'transaction', 'transaction', item_type = 'csp', 'csp', 'default')"
)
USER_OF: Final = (
    "multiIf(user_id != '', concat('id:', user_id), user_email != '', concat('email:', user_email), "
    "user_name != '', concat('username:', user_name), attributes_string['client.address'] != '', "
    "concat('ip:', attributes_string['client.address']), '')"
)
_NAME_OF_USER: Final = (
    "multiIf(user_email != '', user_email, user_name != '', user_name, user_id != '', user_id, "
    "attributes_string['client.address'])"
)
_TEXT_OF_EVENT: Final = "concat(title, '\\n', exception_message, '\\n', body, '\\n', attributes_string['culprit'])"

_ISSUE: Final[dict[tuple[str, ...], Field]] = {
    ("is",): Field(Kind.STATUS, "status", of_issue=True),
    ("assigned", "assigned_to", "assigned_or_suggested"): Field(Kind.ASSIGNEE, "issue_id", of_issue=True),
    ("firstSeen", "first_seen", "age"): Field(Kind.TIME, "first_seen", of_issue=True),
    ("lastSeen", "last_seen"): Field(Kind.TIME, "last_seen", of_issue=True),
    ("timesSeen", "times_seen"): Field(Kind.NUMBER, "times", of_issue=True),
    ("userCount", "user_count"): Field(Kind.NUMBER, "users", of_issue=True),
    ("firstRelease", "first-release", "first_release"): Field(Kind.TEXT, "first_release", of_issue=True),
    ("issue.id",): Field(Kind.ISSUE_NUMBER, "issue_id", of_issue=True),
    ("issue.category", "issue.type"): Field(Kind.CONSTANT, "'error'", of_issue=True),
}
_EVENT: Final[dict[tuple[str, ...], Field]] = {
    ("level",): Field(Kind.LEVEL, LEVEL_OF, in_errors=True),
    ("release",): Field(Kind.TEXT, "release", in_errors=True),
    ("environment",): Field(Kind.TEXT, "environment", in_errors=True),
    ("timestamp", "event.timestamp"): Field(Kind.TIME, TIME_OF_EVENT, in_errors=True),
    ("project", "project.name"): Field(Kind.PROJECT, "channel_id", in_errors=True),
    ("project.id", "project_id"): Field(Kind.PROJECT_NUMBER, "channel_id", in_errors=True),
    ("issue",): Field(Kind.ISSUE, ISSUE_ID_OF),
    ("title",): Field(Kind.TEXT, "title"),
    ("message",): Field(Kind.TEXT, _TEXT_OF_EVENT, answered="if(body != '', body, exception_message)"),
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
    ("user",): Field(Kind.USER, "user_id", answered=USER_OF),
    ("user.display",): Field(Kind.TEXT, _NAME_OF_USER),
    ("user.id",): Field(Kind.TEXT, "user_id"),
    ("user.email",): Field(Kind.TEXT, "user_email"),
    ("user.username", "user.name"): Field(Kind.TEXT, "user_name"),
    ("user.ip",): Field(Kind.TEXT, "attributes_string['client.address']"),
    ("event.type",): Field(Kind.TEXT, _TYPE_OF_EVENT),
    ("error.handled",): Field(Kind.FLAG, f"(NOT {IS_UNHANDLED})"),
    ("error.unhandled",): Field(Kind.FLAG, IS_UNHANDLED),
    ("stack.filename",): Field(Kind.FRAMES, _FILES_OF_FRAMES),
    ("stack.function",): Field(Kind.FRAMES, _FUNCTIONS_OF_FRAMES),
}
Fields = Mapping[str, Field]
FieldGroups = Mapping[tuple[str, ...], Field]


def by_name(*groups: FieldGroups) -> Fields:
    """The fields by each of their names; a later group replaces names of an earlier one."""
    return {name: field for fields in groups for names, field in fields.items() for name in names}


# What lists of issues can name.
FIELDS: Final = by_name(_ISSUE, _EVENT)
# Fields that Sentry has and this server does not: a tag of this name would be a silent surprise.
UNKNOWN_HERE: Final = frozenset({"bookmarks", "issue.priority", "issue.seer_actionability", "subscribed"})
