"""Keys are found where senders put them, and nothing a sender writes does more than be refused."""

from __future__ import annotations

import contextlib
import re
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import unquote_plus, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import credentials
from schemas.credentials import BadCredential, BadRequest, Credential, Dsn
from schemas.headers import MAX_QUERY_LENGTH

KEY = "pt_4f1Secret"
OTHER = "ak_9aOther"
keys = st.from_regex(r"[A-Za-z0-9_]{1,128}", fullmatch=True)


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


def found(headers: dict[str, str], query: bytes = b"") -> Credential | None:
    """The credential, the same for header names as text and as bytes."""
    credential = credentials.sentry_credential(headers, query)
    raw = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    assert credentials.sentry_credential(raw, query) == credential
    return credential


# --- where keys are


@pytest.mark.parametrize(
    ("headers", "query", "source"),
    [
        ({"x-sentry-auth": f"Sentry sentry_key={KEY}, sentry_version=7"}, b"", "x-sentry-auth"),
        ({"x-sentry-auth": f"sEnTRY  sentry_version=7.0,sentry_key= {KEY} "}, b"", "x-sentry-auth"),
        ({"x-sentry-auth": f"Sentry sentry_key={KEY}=rest,,nothing,x=1, sentry_secret=s"}, b"", "x-sentry-auth"),
        ({"authorization": f"Sentry sentry_key={KEY}"}, b"", "authorization"),
        ({"authorization": f"DSN https://{KEY}@host/1"}, b"", "authorization"),
        ({"authorization": f"dsn  http://{KEY}:old_secret@host:80/path/1/ "}, b"", "authorization"),
        ({"authorization": basic(f"{KEY}:")}, b"", "authorization"),
        ({"authorization": basic(f"{KEY}:ignored:too").replace("Basic", "bAsIc ")}, b"", "authorization"),
        ({}, f"sentry_version=7&sentry_key={KEY}&sentry_client=a%2F1".encode(), "query"),
        ({}, f"sentry%5Fkey={KEY.replace('_', '%5F')}".encode(), "query"),
        ({"x-sentry-auth": "Bearer x", "authorization": "Bearer y"}, f"sentry_key={KEY}".encode(), "query"),
        ({"x-sentry-auth": "", "authorization": ""}, f"sentry_key={KEY}".encode(), "query"),
        ({"x-sentry-auth": "Sentry", "authorization": "Sentry "}, f"sentry_key={KEY}".encode(), "query"),
        ({"x-sentry-auth": f"Sentry sentry_key={KEY}", "authorization": f"DSN https://{KEY}@h/1"},
         f"sentry_key={KEY}".encode(), "x-sentry-auth"),
        ({"authorization": f"DSN https://{KEY}@h/1"}, f"sentry_key={KEY}".encode(), "authorization"),
        ({"x-sentry-auth": f"Sentry sentry_key={KEY}"}, b"sentry_environment=x&sentry_version=99", "x-sentry-auth"),
    ],
)  # fmt: skip
def test_the_key_is_found_where_sdks_put_it(headers: dict[str, str], query: bytes, source: str) -> None:
    """Each place, each spelling, and the first of several that agree."""
    credential = found(headers, query)
    assert credential is not None
    assert (credential.key, credential.source) == (KEY, source)


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, b""),
        ({"authorization": f"Bearer {KEY}"}, b""),
        ({"x-sentry-auth": f"sentry_key={KEY}"}, b""),
        ({"x-sentry-auth": f"Sentry2 sentry_key={KEY}"}, b""),
        ({}, b"sentry_environment=production&sentry_release=1&sentry_version=7&key=x"),
        ({"x-api-key": KEY}, b""),
    ],
)
def test_other_headers_and_query_names_are_no_credential(headers: dict[str, str], query: bytes) -> None:
    """What is not a Sentry credential is ignored, not refused; a name that only begins like one is none."""
    assert found(headers, query) is None


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"x-sentry-auth": "Sentry sentry_version=7"}, b""),
        ({"x-sentry-auth": "Sentry sentry_key="}, b""),
        ({"x-sentry-auth": "Sentry sentry_key=a-b"}, b""),
        ({"x-sentry-auth": f"Sentry sentry_key={'a' * 129}"}, b""),
        ({"x-sentry-auth": f"Sentry sentry_key={KEY}, sentry_version=seven"}, b""),
        ({"x-sentry-auth": f"Sentry sentry_key={KEY}, sentry_version="}, b""),
        ({"x-sentry-auth": f"Sentry sentry_key={KEY}, sentry_key={OTHER}"}, b""),
        ({"authorization": "DSN"}, b""),
        ({"authorization": f"DSN {KEY}"}, b""),
        ({"authorization": "Basic"}, b""),
        ({"authorization": "Basic !!!"}, b""),
        ({"authorization": basic(KEY)}, b""),
        ({"authorization": basic(":secret")}, b""),
        ({"authorization": basic("me@example.org:password")}, b""),
        ({}, b"sentry_key="),
        ({}, b"sentry_key=a%00b"),
        ({}, f"sentry_key={KEY}&sentry_key={OTHER}".encode()),
        ({}, "sentry_key=k\u0663y".encode()),
        ({"x-sentry-auth": f"Sentry sentry_key={KEY}"}, f"sentry_key={OTHER}".encode()),
        ({"authorization": f"DSN https://{OTHER}@h/1", "x-sentry-auth": f"Sentry sentry_key={KEY}"}, b""),
    ],
)
def test_unusable_credentials_are_refused_without_being_quoted(headers: dict[str, str], query: bytes) -> None:
    """Missing, malformed and contradicting keys are 401s; the text shows no key."""
    with pytest.raises(BadCredential, match="expected") as caught:
        found(headers, query)
    text = str(caught.value)
    assert not any(secret in text for secret in (KEY, OTHER, "password", "example.org", "a-b"))
    assert text.isascii()


@pytest.mark.parametrize("version", ["8", "8.0", "99999999999", "0008"])
def test_a_newer_protocol_is_a_bad_request(version: str) -> None:
    """A version above 7 is refused as a request, not as a credential."""
    with pytest.raises(BadRequest, match="at most 7"):
        found({"x-sentry-auth": f"Sentry sentry_key={KEY},sentry_version={version}"})
    with pytest.raises(BadRequest):
        found({}, f"sentry_key={KEY}&sentry_version={version}".encode())


@pytest.mark.parametrize("version", ["7", "7.0", "2.0-beta", "007", "4"])
def test_older_protocols_are_read_by_their_whole_number(version: str) -> None:
    """The text is kept as sent."""
    credential = found({"x-sentry-auth": f"Sentry sentry_key={KEY},sentry_version={version}"})
    assert credential == Credential(KEY, "x-sentry-auth", version, None)


def test_the_client_is_kept_as_printable_text() -> None:
    """A form-decoded client may hold line ends; it goes into message headers."""
    credential = found({}, f"sentry_key={KEY}&sentry_client=a%0d%0aEvil:+1%C3%A4{'x' * 500}".encode())
    assert credential is not None
    assert credential.client is not None
    assert credential.client.startswith("a??Evil: 1?x")
    assert len(credential.client) == credentials.MAX_CLIENT_LENGTH


def test_what_one_source_lacks_another_gives() -> None:
    """The first source names the key, any of them the client and version."""
    credential = found({"authorization": f"DSN https://{KEY}@h/1"}, f"sentry_key={KEY}&sentry_client=js".encode())
    assert credential == Credential(KEY, "authorization", None, "js")


def test_the_envelope_and_the_path_join_by_the_same_rule() -> None:
    """A tunnel's DSN or a path key counts like any other source; different keys are refused."""
    header = Credential(KEY, "x-sentry-auth", "7", "c")
    assert credentials.combine([]) is None
    assert credentials.combine([credentials.path_credential(KEY)]) == Credential(KEY, "path")
    assert credentials.combine([header, credentials.dsn_credential(f"https://{KEY}@h/1")]) == header
    with pytest.raises(BadCredential, match="x-sentry-auth and envelope-dsn"):
        credentials.combine([header, credentials.dsn_credential(f"https://{OTHER}@h/1")])
    with pytest.raises(BadCredential):
        credentials.path_credential("a b")


def test_the_api_key_header_is_read() -> None:
    """X-API-Key is the key itself."""
    assert credentials.api_key_credential({"x-api-key": f" {KEY} "}) == Credential(KEY, "x-api-key")
    assert credentials.api_key_credential({b"x-api-key": KEY.encode()}) == Credential(KEY, "x-api-key")
    assert credentials.api_key_credential({"x-api-key": ""}) is None
    assert credentials.api_key_credential({}) is None
    with pytest.raises(BadCredential):
        credentials.api_key_credential({"x-api-key": "a b"})


def test_keys_do_not_show_in_representations() -> None:
    """A credential or DSN that lands in a log shows no key."""
    assert KEY not in repr(credentials.path_credential(KEY))
    assert KEY not in repr(credentials.parse_dsn(f"https://{KEY}@h/1"))


# --- DSNs


@pytest.mark.parametrize(
    ("text", "host", "channel"),
    [
        ("https://{}@ingest.example.org/42", "ingest.example.org", 42),
        ("HTTP://{}@Localhost:8080/1", "localhost:8080", 1),
        (" https://{}:secret@h/1\n", "h", 1),
        ("https://{}:s@cr:et@h/1", "h", 1),
        ("https://{}@h/a/b/7", "h", 7),
        ("https://{}@h//a//7/", "h", 7),
        ("https://{}@h/7?x=/8#y", "h", 7),
        ("https://{}@[::1]:80/7", "[::1]:80", 7),
        ("https://{}@h/9223372036854775807", "h", 2**63 - 1),
        ("https://{}@h/007", "h", 7),
    ],
)
def test_a_dsn_is_taken_apart(text: str, host: str, channel: int) -> None:
    """Key, host with port, channel; path prefix, secret, query and fragment do not matter."""
    assert credentials.parse_dsn(text.format(KEY)) == Dsn(KEY, host, channel)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "https://h/1", "https://@h/1", "https://:{}@h/1", "ftp://{}@h/1", "https://{}@/1", "https://{}@h", "https://{}@h/",
     "https://{}@h/x", "https://{}@h/0", "https://{}@h/-1", "https://{}@h/1.0", "https://{}@h/9223372036854775808",
     "https://{}@h/\u0661", "https://{}-x@h/1", "https://{}@h h/1", "https://{}@h/" + "9" * 5000, "https://{}@h/1/x"],
)  # fmt: skip
def test_anything_else_is_no_dsn(text: str) -> None:
    """The error tells the form of a DSN and not the key."""
    with pytest.raises(BadCredential, match="DSN") as caught:
        credentials.parse_dsn(text.format(KEY))
    assert KEY not in str(caught.value)


@given(keys, st.integers(1, 2**63 - 1), st.lists(st.from_regex(r"[a-z0-9]{1,5}", fullmatch=True), max_size=3))
def test_any_key_and_channel_make_a_dsn(key: str, channel: int, prefix: list[str]) -> None:
    """Whatever we mint is read back."""
    path = "".join(f"/{part}" for part in prefix)
    assert credentials.parse_dsn(f"https://{key}@h{path}/{channel}") == Dsn(key, "h", channel)


# --- text from anywhere


def check_words(error: ValueError) -> None:
    assert str(error).isascii()
    assert str(error).isprintable()


def survive(read: Callable[[], Credential | Dsn | None]) -> None:
    """Found, not there, or refused."""
    try:
        credential = read()
    except (BadCredential, BadRequest) as error:
        check_words(error)
        return
    assert credential is None or re.fullmatch("[A-Za-z0-9_]{1,128}", credential.key)


likely = st.lists(
    st.sampled_from(
        ["Sentry ", "sentry ", "DSN ", "Basic ", "Bearer ", "sentry_key", "sentry_version", "=", ",", "&", ":", "@",
         "/", "//", "https://", "k", "8", "7.", "%00", "%", "+", " ", "\t", "[", "]", "?", "#", "Og==", "\xff",
         "9" * 5000]
    ),
    max_size=12,
).map("".join)  # fmt: skip
latin = st.text(st.characters(max_codepoint=255))


@given(likely | latin, likely | latin, st.binary() | likely.map(lambda text: text.encode()))
@example("Sentry sentry_key=a,sentry_version=" + "9" * 5000, "", b"")
def test_any_headers_and_query_are_found_or_refused(auth: str, other: str, query: bytes) -> None:
    """No header or query text raises anything else."""
    headers = {b"x-sentry-auth": auth.encode("latin-1"), b"authorization": other.encode("latin-1")}
    survive(lambda: credentials.sentry_credential(headers, query))
    survive(lambda: credentials.sentry_credential({"x-sentry-auth": other, "authorization": auth}, query))
    survive(lambda: credentials.api_key_credential({"x-api-key": auth}))


@given(likely | st.text())
def test_any_text_is_a_dsn_or_refused(text: str) -> None:
    """No DSN, path or header text raises anything else, not even text that could never be a header."""
    for prefix in ("", "https://", "https://k@", "https://k@h/"):
        survive(lambda prefix=prefix: credentials.parse_dsn(prefix + text))  # type: ignore[misc]
    survive(lambda: credentials.path_credential(text))
    survive(lambda: credentials.x_sentry_auth("Sentry " + text))
    for scheme in ("", "DSN ", "Basic ", "Sentry "):
        survive(lambda scheme=scheme: credentials.authorization(scheme + text))  # type: ignore[misc]


# --- queries that travel on


MINTED = "pt_0123456789abcdefABCDEF0123456789"


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        (b"", ""),
        (b"status=ok&sentry_key=x&duration=1.5", "status=ok&duration=1.5"),
        (b"sentry_key=pt_a&sentry_secret=b", ""),
        (b"a=%20%2B+c&b&=c&&d=%C3%A9", "a=%20%2B+c&b&=c&d=%C3%A9"),
        (b"SENTRY%5FKEY=short&sentry_environment=pt_production", "sentry_environment=pt_production"),
        (f"dsn=https%3A%2F%2F{MINTED}%40h%2F1&a=1".encode(), "a=1"),
        (f"url=https%253A%252F%252F{MINTED.replace('_', '%255F')}%2540h&a=1".encode(), "a=1"),
        (f"{MINTED}&a=1".encode(), "a=1"),
        (f"next={MINTED.replace('pt_', 'ak_')}".encode(), ""),
    ],
)
def test_a_query_travels_on_as_it_came_but_without_its_key(query: bytes, kept: str) -> None:
    """Names and values keep their encoding; a key goes by its parameter's name or by its own looks."""
    assert credentials.query_without_credentials(query) == kept


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=12)), max_size=6), st.integers(0, 6))
def test_no_key_survives_in_a_query(pairs: list[tuple[str, str]], place: int) -> None:
    """Wherever the credential stands among whatever else, it is gone and the others are there in their order."""
    others = [urlencode([pair]) for pair in pairs if not pair[0].lower().startswith("sentry_")]
    expected = [one for one in others if one]
    query = "&".join([*expected[:place], f"sentry_key={MINTED}", f"next={MINTED}", *expected[place:]])
    assert credentials.query_without_credentials(query.encode()) == "&".join(expected)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_query(query: bytes) -> None:
    """Nothing raises, and doing it twice changes nothing."""
    once = credentials.query_without_credentials(query)
    assert credentials.query_without_credentials(once.encode("latin-1")) == once


def test_a_key_in_a_path_is_not_repeated() -> None:
    """Errors and logs name the path without it."""
    assert credentials.path_without_credentials(f"/api/1/cron/a/{MINTED}/x/{MINTED}") == "/api/1/cron/a/[key]/x/[key]"
    assert credentials.path_without_credentials("/api/1/pt_status") == "/api/1/pt_status"


@pytest.mark.parametrize(
    "query", [b"%2525&" * 9_500, b"a%2525=%252525&" * 3_800, b"%25" * 19_000, b"a=" + b"%25" * 19_000, b"&" * 57_000]
)
def test_a_long_query_costs_little_before_a_key_is_known(monkeypatch: pytest.MonkeyPatch, query: bytes) -> None:
    """What is no parameter of ours is not decoded, and of what travels on only as much as goes on."""
    decoded: list[int] = []

    def counting(text: str) -> str:
        decoded.append(len(text))
        return unquote_plus(text)

    monkeypatch.setattr(credentials, "unquote_plus", counting)
    with contextlib.suppress(credentials.BadRequest):
        credentials.query_credential(query + b"&sentry_key=" + KEY.encode())
    assert sum(decoded) <= 42 * credentials.MAX_PARAMETERS
    decoded.clear()
    kept = credentials.query_without_credentials(query)
    assert len(kept) <= MAX_QUERY_LENGTH
    assert sum(decoded) <= 8 * MAX_QUERY_LENGTH


def test_more_parameters_than_anybody_has_are_refused() -> None:
    """400, not a key that is looked for among 28,000 names."""
    with pytest.raises(credentials.BadRequest, match="at most 500 parameters"):
        credentials.query_credential(b"a=1&" * 500 + b"sentry_key=" + KEY.encode())


def test_a_name_may_be_encoded_whole() -> None:
    """Also where each of its characters is."""
    name = "".join(f"%{ord(char):02x}" for char in "sentry_key").encode()
    found = credentials.query_credential(name + b"=" + KEY.encode())
    assert found is not None
    assert found.key == KEY


@pytest.mark.parametrize("header", ["x-sentry-auth", "authorization"])
def test_a_long_header_is_refused_unread(header: str) -> None:
    """No SDK sends more than some hundred characters."""
    with pytest.raises(credentials.BadCredential, match="at most 4096 characters"):
        credentials.sentry_credential({header: "Sentry " + "a=1," * 15_000 + f"sentry_key={KEY}"}, b"")
