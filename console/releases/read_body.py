"""What tools say about a release or a deploy, checked: the fields of a body as values of a row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from console.api.errors import ApiError
from console.api.request import read_time, text_field
from console.storage.times import NEVER, time_text_of

if TYPE_CHECKING:
    from console.storage.clickhouse import Row

MAX_VERSION: Final = 250
MAX_COMMITS: Final = 1_000
MAX_REFS: Final = 100
MAX_URL: Final = 2_000
MAX_TEXT: Final = 10_000
RELEASE_FIELDS: Final = frozenset(
    {
        *("version", "projects", "ref", "url", "dateStarted", "dateReleased", "refs", "headCommits", "commits"),
        *("status", "owner", "userAgent", "versionInfo"),
    }
)
DEPLOY_FIELDS: Final = frozenset({"environment", "name", "url", "dateStarted", "dateFinished", "projects"})
_STATUSES: Final = ("open", "archived")
_BAD_VERSION: Final = re.compile(r"[\x00-\x1f\x7f/\\]")


def version_of(text: object) -> str:
    """The name of a release. Raises ApiError 400 for one that no path could have."""
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_VERSION:
        raise ApiError(400, f"version: expected a text of 1 to {MAX_VERSION} characters, found another value")
    if _BAD_VERSION.search(text) or text.strip() in (".", "..", "latest"):
        raise ApiError(
            400,
            f"version: expected no slash, backslash, line end, and not '.', '..' or 'latest', found {text[:60]!r}",
        )
    return text.strip()


def release_values(document: Mapping[str, Any]) -> Row:
    """The columns that a body names. Raises ApiError 400."""
    values: Row = {}
    for name, column in (("dateStarted", "started_at"), ("dateReleased", "released_at")):
        if document.get(name) is not None:
            values[column] = _moment(name, document[name])
        elif name in document:
            values[column] = NEVER
    for name, most in (("url", MAX_URL), ("ref", MAX_VERSION)):
        if name in document:
            values[name] = text_field(document, name, most)
    if (status := document.get("status")) is not None:
        if status not in _STATUSES:
            raise ApiError(400, f"status: expected one of {', '.join(_STATUSES)}, found {str(status)[:40]!r}")
        values["status"] = status
    refs = document.get("refs") if document.get("refs") is not None else document.get("headCommits")
    if refs is not None:
        values["refs"] = orjson.dumps([_ref(ref) for ref in _objects("refs", refs, MAX_REFS)]).decode()
    if document.get("commits") is not None:
        commits = [_commit(commit) for commit in _objects("commits", document["commits"], MAX_COMMITS)]
        values["commits"] = orjson.dumps(commits).decode()
    return values


def deploy_values(document: Mapping[str, Any]) -> Row:
    """The columns of a deploy. Raises ApiError 400."""
    environment = text_field(document, "environment", 64).strip()
    if not environment or _BAD_VERSION.search(environment):
        raise ApiError(400, "environment: expected the name of an environment, found none or one with a slash")
    times = {
        column: _moment(name, document[name]) if document.get(name) is not None else NEVER
        for name, column in (("dateStarted", "started_at"), ("dateFinished", "finished_at"))
    }
    return {
        "environment": environment,
        "name": text_field(document, "name", MAX_VERSION),
        "url": text_field(document, "url", MAX_URL),
        **times,
    }


def project_names(document: Mapping[str, Any]) -> list[str]:
    """The projects that a body names, by slug or number. Raises ApiError 400."""
    projects = document.get("projects") or []
    if not isinstance(projects, list) or not all(isinstance(slug, str | int) for slug in projects):
        raise ApiError(400, "projects: expected a list of slugs or numbers, found another value")
    return [str(slug) for slug in projects]


def _moment(name: str, value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 7_000_000_000:
        return f"{value:.3f}"
    if not isinstance(value, str):
        raise ApiError(400, f"{name}: expected a time like 2026-01-31T10:00:00Z, found another value")
    return time_text_of(read_time(name, value))


def _objects(name: str, value: object, most: int) -> list[dict[str, Any]]:
    if not isinstance(value, list) or len(value) > most or not all(isinstance(member, dict) for member in value):
        raise ApiError(400, f"{name}: expected a list of at most {most} objects, found another value")
    return value


def _ref(ref: Mapping[str, Any]) -> dict[str, str]:
    commit = text_field(ref, "commit", 64) or text_field(ref, "currentId", 64)
    previous = text_field(ref, "previousCommit", 64) or text_field(ref, "previousId", 64)
    # `from..to` in one field is Sentry's short form of both.
    if ".." in commit:
        previous, _, commit = commit.partition("..")
    if not commit:
        raise ApiError(400, "refs: expected a commit in each of them, found none")
    return {"repository": text_field(ref, "repository", 200), "commit": commit, "previousCommit": previous}


def _commit(commit: Mapping[str, Any]) -> dict[str, Any]:
    number = text_field(commit, "id", 64)
    if not number:
        raise ApiError(400, "commits: expected an id in each of them, found none")
    names = (("repository", 200), ("message", MAX_TEXT), ("author_name", 200), ("author_email", 200), ("timestamp", 60))
    patch = commit.get("patch_set")
    paths = [
        {"path": str(file.get("path"))[:500], "type": str(file.get("type"))[:1]}
        for file in (patch[:100] if isinstance(patch, list) else [])
        if isinstance(file, dict)
    ]
    return {"id": number, **{name: text_field(commit, name, most) for name, most in names}, "patch_set": paths}
