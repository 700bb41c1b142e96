"""Makes a minidump item and attachment items of a crash upload. The worker `minidump` reads the dump."""

from __future__ import annotations

from typing import Any, Final

import orjson

from schemas.crash import upload_form
from schemas.envelope import body as envelope
from schemas.form import FormError, Part
from schemas.headers import Origin
from workers.normalise.minidump.codec import SUFFIXES, is_dump
from workers.normalise.verdict import Invalid
from workers.unpack.attachments import MAX_MEDIA_TYPE_LENGTH, MAX_NAME_LENGTH, attachment
from workers.unpack.envelope import with_facts
from workers.unpack.pieces import Split

_FILE_TYPES: Final = {
    ".nv-gpudmp": "event.nv_gpudmp",
    ".nvdbg": "event.nv_shader_debug",
}
_VIEW_HIERARCHY: Final = "view-hierarchy.json"


def read(body: bytes, origin: Origin, _limit_bytes: int) -> Split:
    """Items of one upload (Sentry minidump endpoint); the event's JSON is before the dump. Raises Invalid."""
    try:
        upload = upload_form.read(body, origin.content_type, origin.channel_id)
    except FormError as error:
        raise Invalid(str(error)) from error
    if not is_dump(upload.dump.content):
        raise Invalid("minidump: expected MDMP as its first bytes, perhaps compressed, found others; send the dump")
    line = orjson.dumps({"event_id": upload.event_id})
    split = Split(items=[(0, "minidump", _dump_item(line, upload))])
    line_of_files = with_facts(line, upload.event) if upload.files else line
    for index, file in enumerate(upload.files, 1):
        split.items.append((index, "attachment", attachment(line_of_files, file, _file_type(file))))
    return split


def _dump_item(line: bytes, upload: upload_form.CrashUpload) -> bytes:
    event = orjson.dumps(upload.event)
    header: dict[str, Any] = {"type": "minidump", "meta_length": len(event), "repairs": list(upload.repairs)}
    name = upload.dump.filename
    if name:
        suffix = next((known_suffix for known_suffix in SUFFIXES if name.lower().endswith(known_suffix)), "")
        header["filename"] = name[: len(name) - len(suffix)][:MAX_NAME_LENGTH]
    if upload.dump.content_type:
        header["content_type"] = upload.dump.content_type[:MAX_MEDIA_TYPE_LENGTH]
    return envelope.write_single(line, header, event + upload.dump.content)


def _file_type(file: Part) -> str:
    name = (file.filename or file.name).lower()
    if _VIEW_HIERARCHY in (name, file.name):
        return "event.view_hierarchy"
    return next((kind for ending, kind in _FILE_TYPES.items() if name.endswith(ending)), "event.attachment")
