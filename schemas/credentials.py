"""Finds the key of a request in headers, query string, DSN or path. Whether the key is valid is checked elsewhere.

Follows the Sentry SDK overview, Authentication. No error text ever contains a key.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, cast
from urllib.parse import unquote_plus

from schemas.headers import MAX_QUERY_LENGTH
from schemas.identifiers import MAX_CHANNEL_ID

ApiKeySource = Literal["x-api-key", "x-axonpush-api-key", "x-public-token"]
Source = Literal["x-sentry-auth", "authorization", "query", "envelope-dsn", "path"] | ApiKeySource
# Header names in lower case, as ASGI and RSGI give them.
Headers = Mapping[str, str] | Mapping[bytes, bytes]

MAX_SENTRY_VERSION: Final = 7
MAX_CLIENT_LENGTH: Final = 200

_KEY = re.compile(r"[A-Za-z0-9_]{1,128}")
_PLACEHOLDER = re.compile(r"(?:ak|pt)_KEY_[0-9a-f]{16}")
_VERSION = re.compile(r"(?>0*(?=[0-9]))([0-9]{1,19})(?:\..*)?", re.DOTALL)
# The last @ ends the user part, so a secret may contain one; query and fragment are ignored.
_DSN = re.compile(r"https?://(?P<user>[^/?#]*)@(?P<host>[^/?#@\s]+)(?P<path>/[^?#]*)?(?:[?#].*)?", re.I | re.DOTALL)
_CHANNEL = re.compile(r"[0-9]{1,40}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
# Headers of axonpush SDKs: up to 0.0.17, from 0.0.18, and for public tokens from 0.0.17.
_API_KEY_HEADERS: Final[tuple[ApiKeySource, ...]] = ("x-api-key", "x-axonpush-api-key", "x-public-token")
# Parameters of one query string. SDKs send five; each must be decoded before the key is known.
MAX_PARAMETERS: Final = 500
# Characters of a header or parameter with a key; SDKs send 200.
MAX_CREDENTIAL_LENGTH: Final = 4_096
_CREDENTIAL_NAMES: Final = frozenset({"sentry_key", "sentry_version", "sentry_client"})
# The longest of them with every character percent-encoded, as three characters.
_MAX_ENCODED_NAME: Final = 3 * max(map(len, _CREDENTIAL_NAMES))
_SECRET_NAMES: Final = frozenset({"sentry_key", "sentry_secret"})
# A key has 32 characters after its prefix; `environment=pt_production` is none.
_MINTED = re.compile(r"(?<![A-Za-z0-9])(?:ak|pt)_[A-Za-z0-9_]{16,128}")
_SCHEMES: Final = frozenset({"dsn", "sentry", "basic"})
# A DSN inside a tunnel's parameter is encoded twice. If decoding still changes the text after that, the parameter is
# removed.
_MAX_DECODINGS: Final = 4


class BadCredential(ValueError):
    """A credential is unusable, or two contradict each other: answer 401."""


class BadRequest(ValueError):
    """The credential asks for an unknown protocol version: answer 400."""


def key_placeholder(*, is_public: bool, key_id: str) -> str:
    """Stands for the text of a key where only its id is known, in a form that DSNs can have."""
    return f"{'pt' if is_public else 'ak'}_KEY_{key_id}"


def is_key_placeholder(text: str) -> bool:
    """Whether somebody took the placeholder for the key."""
    return _PLACEHOLDER.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Credential:
    """A well-formed key and its source. `client` is printable ASCII; `sentry_version` is the text as sent."""

    key: str = field(repr=False)
    source: Source
    sentry_version: str | None = None
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Dsn:
    """The parts of a DSN. `host` is in lower case, with its port if any."""

    key: str = field(repr=False)
    host: str
    channel: int


def sentry_credential(headers: Headers, query_string: bytes) -> Credential | None:
    """The key of a Sentry request: X-Sentry-Auth, then Authorization, then ?sentry_key=; None if there is none.

    Raises BadCredential, also for two different keys, and BadRequest.
    """
    given = [
        x_sentry_auth(_header(headers, "x-sentry-auth")),
        authorization(_header(headers, "authorization")),
        query_credential(query_string),
    ]
    return combine([credential for credential in given if credential])


def api_key_credential(headers: Headers) -> Credential | None:
    """The key in X-API-Key, or in one of the two headers of newer axonpush SDKs; None if there is none.

    Raises BadCredential, also for two different keys.
    """
    values = [(name, _header(headers, name).strip()) for name in _API_KEY_HEADERS]
    return combine([Credential(_key(value, name.title()), name) for name, value in values if value])


def combine(given: Sequence[Credential]) -> Credential | None:
    """The first credential, with client and version of the others if it has none. Raises BadCredential if two keys
    differ.
    """
    if len(given) < 2:
        return given[0] if given else None
    first = given[0]
    for later in given[1:]:
        if later.key != first.key:
            raise BadCredential(
                f"expected one key, found different keys in {first.source} and {later.source}; send the key once"
            )
    return replace(
        first,
        sentry_version=next((credential.sentry_version for credential in given if credential.sentry_version), None),
        client=next((credential.client for credential in given if credential.client), None),
    )


def x_sentry_auth(value: str) -> Credential | None:
    """Parses `Sentry sentry_key=…, …`; None for other text. Raises BadCredential, BadRequest."""
    scheme, rest = _scheme(value)
    if scheme == "sentry" and rest:
        return _from_pairs(_comma_pairs(_short(rest, "X-Sentry-Auth")), "x-sentry-auth", "X-Sentry-Auth")
    return None


def authorization(value: str) -> Credential | None:
    """Parses `DSN <dsn>`, `Sentry sentry_key=…` or `Basic base64(key:)`; None for other schemes such as Bearer.

    Raises BadCredential, BadRequest.
    """
    scheme, rest = _scheme(value)
    if scheme in _SCHEMES:
        rest = _short(rest, "Authorization")
    if scheme == "dsn":
        return dsn_credential(rest, "authorization")
    if scheme == "sentry" and rest:
        return _from_pairs(_comma_pairs(rest), "authorization", "Authorization: Sentry")
    if scheme == "basic":
        return Credential(_key(_basic_user(rest), "Authorization: Basic"), "authorization")
    return None


def query_credential(query_string: bytes) -> Credential | None:
    """Parses `?sentry_key=…&sentry_version=…`; None without sentry_key.

    Raises BadCredential, BadRequest.
    """
    if b"sentry" not in query_string and b"%" not in query_string:
        return None
    pairs = list(_query_pairs(query_string))
    if not any(name == "sentry_key" for name, _ in pairs):
        return None
    return _from_pairs(pairs, "query", "the query string")


def query_without_credentials(query_string: bytes) -> str:
    """The query string, still percent-encoded, without any parameter that names or contains a key.

    Only the parameters within the first MAX_QUERY_LENGTH characters: no more is stored, and each parameter is decoded
    up to four times.
    """
    kept, size = [], 0
    for pair in query_string[: 2 * MAX_QUERY_LENGTH].decode("latin-1").split("&"):
        size += len(pair) + 1
        if size > MAX_QUERY_LENGTH:
            break
        if pair and not _is_secret(pair):
            kept.append(pair)
    return "&".join(kept)


def path_without_credentials(path: str) -> str:
    """A path without key, for logs and errors: cron pings may have their key in it."""
    return _MINTED.sub("[key]", path)


def path_credential(key: str) -> Credential:
    """The key in a path such as /cron/{slug}/{key}/. Raises BadCredential."""
    return Credential(_key(key, "the path"), "path")


def dsn_credential(text: str, source: Source = "envelope-dsn") -> Credential:
    """The key of a DSN, by default of the one in an envelope header. Raises BadCredential."""
    return Credential(parse_dsn(text).key, source)


def parse_dsn(text: str) -> Dsn:
    """Parses `https://key[:secret]@host[/prefix]/channel`; the secret is ignored. Raises BadCredential."""
    match = _DSN.fullmatch(text.strip())
    if match is None:
        raise BadCredential("expected a DSN like https://key@host/channel, found something else; copy it whole")
    *_prefix, channel = [part for part in (match["path"] or "").split("/") if part] or [""]
    if not _CHANNEL.fullmatch(channel) or not 1 <= int(channel) <= MAX_CHANNEL_ID:
        raise BadCredential(
            f"expected a channel number of 1 to {MAX_CHANNEL_ID} at the end of the DSN, found none; copy it whole"
        )
    return Dsn(
        key=_key(match["user"].partition(":")[0], "the DSN"),
        host=match["host"].lower(),
        channel=int(channel),
    )


def _header(headers: Headers, name: str) -> str:
    """The header's value, '' if missing; names may be bytes or text."""
    raw = cast(Mapping[bytes, bytes], headers).get(name.encode())
    if raw is not None:
        return raw.decode("latin-1")
    return cast(Mapping[str, str], headers).get(name, "")


def _short(text: str, where: str) -> str:
    if len(text) > MAX_CREDENTIAL_LENGTH:
        raise BadCredential(f"expected at most {MAX_CREDENTIAL_LENGTH} characters in {where}, found {len(text)}")
    return text


def _scheme(value: str) -> tuple[str, str]:
    """The first word in lower case, and the rest."""
    scheme, _, rest = value.strip().partition(" ")
    return scheme.lower(), rest.strip()


def _comma_pairs(text: str) -> Iterable[tuple[str, str]]:
    """Parses `a=1, b=2=3, c` to ("a", "1"), ("b", "2"): a value ends at a second `=`; a word without one is skipped.

    A scheme before a name comes from a header that was sent twice: `Sentry a=1, Sentry a=2`.
    """
    for pair in text.split(","):
        name, *values = pair.split("=")
        if values:
            yield name.strip().rpartition(" ")[2], values[0].strip()


def _query_pairs(query_string: bytes) -> Iterable[tuple[str, str]]:
    """The decoded parameters that describe a key. Raises BadCredential; BadRequest for too many parameters."""
    if query_string.count(b"&") >= MAX_PARAMETERS:
        raise BadRequest(f"expected at most {MAX_PARAMETERS} parameters in the query string, found more; send fewer")
    for pair in query_string.decode("latin-1").split("&"):
        name, _, value = pair.partition("=")
        if len(name) > _MAX_ENCODED_NAME:
            continue
        name = _form_decoded(name)
        if name in _CREDENTIAL_NAMES:
            if len(value) > MAX_CREDENTIAL_LENGTH:
                raise BadCredential(f"expected at most {MAX_CREDENTIAL_LENGTH} characters as {name}, found more")
            yield name, _form_decoded(value)


def _form_decoded(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text


def _is_secret(pair: str) -> bool:
    """Whether a parameter's name means a credential, or its value contains a key, however encoded."""
    if _form_decoded(pair.partition("=")[0]).strip().lower() in _SECRET_NAMES:
        return True
    for _ in range(_MAX_DECODINGS):
        if _MINTED.search(pair):
            return True
        decoded = _form_decoded(pair)
        if decoded == pair:
            return False
        pair = decoded
    return True


def _from_pairs(pairs: Iterable[tuple[str, str]], source: Source, where: str) -> Credential:
    """The credential of pairs; names other than key, version and client are ignored."""
    known: dict[str, str] = {}
    for name, value in pairs:
        if name == "sentry_key" and known.get(name, value) != value:
            raise BadCredential(f"expected one sentry_key in {where}, found two that differ; send the key once")
        known[name] = value
    key = _key(known.get("sentry_key", ""), where)
    version = known.get("sentry_version")
    if version is not None:
        _check_version(version, where)
    return Credential(key, source, version, _printable(known.get("sentry_client", "")) or None)


def _check_version(text: str, where: str) -> None:
    match = _VERSION.fullmatch(text)
    if match is None:
        raise BadCredential(f"expected a number as sentry_version in {where}, found none; send sentry_version=7")
    if int(match[1]) > MAX_SENTRY_VERSION:
        raise BadRequest(
            f"expected a sentry_version of at most {MAX_SENTRY_VERSION} in {where}, found {int(match[1])}; send 7"
        )


# A sender of native events or OpenTelemetry has no DSN.
_WHERE_TO_COPY: Final = (
    "copy it from the output of `axonpush up` or `axonpush keys mint`; a Sentry DSN has it before the @"
)


def _key(text: str, where: str) -> str:
    if _KEY.fullmatch(text):
        return text
    actual = f"{len(text)} characters, not all of them of that kind" if text else "none"
    raise BadCredential(
        f"expected a key of 1 to 128 letters, digits and underscores in {where}, found {actual}; {_WHERE_TO_COPY}"
    )


def _basic_user(text: str) -> str:
    try:
        user, colon, _ = b64decode(text.strip(), validate=True).decode("latin-1").partition(":")
    except (binascii.Error, ValueError):
        user, colon = "", ""
    if not colon:
        raise BadCredential("expected base64 of key: in Authorization: Basic, found something else; mind the colon")
    return user


def _printable(text: str) -> str:
    """Makes text safe for a header: a form-decoded value may contain line breaks."""
    return _UNPRINTABLE.sub("?", text).strip()[:MAX_CLIENT_LENGTH]
