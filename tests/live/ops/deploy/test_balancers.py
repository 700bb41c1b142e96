"""The balancers of docs/plain-machines.md in front of a real receiver: what senders get, and whom the receiver sees."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from receiver.http.request import _FORWARDED
from tests.live.ops.deploy.test_haproxy import Behind
from tests.live.ops.deploy.test_plain_machines_page import PAGE, placed, run
from tests.live.ops.operations_page import Shell, steps
from tests.live.receiver_process import Broker, Receiver, envelope, otlp, running_broker, sentry
from tests.plain_machine import PlainMachine
from tests.polling import ANSWER_TIMEOUT_S, eventually
from tests.servers import environment

pytestmark = pytest.mark.live

SENDER = "127.0.0.2"  # not the address from which the balancer connects
REFUSED_PER_MINUTE = 10


def program(name: str) -> str | None:
    """Debian has them in /usr/sbin, which is not on every PATH."""
    return os.environ.get(f"AXONPUSH_{name.upper()}") or shutil.which(name) or shutil.which(name, path="/usr/sbin")


def named(name: str) -> Any:
    """A parameter that is skipped where the program is missing."""
    reason = f"{name} is not installed (Debian: apt-get install {name})"
    return pytest.param(name, marks=pytest.mark.skipif(program(name) is None, reason=reason))


@dataclass(frozen=True)
class Balanced:
    """A running balancer, its ports, its logs, and who is behind it."""

    name: str
    https: int
    http: int
    logs: tuple[Path, ...]
    broker: Broker
    receiver: Receiver
    console: Behind

    def connection(self, sender: str = SENDER) -> http.client.HTTPSConnection:
        """Over TLS, from one of the addresses of this machine."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(
            "127.0.0.1", self.https, context=context, timeout=ANSWER_TIMEOUT_S, source_address=(sender, 0)
        )

    def post(self, path: str, body: bytes = b"{}", sender: str = SENDER, **headers: str) -> tuple[int, bytes]:
        """One request on a connection of its own."""
        with contextlib.closing(self.connection(sender)) as connection:
            return answer_to(connection, "POST", path, body, headers)


def answer_to(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, bytes]:
    """Status and body of the answer."""
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def certificate(machine: PlainMachine) -> None:
    """Where both files of configuration expect it."""
    folder = machine.root / "etc/nginx/axonpush"
    folder.mkdir()
    key, pem = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subject = ["-days", "1", "-subj", "/CN=in.example.com", "-keyout", str(key), "-out", str(pem)]
    subprocess.run([*command, *subject], check=True, capture_output=True)
    together = machine.root / "etc/haproxy/certs/axonpush.pem"
    together.parent.mkdir()
    together.write_bytes(pem.read_bytes() + key.read_bytes())


def package(machine: PlainMachine, name: str) -> None:
    """What Debian's package brings: a unit, and for nginx a main file that includes conf.d."""
    certificate(machine)
    etc, found = machine.root / "etc", program(name)
    if name == "haproxy":
        file = machine.checkout / "ops/deploy/machines/haproxy.cfg"
        # Neither the package's user, nor a system log, nor 40,000 open files are there for a test.
        text = re.sub(r"^    (?:user|group) haproxy\n", "", file.read_text(), flags=re.MULTILINE)
        text = text.replace("log /dev/log local0", "log stdout format raw local0")
        file.write_text(text.replace("maxconn 20000", "maxconn 500"))
        machine.add_unit(name, f"{found} -db -f {etc}/haproxy/haproxy.cfg")
        return
    (etc / "nginx/conf.d").mkdir()
    (etc / "nginx/nginx.conf").write_text(
        f"pid {machine.root}/nginx.pid;\nerror_log {machine.root}/nginx.log;\nevents {{}}\n"
        f"http {{ client_body_temp_path {machine.root}/temp; include {etc}/nginx/conf.d/*.conf; }}\n"
    )
    line = f"{found} -p {machine.root} -c {etc}/nginx/nginx.conf"
    machine.add_program(name, line)
    machine.add_unit(name, f"{line} -g 'daemon off;'")


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, Receiver]]:
    """A receiver as receiver.env sets it up, for both balancers."""
    folder = tmp_path_factory.mktemp("receiver")
    settings = {"trust_forwarded": "true", "counts_wait_sentry_ms": "0", "counts_wait_otlp_ms": "0"}
    with running_broker(folder) as broker:
        receiver = Receiver(broker, folder, refused_per_minute=str(REFUSED_PER_MINUTE), **settings)
        try:
            yield broker, receiver.wait_ready()
        finally:
            receiver.stop()


@pytest.fixture(scope="module", params=[named("haproxy"), named("nginx")])
def balanced(
    request: pytest.FixtureRequest, behind: tuple[Broker, Receiver], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Balanced]:
    """The balancer, installed and started by the commands of the page."""
    broker, receiver = behind
    machine = PlainMachine(tmp_path_factory.mktemp("machine"), {8080: receiver.port})
    package(machine, request.param)
    console = Behind(machine.ports[8081])
    settings = environment()
    shell = Shell(machine.checkout, settings | {"PATH": f"{machine.bin}:{settings['PATH']}:/usr/sbin"})
    logs = (machine.root / f"run/{request.param}.service.log", machine.root / "var/log/nginx/axonpush.log")
    found = Balanced(request.param, machine.ports[443], machine.ports[80], logs, broker, receiver, console)
    try:
        for step in steps(PAGE.read_text()):
            if step.section.lower() == request.param:
                run(placed(step, machine), shell)
        eventually(lambda: found.post("/v1/logs", b'{"resourceLogs":[]}', **otlp())[0] == 200, "the receiver behind it")
        yield found
    finally:
        shell.end()
        console.stop()


def test_an_envelope_is_stored_with_its_senders_address(balanced: Balanced) -> None:
    """As an SDK sends it; whatever the sender claims, the address is that of its connection."""
    forged = dict.fromkeys((*_FORWARDED, "forwarded"), "203.0.113.7")
    status, answer = balanced.post("/api/42/envelope/", envelope(), **sentry(), **forged)
    assert status == 200, answer
    assert len(json.loads(answer)["id"]) == 32
    message = balanced.broker.last("raw.sentry.envelope.42")
    assert message.headers["Sender-Ip"] == SENDER
    assert "203.0.113.7" not in json.dumps(message.headers)


@pytest.mark.parametrize("path", ["/ingest/api/42/envelope/", "/ingest/v1/logs", "//api/42/envelope/"])
def test_paths_with_a_prefix_and_doubled_slashes(balanced: Balanced, path: str) -> None:
    """A DSN may have a path prefix; exporters append /v1/logs to whatever they are given."""
    before = balanced.broker.stored()
    body, headers = (b'{"resourceLogs":[],"n":"%s"}' % uuid.uuid4().hex.encode(), otlp()) if "v1" in path else (
        envelope(), sentry(),
    )  # fmt: skip
    status, answer = balanced.post(path, body, **headers)
    assert status == 200, answer
    assert balanced.broker.stored() == before + 1


def test_a_body_of_20_mb_gets_the_receivers_refusal(balanced: Balanced) -> None:
    """413 in the receiver's words, while the body is still coming: nothing waits for the whole of it on a disk."""
    with contextlib.closing(balanced.connection()) as connection:
        connection.putrequest("POST", "/api/42/envelope/")
        for name, value in {**sentry(), "Content-Length": "20000000"}.items():
            connection.putheader(name, value)
        connection.endheaders(b"x" * 1_000_000)
        answer = connection.getresponse()
        assert answer.status == 413
        assert "expected at most 6000000 bytes, found 20000000" in json.loads(answer.read())["detail"]
    assert balanced.post("/api/42/envelope/", envelope(), **sentry())[0] == 200


def test_the_largest_body_passes(balanced: Balanced) -> None:
    """5.9 MB, which the receiver accepts."""
    assert balanced.post("/api/42/envelope/", envelope(5_900_000), **sentry())[0] == 200


def test_one_connection_carries_many_requests(balanced: Balanced) -> None:
    """Refusals too: nothing of a refused body is taken for the next request."""
    with contextlib.closing(balanced.connection()) as connection:
        statuses = [
            answer_to(connection, "POST", "/api/42/envelope/", envelope(), sentry() if number % 3 else {})[0]
            for number in range(12)
        ]
    assert statuses == [401, 200, 200] * 4


def test_refusals_are_counted_for_the_real_address(balanced: Balanced) -> None:
    """One sender's bad requests use up its own share, not that of others behind the same balancer."""
    one, other = ("127.0.1.1", "127.0.1.2") if balanced.name == "haproxy" else ("127.0.1.3", "127.0.1.4")

    def refused(sender: str) -> int:
        return balanced.post("/api/42/envelope/", b"x", sender, **sentry(), **{"Content-Encoding": "odd"})[0]

    assert refused(one) == 415
    eventually(lambda: refused(one) == 429, "the share of one address to be used up")
    assert refused(other) == 415


@pytest.mark.parametrize(
    "path", ["/metrics", "//metrics", "/metrics/", "/%6detrics", "/METRICS", "/ready", "/metrics?a=1", "/ingest/ready"]
)
def test_what_is_ours_is_not_the_worlds(balanced: Balanced, path: str) -> None:
    """However it is written."""
    with contextlib.closing(balanced.connection()) as connection:
        assert answer_to(connection, "GET", path, b"", {}) == (404, b'{"detail":"not found"}')


def test_the_page_and_the_web_api_go_to_a_console(balanced: Balanced) -> None:
    """And a sender's paths never do."""
    paths = ["/", "/api/0/organizations/", "/organizations/default/issues/", "/page/main.js", "/sign-in", "/session"]
    eventually(lambda: balanced.post("/session")[0] == 200, "the console to be used")
    balanced.console.seen.clear()
    with contextlib.closing(balanced.connection()) as connection:
        assert {answer_to(connection, "GET", path, b"", {})[0] for path in paths} == {200}
    assert [path for path, _, _ in balanced.console.seen] == paths
    assert {headers["x-forwarded-for"] for _, headers, _ in balanced.console.seen} == {SENDER}
    assert balanced.post("/api/42/envelope/", envelope(), **sentry())[0] == 200
    assert len(balanced.console.seen) == len(paths)


def test_plain_http_is_sent_to_https_with_its_method(balanced: Balanced) -> None:
    """308, so that a POST stays one."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", balanced.http, timeout=60)) as connection:
        connection.request("POST", "/v1/logs?a=b", b"{}", {"Host": "in.example.com"})
        answer = connection.getresponse()
    assert (answer.status, answer.headers["location"]) == (308, "https://in.example.com/v1/logs?a=b")


def test_no_log_names_a_key(balanced: Balanced) -> None:
    """Keys stand in paths and queries, and in what a balancer writes when nobody answers."""
    balanced.post("/api/42/cron/nightly/pt_hidden/?sentry_key=pt_hidden", **{"X-API-Key": "ak_hidden"})
    balanced.post("/organizations/x/?sentry_key=pt_hidden")
    written = [log for log in balanced.logs if log.exists()]
    eventually(lambda: any("POST" in log.read_text() for log in written), "a line for the requests")
    assert not [log for log in written if "hidden" in log.read_text()]
