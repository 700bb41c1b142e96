"""Multipart bodies: fields are parameters, files are external tables. They are kept in memory, within limits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from aiohttp import BodyPartReader, web

from ops.local.clickhouse_http.body import PIECE_BYTES
from ops.local.clickhouse_http.errors import QUERY_IS_TOO_LARGE, SOCKET_TIMEOUT, TOO_MANY_SIMULTANEOUS_QUERIES, refusal
from ops.local.clickhouse_http.request import Call, with_form

# Limit of one form, and of all together: external tables are usually small.
MAX_FORM_BYTES: Final = 256 << 20
# Time limit of a form, plus a time for each MiB received.
FIRST_S: Final = 120.0
EACH_MIB_S: Final = 10.0
# Memory of a part besides its content: headers and name.
_PART_BYTES: Final = 1024


@dataclass(slots=True)
class Forms:
    """Memory and time limits of forms."""

    max_bytes: int = MAX_FORM_BYTES
    first_s: float = FIRST_S
    each_mib_s: float = EACH_MIB_S
    held_bytes: int = 0

    def open(self) -> FormBytes:
        """The memory account of one request; empty at first."""
        return FormBytes(self)


class FormBytes:
    """The memory used by one form, from its arrival until its query has ended."""

    def __init__(self, forms: Forms) -> None:
        self._forms = forms
        self.size_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Raises ServerError 229 for a form that is too long, 202 when all forms together use too much."""
        forms = self._forms
        if self.size_bytes + size_bytes > forms.max_bytes:
            text = f"The form is longer than {forms.max_bytes} bytes"
            raise refusal(QUERY_IS_TOO_LARGE, "QUERY_IS_TOO_LARGE", text)
        if forms.held_bytes + size_bytes > forms.max_bytes:
            text = f"Forms of all requests use more than {forms.max_bytes} bytes: try again when others have ended"
            raise refusal(TOO_MANY_SIMULTANEOUS_QUERIES, "TOO_MANY_SIMULTANEOUS_QUERIES", text)
        forms.held_bytes += size_bytes
        self.size_bytes += size_bytes

    def release(self) -> None:
        """Releases all of it; does nothing the second time."""
        self._forms.held_bytes -= self.size_bytes
        self.size_bytes = 0

    async def read(self, request: web.Request, call: Call) -> Call:
        """The call with the form's content added. Raises ServerError, 209 for a form that arrives too slowly."""
        forms = self._forms
        try:
            async with asyncio.timeout(forms.first_s) as deadline:
                return await self._read(request, call, deadline)
        except TimeoutError as error:
            text = f"The form came too slowly: {self.size_bytes} bytes; expected {forms.each_mib_s:.0f} s for each MiB"
            raise refusal(SOCKET_TIMEOUT, "SOCKET_TIMEOUT", text) from error

    async def _read(self, request: web.Request, call: Call, deadline: asyncio.Timeout) -> Call:
        first_s = asyncio.get_running_loop().time() + self._forms.first_s
        fields: dict[str, str] = {}
        files: dict[str, bytes] = {}
        async for part in await request.multipart():
            self.take(_PART_BYTES)
            if not isinstance(part, BodyPartReader) or part.name is None:
                continue
            data = bytearray()
            while chunk := await part.read_chunk(PIECE_BYTES):
                self.take(len(chunk))
                deadline.reschedule(first_s + self._forms.each_mib_s * self.size_bytes / (1 << 20))
                data += chunk
            if part.filename is None:
                fields[part.name] = data.decode("utf-8", "surrogateescape")
            else:
                files[part.name] = bytes(data)
        return with_form(call, fields, files, dict(request.query))
