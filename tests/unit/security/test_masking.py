"""Keys in places where none belongs: masked in messages, rows, logs, errors, settings; and nothing else is touched."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import sys
import zlib

import pytest
import structlog
from hypothesis import assume, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from ops.runtime.logs import configure_logging
from ops.runtime.secret_masking import without_secrets
from ops.runtime.settings import Settings
from receiver.http.answers import Refused
from receiver.settings import ReceiverSettings
from schemas import headers
from schemas.key_masking import mask_keys, mask_keys_in
from tests.commands import commands
from tests.servers import environment
from tests.unit.minidump_writer import write as write_dump
from tests.unit.otlp_encoding import origin as otlp_origin
from workers.normalise.minidump.codec import inflate_dump
from workers.normalise.otlp.body import normalise_logs
from workers.settings import WorkerSettings
from workers.unpack.pieces import word

KEY = "pt_" + "aB3" * 10 + "xy"
MASKED = "pt_" + "*" * 32
keys = st.builds(
    lambda prefix, rest: prefix + rest,
    st.sampled_from(["ak_", "pt_"]),
    st.text("ABCXYZabcxyz0129", min_size=32, max_size=32),
)
not_messages = st.text(st.characters(blacklist_categories=["L", "N", "Cs"]), max_size=20)


@given(before=not_messages, key=keys, after=not_messages)
def test_no_key_survives_in_a_text(before: str, key: str, after: str) -> None:
    """Whatever stands around it; lengths stay, and a second time changes nothing."""
    text = f"{before}{key}{after}"
    masked = mask_keys_in(text)
    assert masked == f"{before}{key[:3]}{'*' * 32}{after}"
    assert mask_keys_in(masked) == masked


@given(user=keys, secret=st.text("abc123", max_size=20))
def test_no_key_survives_in_basic(user: str, secret: str) -> None:
    """`Authorization: Basic`, as events carry it in the headers of a request."""
    packed = base64.b64encode(f"{user}:{secret}".encode()).decode()
    masked = mask_keys_in(f'{{"Authorization":"Basic {packed}"}}')
    assert packed[4:20] not in masked
    assert json.loads(masked).keys() == {"Authorization"}


@given(st.binary())
def test_bytes_without_a_key_stay_as_they_are(data: bytes) -> None:
    """And lengths stay in any case. Hypothesis also tries texts of the code itself, where keys are."""
    masked = mask_keys(data)
    assert len(masked) == len(data)
    assume(not re.search(rb"ak_|pt_|YWtf|cHRf|[ap]\x00[kt]\x00_", data))
    assert masked == data


@pytest.mark.parametrize(
    "text",
    [
        "pt_core_news_sm", "pt_transaction_identifier_of_customers", "environment=pt_production", "attempt_" + "a" * 32,
        "ak_" + "a" * 31, "task_" + "b" * 32, "YWtf", "x" + base64.b64encode(KEY.encode()).decode(),
    ],
)  # fmt: skip
def test_names_that_only_look_like_keys_stay(text: str) -> None:
    """A key is its prefix and 32 letters and digits, at the beginning of a word."""
    assert mask_keys_in(text) == text


def test_a_protobuf_body_stays_one() -> None:
    """Lengths stand in it; the key in an attribute, a body and a resource goes all the same."""
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="dsn").value.string_value = f"https://{KEY}@h/1"
    record = resource.scope_logs.add().log_records.add()
    record.body.string_value = KEY
    record.attributes.add(key=KEY).value.string_value = KEY
    body = zlib.compress(request.SerializeToString())
    found = normalise_logs(otlp_origin("application/x-protobuf", "deflate"), body)
    assert found.accepted == 1
    assert KEY not in repr(found)
    assert f"https://{MASKED}@h/1" in repr(found)


def test_a_dump_has_the_key_of_its_process_masked() -> None:
    """In UTF-8 and in UTF-16; the file keeps its length, so that every offset in it is true."""
    dump = write_dump() + KEY.encode() + b"\0" + KEY.encode("utf-16-le")
    for content in (dump, zlib.compress(dump, wbits=31)):
        found = inflate_dump(content).content
        assert len(found) == len(dump)
        assert KEY.encode() not in found
        assert KEY.encode("utf-16-le") not in found


def test_errors_messages_and_reasons_hold_no_key() -> None:
    """What was found in a wrong place is quoted in errors, messages' headers and outcomes: masked, before it is cut."""
    refused = Refused(400, f"expected a channel, found '{KEY}'", causes=(KEY,))
    assert KEY not in f"{refused} {refused.detail} {refused.causes}"
    assert headers.clean(f"agent {KEY}") == f"agent {MASKED}"
    assert KEY[:20] not in headers.clean("x" * 500 + KEY)
    assert word(KEY) == "pt_" + "?" * 32


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_log_line_holds_a_key(log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever logs it: our own loggers, an exception's text, a library."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    before, configuration = logging.getLogger().handlers[:], structlog.get_config()
    try:
        configure_logging(Settings(log_format=log_format))
        try:
            raise ValueError(f"invalid literal: '{KEY}'")
        except ValueError:
            structlog.get_logger().exception("failed", path=f"/cron/a/{KEY}/", url=f"https://{KEY}@h/1")
        logging.getLogger("some.library").warning("refused %s", KEY)
    finally:
        structlog.configure(**configuration)
        logging.getLogger().handlers[:] = before
    text = written.getvalue()
    assert "failed" in text
    assert f"refused {MASKED}" in text
    assert KEY not in text


@pytest.mark.parametrize("kind", [Settings, ReceiverSettings, WorkerSettings])
def test_a_print_out_of_settings_holds_no_password(kind: type[Settings]) -> None:
    """Neither those of their own nor those that stand in addresses; error texts and logs take the same function."""
    settings = kind(
        nats_url="nats://user:hush1@a:4222,tls://hush2@b:4222",
        nats_password="hush3",
        nats_token="hush4",
        clickhouse_url="http://user:hu@sh5@c:8123/path",
        clickhouse_password="hush6",
    )
    for text in (repr(settings), str(settings), f"{settings}", settings.nats_addresses()):
        assert "hush" not in text
        assert "sh5" not in text
    assert "nats://a:4222,tls://b:4222" in repr(settings)
    assert without_secrets("http://c:8123/path") == "http://c:8123/path"


@pytest.mark.parametrize("command", [["status"], ["keys", "list"], ["migrate"], ["sql", "SELECT 1"]], ids=str)
def test_no_command_tells_the_password_of_an_address(command: list[str]) -> None:
    """Servers that are away are named without who asks for them."""
    told = environment(
        AXONPUSH_NATS_URL="nats://user:hush@127.0.0.1:1,nats://user:hush@127.0.0.1:2",
        AXONPUSH_CLICKHOUSE_URL="http://user:hush@127.0.0.1:1",
    )
    done = commands.run(command, told, 60)
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stdout + done.stderr
    assert "hush" not in done.stdout + done.stderr
