"""Break-ins into a whole running system: a key sent wherever one may stand, names that are SQL, channels of others."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import nats
import pytest
from nats.aio.msg import Msg

from schemas.registry import key_hash
from tests.conftest import MakeSystem
from tests.polling import DEADLINE_S, eventually
from tests.system import System
from tests.traffic import settled
from tests.unit import minidump_writer
from workers.normalise.sentry.check_in import slugified

pytestmark = pytest.mark.live

CHANNEL = 7_000_001
TRACE = "5b8efff798038103d269b633813fc60c"


class Listener:
    """Everything that goes over the broker while it listens, of every subject."""

    def __init__(self, url: str) -> None:
        self.heard: list[Msg] = []
        self._url = url
        self._ready, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Listener:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        client = await nats.connect(self._url)

        async def on_message(message: Msg) -> None:
            self.heard.append(message)

        await client.subscribe(">", cb=on_message)
        await client.flush()
        self._ready.set()
        await asyncio.to_thread(self._stop.wait)
        await client.drain()


class Door:
    """Requests to one channel; keeps what was answered, head and body."""

    def __init__(self, system: System, key: str) -> None:
        self.url = str(system.ready["url"])
        self.key = key
        self.answers: list[str] = []

    def send(self, path: str, body: bytes | None = None, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, body, named)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return self._noted(answer.status, answer)
        except urllib.error.HTTPError as error:
            with error:
                return self._noted(error.code, error)

    def _noted(self, status: int, answer: Any) -> int:
        self.answers.append(f"{answer.headers}{answer.read().decode('latin-1')}")
        return status


@pytest.fixture(scope="module")
def channel(system: System) -> int:
    system.cli("channels", "create", "--id", str(CHANNEL))
    return CHANNEL


def forms_of(key: str) -> Iterator[bytes]:
    """How a key may look in a row, a message or a log."""
    yield key.encode()
    yield base64.b64encode(f"{key}:".encode())
    yield key.encode("utf-16-le")
    # In the base64 of a file: whatever stands before it, two of three places of its letters are the same.
    for before in range(3):
        yield base64.b64encode(b"x" * before + key.encode())[4 * (before > 0) : -4]


def event_with(key: str, trace: str = TRACE) -> dict[str, Any]:
    """An event that has the key wherever SDKs put what they find in a process, a request or a page."""
    basic = base64.b64encode(f"{key}:".encode()).decode()
    dsn = f"https://{key}@errors.example/1"
    return {
        "event_id": uuid.uuid4().hex,
        "message": f"cannot send to {dsn}",
        "exception": {
            "values": [{"type": "SendError", "value": dsn, "stacktrace": {"frames": [{"vars": {"dsn": dsn}}]}}]
        },
        "tags": {"dsn": dsn, key: "as a name"},
        "user": {"id": key, "email": f"{key}@example.com"},
        "extra": {"settings": {"SENTRY_DSN": dsn}, key: 1},
        "contexts": {"trace": {"trace_id": trace, "span_id": "a" * 16}, "config": {"dsn": dsn}},
        "breadcrumbs": {
            "values": [{"category": "http", "data": {"url": f"https://h/api/1/envelope/?sentry_key={key}"}}]
        },
        "request": {
            "url": f"https://h/api/1/store/?sentry_key={key}&sentry_version=7",
            "query_string": f"sentry_key={key}",
            "headers": {"Authorization": f"Basic {basic}", "X-Sentry-Auth": f"Sentry sentry_key={key}", "Referer": dsn},
            "cookies": f"key={key}",
            "env": {"SENTRY_DSN": dsn},
        },
        "transaction": f"/{key}/",
        "release": key,
        "environment": key,
        "server_name": key,
        "fingerprint": [key],
    }


def envelope(event: dict[str, Any], *more: tuple[dict[str, Any], bytes], **header: Any) -> bytes:
    items = [({"type": "event"}, json.dumps(event).encode()), *more]
    lines = [json.dumps({"event_id": event["event_id"], **header}).encode()]
    for told, payload in items:
        lines += [json.dumps({**told, "length": len(payload)}).encode(), payload]
    return b"\n".join(lines) + b"\n"


def send_everywhere(steps: Door, channel: int) -> dict[str, int]:
    """One request for each place a key may stand in, right or wrong; the answers' statuses by a word for the place."""
    return {**send_sentry(steps, channel), **send_others(steps, channel), **send_wrongly(steps, channel)}


def send_sentry(steps: Door, channel: int) -> dict[str, int]:
    """Every way to authenticate, each body full of the key as well."""
    key, api, query = steps.key, f"/api/{channel}", f"?sentry_key={steps.key}"
    basic = base64.b64encode(f"{key}:".encode()).decode()
    text = json.dumps(event_with(key))
    log_file = b"\x00dsn " + key.encode() + b"\xff" + key.encode("utf-16-le")
    job = json.dumps({"check_in_id": uuid.uuid4().hex, "monitor_slug": key, "status": "ok"}).encode()
    items = (
        ({"type": "attachment", "filename": f"{key}.log"}, log_file),
        ({"type": "check_in"}, job),
        ({"type": key}, b"{}"),
    )
    auth = {"X_Sentry_Auth": f"Sentry sentry_key={key}, sentry_client={key}/1"}
    dsn = f"https://{key}@h/{channel}"
    packed = gzip.compress(text.encode())
    return {
        "header": steps.send(f"{api}/envelope/", envelope(event_with(key), *items), **auth),
        "authorization": steps.send(f"{api}/envelope/", envelope(event_with(key)), Authorization=f"DSN {dsn}"),
        "basic": steps.send(f"{api}/store/", packed, Authorization=f"Basic {basic}", Content_Encoding="gzip"),
        "query": steps.send(f"{api}/store/{query}", text.encode() + b" ", User_Agent=key, Referer=key),
        "dsn": steps.send(f"{api}/envelope/", envelope(event_with(key), dsn=dsn)),
        "pixel": steps.send(f"{api}/store/{query}&sentry_data={urllib.parse.quote(text)}"),
        "prefix": steps.send(f"/{key}{api}/envelope/{query}", envelope(event_with(key))),
        "path": steps.send(f"{api}/cron/nightly/{key}/?status=ok"),
        "slug": steps.send(f"{api}/cron/{key}/{query}&status=ok&note={key}"),
    }


def send_others(steps: Door, channel: int) -> dict[str, int]:
    """Security reports, crashes, OTLP, native events."""
    key, api, query = steps.key, f"/api/{channel}", f"?sentry_key={steps.key}"
    csp = {"document-uri": f"https://h/?sentry_key={key}", "blocked-uri": key, "violated-directive": "x"}
    report = json.dumps({"csp-report": csp}).encode()
    kind, crash = form({"sentry": json.dumps(event_with(key)), key: key}, minidump_writer.write() + key.encode())
    attributes = [{"key": key, "value": {"stringValue": f"https://h/?sentry_key={key}"}}]
    times = {"startTimeUnixNano": str(time.time_ns()), "endTimeUnixNano": str(time.time_ns())}
    span = {"traceId": TRACE, "spanId": "b" * 16, "name": key, "attributes": attributes, **times}
    spans = {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": [span]}]}]}
    event = {"identifier": key, "payload": {"dsn": key}, "channel_id": channel, "metadata": {"dsn": key}, "sync": True}
    told = {"X_API_Key": key, "X_Axonpush_Channel": str(channel), "Content_Type": "application/json"}
    report_type = "application/csp-report"
    return {
        "csp": steps.send(f"{api}/security/{query}&sentry_release={key}", report, Content_Type=report_type),
        "minidump": steps.send(f"{api}/minidump/{query}", crash, Content_Type=kind),
        "spans": steps.send("/v1/traces", json.dumps(spans).encode(), **told),
        "native": steps.send("/event", json.dumps(event).encode(), **told, Idempotency_Key=key),
    }


def send_wrongly(steps: Door, channel: int) -> dict[str, int]:
    """Where no key belongs, and in bodies that nobody can read: all of it is refused."""
    key, url = steps.key, f"/api/{channel}/envelope/"
    auth = {"X_Sentry_Auth": f"Sentry sentry_key={key}"}
    otlp = {"X_API_Key": key, "X_Axonpush_Channel": str(channel), "Content_Type": "application/json"}
    broken = b'{"dsn":"https://%s@h/1"}\n{"type":"event","length":99}\n{' % key.encode()
    return {
        "wrong: broken": steps.send(url, broken, **auth),
        "wrong: broken otlp": steps.send("/v1/logs", b'{"%s"' % key.encode(), **otlp),
        "wrong: environment": steps.send("/v1/logs", b"{}", **otlp, X_Axonpush_Environment=key),
        "wrong: channel": steps.send(f"/api/{key}/envelope/", b"{}", **auth),
        "wrong: channel header": steps.send("/v1/logs", b"{}", **{**otlp, "X_Axonpush_Channel": key}),
        "wrong: path": steps.send(f"/{key}/", b"{}"),
        "wrong: type": steps.send("/v1/logs", b"{}", **{**otlp, "Content_Type": key}),
        "wrong: coding": steps.send(url, b"{}", **auth, Content_Encoding=key),
        "wrong: another key": steps.send(f"{url}?sentry_key={key}x", b"{}", **auth),
    }


def form(fields: dict[str, str], dump: bytes) -> tuple[str, bytes]:
    """(Content-Type, body) of a crash upload."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="upload_file_minidump"; filename="a.dmp"\r\n\r\n'
    body = "".join(parts).encode() + head.encode() + dump + f"\r\n--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", body


def tables_with(system: System, needle: bytes) -> list[str]:
    """Tables with a row in which any column holds these bytes."""
    tables = system.query("SELECT name FROM system.tables WHERE database = 'axonpush' AND engine LIKE '%MergeTree'")
    found = "SELECT count() AS found FROM `{}` WHERE position(formatRow('RowBinary', *), unhex({{hex:String}})) > 0"
    names = [one["name"] for one in tables]
    return [name for name in names if system.query(found.format(name), hex=needle.hex())[0]["found"]]


def test_a_key_is_in_no_log_message_table_or_answer(make_system: MakeSystem) -> None:
    """Sent wherever a key may stand, right or wrong, and inside events: only RAW has it, in bodies as they came.

    Items go through the broker here, where they can be looked at.
    """
    system = make_system(AXONPUSH_COUNTS_WAIT_SENTRY_MS="5000", AXONPUSH_WORKER_HANDOVER="false").start()
    channel = 7
    system.cli("channels", "create", "--id", str(channel))
    key = system.mint("--channel", str(channel), "--allow-environment-override")
    steps = Door(system, key)
    with Listener(str(system.ready["nats_url"])) as listener:
        statuses = send_everywhere(steps, channel)
        rows = "SELECT item_type FROM events WHERE key_id = {id:String}"
        system.rows(rows, 15, 90, id=key_hash(key)[:16])
        dead = "SELECT reason FROM dead_letters WHERE key_id = {id:String}"
        system.rows(dead, 2, 60, id=key_hash(key)[:16])
        settled(system)
    assert {place for place, status in statuses.items() if status not in (200, 201)} == {
        place for place in statuses if place.startswith("wrong")
    }
    for form_of_key in forms_of(key):
        needle = form_of_key.decode("latin-1")
        assert not [answer for answer in steps.answers if needle in answer]
        assert not tables_with(system, form_of_key)
        for message in listener.heard:
            told = f"{message.subject} {message.headers}"
            assert needle not in told, message.subject
            is_body = message.subject.startswith("raw.") or (message.headers or {}).get("Origin-Stream") == "RAW"
            assert is_body or form_of_key not in message.data, message.subject
        for log in (*Path(system.data_dir / "logs").iterdir(), system.output):
            assert form_of_key not in log.read_bytes(), log.name
    assert {message.subject.split(".")[0] for message in listener.heard} >= {"raw", "item", "refused", "_INBOX"}


NAMES = (
    "'; DROP TABLE event_rows; --",
    '"`; SELECT 1 FORMAT Null',
    "\\'\\\\' OR 1=1",
    "{a:String} {channel:UInt64} %s %(x)s ${x}",
    "x') SETTINGS readonly=0 /*",
    "a\tb\nc\\N\\t",
    "\u202edrow\u2028\U0001f4a9",
    "\x00\x01\x1b[31mred",
    "]]>&lt;script&gt;<script>alert(1)</script>",
)


def test_names_that_are_sql_come_back_equal(system: System, channel: int) -> None:
    """Attributes, messages, slugs, users: texts all the way, whatever they say; and the tables are still there."""
    key, trace = system.mint("--channel", str(channel)), uuid.uuid4().hex
    steps = Door(system, key)
    attributes = [{"key": name, "value": {"stringValue": name}} for name in NAMES]
    log = {
        "timeUnixNano": str(time.time_ns()),
        "traceId": trace,
        "body": {"stringValue": NAMES[0]},
        "attributes": attributes,
    }
    logs = {
        "resourceLogs": [
            {"resource": {"attributes": attributes}, "scopeLogs": [{"scope": {"name": NAMES[1]}, "logRecords": [log]}]}
        ]
    }
    otlp = {"X_API_Key": key, "X_Axonpush_Channel": str(channel), "Content_Type": "application/json"}
    assert steps.send("/v1/logs", json.dumps(logs).encode(), **otlp) == 200
    event = {
        "event_id": uuid.uuid4().hex,
        "message": NAMES[0],
        "contexts": {"trace": {"trace_id": trace, "span_id": "a" * 16}},
        "extra": {name: name for name in NAMES},
        "user": {"id": NAMES[1]},
        "release": NAMES[1].replace("/", ""),
        "environment": NAMES[1],
    }
    job = {"check_in_id": trace, "monitor_slug": NAMES[2], "status": "ok", "contexts": {"trace": {"trace_id": trace}}}
    body = envelope(event, ({"type": "check_in"}, json.dumps(job).encode()))
    assert steps.send(f"/api/{channel}/envelope/?sentry_key={key}", body) == 200
    asked = "SELECT item_type, name, body, user_id, attributes, resource FROM events WHERE trace_id = {trace:String}"
    rows = {row["item_type"]: row for row in system.rows(asked, 3, 60, trace=trace)}
    assert {name: rows["otlp_log"]["attributes"].get(name) for name in NAMES} == {name: name for name in NAMES}
    assert {name: rows["otlp_log"]["resource"].get(name) for name in NAMES} == {name: name for name in NAMES}
    assert (rows["event"]["body"], rows["event"]["user_id"]) == (NAMES[0], NAMES[1])
    assert {name: rows["event"]["attributes"].get(f"extra.{name}") for name in NAMES} == {name: name for name in NAMES}
    assert rows["check_in"]["name"] == slugified(NAMES[2])


def test_a_parameter_of_a_query_is_a_value(system: System) -> None:
    """`param_*` over HTTP is bound by the engine, and what `axonpush sql` prints cannot steer a terminal."""
    for name in NAMES:
        escaped = name.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
        (row,) = system.query(
            "SELECT {name:String} AS name, count() AS rows FROM events WHERE name = {name:String}", name=escaped
        )
        assert row["name"] == name
    shown = system.cli("sql", "SELECT '\x1b[31mred\x07' AS text").stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "red" in shown


def test_a_revoked_key_is_refused_within_a_second(system: System, channel: int) -> None:
    """Through the command line, on a receiver that has just taken it."""
    key = system.mint("--channel", str(channel))
    steps = Door(system, key)

    def status() -> int:
        return steps.send(f"/api/{channel}/envelope/?sentry_key={key}", envelope({"event_id": uuid.uuid4().hex}))

    eventually(lambda: status() == 200, "the new key to be taken")
    system.cli("keys", "revoke", key)
    eventually(lambda: status() == 401, "the revoked key to be refused", 1.0)


def test_the_engine_listens_on_this_machine_alone(system: System) -> None:
    """Broker, ClickHouse and receiver of `up` are bound to loopback."""
    addresses = {str(system.ready[name]) for name in ("url", "clickhouse_url", "nats_url")}
    ports = {f"{urllib.parse.urlsplit(address).port:04X}" for address in addresses}
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    listening = {line[1] for line in lines if line[3] == "0A" and line[1].rpartition(":")[2] in ports}
    assert {one.rpartition(":")[0] for one in listening} == {"0100007F"}
    assert len(listening) == 3


@pytest.mark.parametrize(
    "told",
    [
        {"Host": "rebound.example"},
        {"Host": "rebound.example:8123"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_foreign_page_cannot_query_the_engine(system: System, told: dict[str, str], method: str) -> None:
    """Not by an image, a form or a script, nor under a name of its own that points to this machine."""
    parts = urllib.parse.urlsplit(f"{system.ready['clickhouse_url']}/?query=SELECT+42")
    credentials = {"X-ClickHouse-User": str(parts.username), "X-ClickHouse-Key": str(parts.password)}
    url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(url, b"" if method == "POST" else None, told | credentials)
    with pytest.raises(urllib.error.HTTPError) as refused, urllib.request.urlopen(request, timeout=60):
        pass
    with refused.value as answer:
        assert answer.code == 403
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert b"42" not in answer.read()


def test_files_with_keys_are_for_their_owner(system: System) -> None:
    """ready.json and the kept keys of `up` are readable by nobody else."""
    holding = [path for path in system.data_dir.glob("*.json") if str(system.ready["api_key"]) in path.read_text()]
    assert holding
    assert {path.stat().st_mode & 0o077 for path in holding} == {0}
