"""Makes attachment items of files that are sent after their event, with its id. Their content is not read here."""

from __future__ import annotations

from typing import Any

import orjson

from schemas import form
from schemas.envelope import body as envelope
from schemas.form import FormError, Part
from schemas.headers import Origin
from workers.normalise.envelope_item import MEDIA_TYPE_CUT
from workers.normalise.verdict import Invalid
from workers.unpack.pieces import Split

_WORKER = "attachment"
# An item's header has 16 KiB.
MAX_NAME_LENGTH = 1_024
MAX_MEDIA_TYPE_LENGTH = 200


def read(body: bytes, origin: Origin, _limit_bytes: int) -> Split:
    """Each file of the form (Sentry, events/{event_id}/attachments); the path named the event. Raises Invalid."""
    try:
        parts = form.read(body, origin.content_type)
    except FormError as error:
        raise Invalid(str(error)) from error
    files = [part for part in parts if part.filename is not None]
    if not files:
        raise Invalid(f"form: expected at least one file, found {len(parts)} fields without a filename; send a file")
    line = orjson.dumps({"event_id": origin.resource})
    split = Split(items=[(index, _WORKER, attachment(line, file)) for index, file in enumerate(files)])
    if len(files) < len(parts):
        split.dropped["form_field"] += len(parts) - len(files)
    return split


def attachment(line: bytes, file: Part, kind: str = "event.attachment") -> bytes:
    """A file of a form as an envelope of one item; `line` is the envelope's header."""
    header: dict[str, Any] = {"type": "attachment", "attachment_type": kind}
    name = file.filename or file.name
    if name:
        # one more than its worker keeps, so that it sees the cut and names it
        header["filename"] = name[: MAX_NAME_LENGTH + 1]
    if file.content_type:
        header["content_type"] = file.content_type[:MAX_MEDIA_TYPE_LENGTH]
        if len(file.content_type) > MAX_MEDIA_TYPE_LENGTH:
            header["repairs"] = [MEDIA_TYPE_CUT]
    return envelope.write_single(line, header, file.content)
