"""The message id of a body. Equal bytes are one message only with the same key, environment, path and media type."""

from __future__ import annotations

import hashlib

from schemas import form


def prefix(*parts: str | int | bool) -> hashlib.blake2b:
    """The hash of everything but the body. Each part has its length in front, so no two lists of parts are equal."""
    digest = hashlib.blake2b(digest_size=16, person=b"message")
    for part in parts:
        text = str(part).encode("utf-8", "surrogatepass")
        digest.update(b"%d:%s" % (len(text), text))
    return digest


def message_id(sender: hashlib.blake2b, body: bytes, salt: bytes = b"") -> str:
    """The `Nats-Msg-Id` of a body: 32 hex digits, equal for equal bytes so that a client's retry is one event.

    `sender` is what `prefix` gives and stays as it is. `salt` sets apart equal bytes that are honestly two events.
    """
    digest = sender.copy()
    if salt:
        digest.update(salt)
    digest.update(body)
    return digest.hexdigest()


def path(text: str) -> str:
    """A request's path as the routes see it: runs of slashes are one slash, one at the end is none."""
    return "/".join(filter(None, text.split("/")))


def media_type(content_type: str) -> str:
    """The part of a Content-Type that changes how a body is read: the type in lower case, and a form's boundary.

    Nothing here reads a charset or any other parameter, so a retry that writes them differently is the same message.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if not form.is_form(content_type):
        return kind
    return f"{kind};{form.declared_boundary(content_type).decode('latin-1')}"
