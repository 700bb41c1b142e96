"""A program that cannot start says what was expected, what was found, and what to do; without a traceback or a link."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from pydantic import ValidationError

from ops.cli.servers import open_clickhouse
from ops.cli.unreachable import unreachable
from ops.runtime.failures import Failed, broker_failure
from ops.runtime.process.start_errors import BAD_USAGE, FAILED, port_failure, settings_text
from ops.runtime.settings import Settings
from ops.runtime.tls import tls_context
from receiver.settings import ReceiverSettings
from tests.servers import HOST, ROOT, environment
from workers.settings import WorkerSettings

DEADLINE_S = 120.0


def wrong(name: str, value: str, settings: type[ReceiverSettings] | type[WorkerSettings] = ReceiverSettings) -> str:
    """What is said of one setting of that value."""
    with pytest.raises(ValidationError) as raised:
        settings(**{name: value})  # type: ignore[arg-type]
    return settings_text(raised.value)


@pytest.mark.parametrize(
    ("name", "value", "expected", "found"),
    [
        ("port", "abc", "a whole number", "other text (3 characters)"),
        ("port", "70000", "65535 or less", "70000"),
        ("port", "-1", "0 or more", "-1"),
        ("body_deadline_s", "soon", "a number", "other text (4 characters)"),
        ("body_deadline_s", "0", "more than 0", "0"),
        ("trust_forwarded", "maybe", "true or false", "other text (5 characters)"),
        ("log_level", "loud", "'debug', 'info', 'warning' or 'error'", "other text (4 characters)"),
    ],
)
def test_a_wrong_setting_is_one_sentence(name: str, value: str, expected: str, found: str) -> None:
    """Its variable, what it must be, what it is."""
    text = wrong(name, value)
    assert f"AXONPUSH_{name.upper()}: expected {expected}, found {found}" in text
    assert "pydantic" not in text
    assert "http" not in text


def test_no_secret_is_shown() -> None:
    """A text of any form may be an address with a password."""
    assert "s3cret" not in wrong("tracing_url", "user:s3cret@collector")
    assert "s3cret" not in wrong("clickhouse_cluster", "s3cret/word")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EADDRINUSE, "found it taken"),
        (errno.EACCES, "no permission"),
        (errno.EADDRNOTAVAIL, "an address of this machine"),
        (errno.EMFILE, "cannot listen"),
    ],
)
def test_a_port_that_cannot_be_had(number: int, said: str) -> None:
    text = str(port_failure(OSError(number, os.strerror(number)), 80, "AXONPUSH_PORT"))
    assert said in text
    assert "80" in text
    assert "AXONPUSH_PORT" in text or "beside" in text


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port somebody listens on, on every interface."""
    with socket.socket() as listening:
        listening.bind(("0.0.0.0", 0))
        listening.listen()
        yield int(listening.getsockname()[1])


@pytest.mark.parametrize(
    ("module", "setting"),
    [
        (["workers", "all"], "AXONPUSH_WORKER_METRICS_PORT"),
        (["receiver"], "AXONPUSH_RECEIVER_METRICS_PORT"),
        (["receiver"], "AXONPUSH_PORT"),
        (["ops.cli", "janitor"], "AXONPUSH_JANITOR_METRICS_PORT"),
        (["ops.cli", "canary", "--dsn", "http://ak_x@127.0.0.1:1/1"], "AXONPUSH_CANARY_METRICS_PORT"),
    ],
    ids=["worker", "receiver's metrics", "receiver", "janitor", "canary"],
)
def test_every_program_names_a_port_that_is_taken(module: list[str], setting: str, taken_port: int) -> None:
    """The real process: one sentence, exit code 1, no traceback."""
    told = {"AXONPUSH_PORT": "0", setting: str(taken_port)}
    done = subprocess.run(
        [sys.executable, "-m", *module],
        env=environment(AXONPUSH_NATS_URL=f"nats://{HOST}:1", **told),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    said = done.stdout + done.stderr
    assert done.returncode == FAILED, said
    assert f"expected port {taken_port} to be free, found it taken" in said
    assert setting in said
    assert "Traceback" not in said


@pytest.mark.parametrize("module", [["workers", "all"], ["receiver"], ["ops.cli", "janitor"], ["ops.cli", "status"]])
def test_every_program_says_a_wrong_setting(module: list[str]) -> None:
    """The real process: one line, exit code 2."""
    done = subprocess.run(
        [sys.executable, "-m", *module],
        env=environment(AXONPUSH_MAX_BODY_BYTES="many"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert done.returncode == BAD_USAGE, done.stderr
    assert "AXONPUSH_MAX_BODY_BYTES: expected a size like 512MiB or 10GB, found other text" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "said", "unsaid"),
    [
        (
            Exception("nats: 'Authorization Violation'"),
            "AXONPUSH_NATS_USER and AXONPUSH_NATS_PASSWORD",
            "Start `axonpush",
        ),
        (Exception("[SSL: WRONG_VERSION_NUMBER] wrong version number"), "AXONPUSH_NATS_TLS_CA", "Start `axonpush"),
        (ConnectionRefusedError(111, "Connection refused"), "Start `axonpush up`", "password"),
        (TimeoutError(), "no answer in time", "TimeoutError"),
    ],
)
def test_a_broker_that_cannot_be_used_is_told_from_one_that_is_away(error: Exception, said: str, unsaid: str) -> None:
    text = unreachable("NATS", "nats://user:s3cret@broker:4222", "AXONPUSH_NATS_URL", error)
    assert said in text
    assert unsaid not in text
    assert "s3cret" not in text


@pytest.mark.parametrize("error", [NatsTimeoutError(), TimeoutError(), NoRespondersError()])
def test_a_broker_without_a_leader_is_named(error: Exception) -> None:
    """The library says `nats: timeout`, which helps nobody."""
    assert "leader" in broker_failure(error)


@pytest.mark.parametrize(
    ("url", "interface"),
    [
        ("https://clickhouse.example:9440", "https"),
        ("HTTPS://clickhouse.example", "https"),
        ("https://user:s3cret@clickhouse.example:1234", "https"),
        ("http://clickhouse.example:8443", "http"),
        ("http://127.0.0.1:8123", "http"),
    ],
)
def test_the_address_of_clickhouse_decides_on_tls(url: str, interface: str) -> None:
    """The library looks at the port only: https:// with another port went, with the password, in clear text."""
    assert Settings(clickhouse_url=url).clickhouse_interface() == interface


def test_no_clear_text_goes_to_an_https_address() -> None:
    """What a server on that port hears first is the beginning of TLS."""
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen()
        heard: list[bytes] = []

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                heard.append(connection.recv(1))
            listening.close()

        server = threading.Thread(target=answer)
        server.start()
        url = f"https://user:s3cret@{HOST}:{listening.getsockname()[1]}"
        with pytest.raises(Failed, match="expected"):
            open_clickhouse(Settings(clickhouse_url=url), timeout_s=DEADLINE_S)
        server.join(DEADLINE_S)
    assert heard == [b"\x16"], "a handshake of TLS"


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_tls_file_that_cannot_be_used_is_named(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(Failed, match="AXONPUSH_NATS_TLS_CA: expected CA certificates") as raised:
        tls_context(Settings(nats_tls_ca=str(path)))
    assert str(path) in str(raised.value)
