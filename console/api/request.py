"""A request of the Web API after authentication: who asks, what the path names, and its parameters, checked."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from console.access.bearer import Caller, organisation_of, project_of
from console.api.errors import ApiError
from console.storage.times import time_text_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from console.services import Services
    from schemas.registry import Channel

MAX_DEPTH: Final = 32
MAX_NUMBER: Final = 2**63 - 1
# Before the first event; a longer period means all time.
EARLIEST: Final = dt.datetime(1971, 1, 1, tzinfo=dt.UTC)
# Of senders: their events are the newest.
CLOCKS_AHEAD: Final = dt.timedelta(days=1)
_PERIOD: Final = re.compile(r"(\d{1,5})([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class Period:
    """From `begin` on and before `end`."""

    begin: dt.datetime
    end: dt.datetime

    def parameters(self) -> dict[str, str]:
        """For `{begin:String}` and `{end:String}`."""
        return {"begin": time_text_of(self.begin), "end": time_text_of(self.end)}


@dataclass(slots=True)
class ApiRequest:
    """One request. Every method that reads something of it raises ApiError 400 or 404."""

    http: Request
    services: Services
    caller: Caller

    def check_path(self) -> None:
        """Raises ApiError 404 for an organisation or project that is not the caller's, before anything is read."""
        if "organisation" in self.http.path_params:
            self._find_organisation()
        if "project" in self.http.path_params:
            self._find_project()

    @property
    def organisation(self) -> str:
        """The organisation of the path, which is the caller's."""
        return self._find_organisation()

    @property
    def project(self) -> Channel:
        """The project of the path."""
        return self._find_project()

    def _find_organisation(self) -> str:
        return organisation_of(self.caller, self.http.path_params["organisation"])

    def _find_project(self) -> Channel:
        self._find_organisation()  # a project of an organisation that is not the caller's is not looked for
        return project_of(self.services.registry_entries, self.caller, self.http.path_params["project"])

    def path(self, name: str) -> str:
        """A part of the path."""
        return str(self.http.path_params[name])

    def text(self, name: str, default: str = "") -> str:
        """A parameter; the last one if it came several times."""
        return str(self.http.query_params.get(name, default))

    def texts(self, name: str) -> list[str]:
        """All values of a parameter."""
        return [str(value) for value in self.http.query_params.getlist(name)]

    def number(self, name: str, default: int, most: int, least: int = 1) -> int:
        """A parameter that is a number from `least` to `most`; larger ones count as `most`."""
        text = self.text(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) < least:
            raise ApiError(400, f"{name}: expected a number from {least} to {most}, found {text[:40]!r}")
        return min(int(text), most)

    def choice(self, name: str, choices: Mapping[str, str], default: str) -> str:
        """A parameter that is one of `choices`; returns what stands for it there."""
        text = self.text(name, default) or default
        if text not in choices:
            raise ApiError(400, f"{name}: expected one of {', '.join(choices)}, found {text[:40]!r}")
        return choices[text]

    def projects(self) -> list[Channel]:
        """The projects that `project=` names, by slug or number, also several; -1 and none mean all.

        A project in the path is the only one.
        """
        if "project" in self.http.path_params:
            return [self.project]
        slugs = [value for value in (*self.texts("project"), *self.texts("projectSlug")) if value not in ("", "-1")]
        if not slugs:
            return self.services.registry_entries.projects(self.organisation)
        return [project_of(self.services.registry_entries, self.caller, value) for value in dict.fromkeys(slugs)]

    def period(self) -> Period | None:
        """The time that `statsPeriod`, or `start` and `end`, ask for; None for all time."""
        text, start, end = self.text("statsPeriod"), self.text("start"), self.text("end")
        now = self.services.now()
        if text and (start or end):
            raise ApiError(400, "statsPeriod: expected it, or start and end, found both")
        if text:
            match = _PERIOD.fullmatch(text)
            if match is None:
                raise ApiError(400, f"statsPeriod: expected a time like 24h or 14d, found {text[:40]!r}")
            length = dt.timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
            return Period(max(now - length, EARLIEST), now + CLOCKS_AHEAD)
        if not start and not end:
            return None
        if not start or not end:
            raise ApiError(400, "start: expected both start and end, found only one of them")
        period = Period(read_time("start", start), read_time("end", end))
        if period.begin >= period.end:
            raise ApiError(400, f"start: expected a time before end, found {start[:40]!r}")
        return period

    async def fields(self, known: frozenset[str]) -> dict[str, Any]:
        """The body: a JSON object with these fields only."""
        document = await self.document()
        if unknown := sorted(set(document) - known):
            raise ApiError(400, f"body: expected fields of {', '.join(sorted(known))}, found {unknown[0][:60]!r}")
        return document

    async def document(self) -> dict[str, Any]:
        """The body: a JSON object."""
        body = await self.body()
        try:
            document = orjson.loads(body or b"{}")
        except orjson.JSONDecodeError as error:
            raise ApiError(400, f"body: expected JSON, found other bytes at character {error.pos + 1}") from None
        if not isinstance(document, dict):
            raise ApiError(400, f"body: expected a JSON object, found {_type_name(document)}")
        _check_depth(document)
        return document

    async def body(self, limit: int = 0) -> bytes:
        """The whole body. Raises ApiError 413 above the limit, which is that of requests that are no upload."""
        limit = limit or self.services.settings.console_body_bytes
        body = bytearray()
        async for chunk in self.http.stream():
            body += chunk
            if len(body) > limit:
                raise ApiError(413, f"body: expected at most {limit} bytes, found more")
        return bytes(body)


def read_time(name: str, text: str) -> dt.datetime:
    """An ISO 8601 time; without an offset it is UTC. Raises ApiError 400."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ApiError(400, f"{name}: expected a time like 2026-01-31T10:00:00Z, found {text[:40]!r}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    if not 1970 < moment.year < 2200:
        raise ApiError(400, f"{name}: expected a year from 1971 to 2199, found {moment.year}")
    return moment.astimezone(dt.UTC)


def text_field(document: Mapping[str, Any], name: str, most: int, default: str = "") -> str:
    """A text of a body; null and a missing one are `default`. Raises ApiError 400."""
    value = document.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise ApiError(400, f"{name}: expected a text of at most {most} characters, found {_type_name(value)}")
    if len(value) > most:
        raise ApiError(400, f"{name}: expected a text of at most {most} characters, found {len(value)} characters")
    return value


def _check_depth(document: object) -> None:
    waiting: list[tuple[object, int]] = [(document, 1)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ApiError(400, f"body: expected JSON of at most {MAX_DEPTH} levels, found more")
        if isinstance(value, dict):
            waiting.extend((member, depth + 1) for member in value.values())
        elif isinstance(value, list):
            waiting.extend((member, depth + 1) for member in value)


def _type_name(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
