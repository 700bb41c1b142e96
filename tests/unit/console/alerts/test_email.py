"""E-mails over a real socket: a slow server, refused receivers, threads."""

from __future__ import annotations

import asyncio
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from console.alerts.deliver import smtp
from console.alerts.deliver.email import EmailSender
from console.alerts.deliver.message import DeliveryFailed
from console.alerts.limits.places import MessagePlaces
from console.alerts.settings import AlertsSettings
from tests.unit.console.alerts.test_deliver import MESSAGE
from tests.unit.console.alerts.world import Process, World

pytestmark = pytest.mark.asyncio
EVERY = "sentry.rules.conditions.every_event.EveryEventCondition"
EMAIL = {"type": "email", "uuid": "mail", "to": ["a@b.test", "c@d.test", "e@f.test"]}


class Server:
    """Speaks SMTP. `codes`: the answer for a receiver; `pause_s`: before each byte of an answer to `slow`."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.slow, self.pause_s = "", 0.0
        self.words = {"QUIT": 221, "DATA": 354}
        self.mails: list[list[str]] = []
        self.ended = threading.Event()

    def talk(self, handler: socketserver.StreamRequestHandler) -> None:
        receivers: list[str] = []
        handler.wfile.write(b"220 test\r\n")
        while line := handler.rfile.readline().decode():
            word, address = line[:4].upper().strip(), line.partition("<")[2].partition(">")[0]
            code = self.codes.get(address, 250) if word == "RCPT" else self.words.get(word, 250)
            receivers += [address] if word == "RCPT" and code == 250 else []
            if word == "DATA":
                handler.wfile.write(b"354 go on\r\n")
                while handler.rfile.readline() not in (b".\r\n", b""):
                    continue
                self.mails.append(receivers)
                code, word, receivers = 250, "SENT", []
            for letter in f"{code} ok\r\n":
                time.sleep(self.pause_s if word == self.slow else 0.0)
                handler.wfile.write(letter.encode())


@contextmanager
def running() -> Iterator[tuple[Server, AlertsSettings]]:
    server = Server()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            try:
                server.talk(self)
            except OSError:
                pass
            finally:
                server.ended.set()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        settings: Any = {"alerts_smtp_host": "127.0.0.1", "alerts_smtp_port": listening.server_address[1],
                         "alerts_smtp_security": "none", "alerts_timeout_s": 1.0}  # fmt: skip
        yield server, AlertsSettings(**settings)
        listening.shutdown()


async def sent(settings: AlertsSettings, *to: str) -> str:
    sender = EmailSender(settings)
    try:
        return await sender.send(MESSAGE, to)
    finally:
        sender.close()


async def test_a_server_that_is_slow_but_never_silent_is_left() -> None:
    """Nothing was sent when the delivery is judged, and nothing is sent afterwards."""
    with running() as (server, settings):
        server.slow, server.pause_s = "RCPT", 0.5
        with pytest.raises(DeliveryFailed, match="no answer in time"):
            await sent(settings, "a@b.test", "c@d.test")
        assert await asyncio.to_thread(server.ended.wait, 30)
        assert server.mails == []


async def test_many_receivers_have_more_time() -> None:
    """Twenty of them are twenty answers."""
    with running() as (_, settings):
        assert smtp.deadline_s(settings, 20) >= smtp.deadline_s(settings, 1) + 9 * settings.alerts_timeout_s


async def test_the_answer_to_the_mail_itself_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline of what comes before it does not end it: it would be sent twice."""
    monkeypatch.setattr(smtp, "deadline_s", lambda *_: 0.5)
    with running() as (server, settings):
        server.slow, server.pause_s = "SENT", 0.2
        assert "accepted" in await sent(settings, "a@b.test")
        assert server.mails == [["a@b.test"]]


@pytest.mark.parametrize("pause_s", [0.0, 5.0])
async def test_a_wrong_answer_to_the_end_is_no_failure(pause_s: float) -> None:
    """The mail is accepted; it would be sent twice."""
    with running() as (server, settings):
        server.words["QUIT"], server.slow, server.pause_s = 500, "QUIT", pause_s
        assert "accepted" in await sent(settings, "a@b.test")
        assert server.mails == [["a@b.test"]]


async def test_receivers_that_are_refused_for_now_are_tried_again() -> None:
    """Those that were accepted get it once; those that are refused for ever are named."""
    with running() as (server, settings):
        server.codes = {"c@d.test": 450, "e@f.test": 550}
        with pytest.raises(DeliveryFailed, match=r"some receivers refused \(450, 550\)") as failed:
            await sent(settings, *EMAIL["to"])
        assert (failed.value.left, failed.value.is_final) == (("c@d.test",), False)
        server.codes = {"e@f.test": 550}
        assert "but not for e@f.test" in await sent(settings, *EMAIL["to"])
        server.codes = dict.fromkeys(EMAIL["to"], 550)
        with pytest.raises(DeliveryFailed, match="all receivers refused") as failed:
            await sent(settings, *EMAIL["to"])
        assert failed.value.is_final


async def test_only_those_who_have_not_got_it_get_it_later() -> None:
    """Through the whole process: the second try has one receiver, with the same id."""
    world = World()
    world.rule(actions=[EMAIL])
    process = Process(world)
    await process.begin()
    world.error()
    world.receivers.breaks = DeliveryFailed("some receivers refused", left=("c@d.test",))
    await process.turn()
    world.receivers.breaks = None
    second = Process(world, "two")
    await second.begin()
    world.clock.s += 5.0
    await second.lease.step()
    await second.turn()
    assert [action.to for action in world.receivers.actions] == [tuple(EMAIL["to"]), ("c@d.test",)]
    assert len({message.delivery_id for message in world.receivers.messages}) == 1


async def test_a_full_mailbox_does_not_hold_the_mails_of_others() -> None:
    """One receiver is refused for a day: the next messages of the rule go to all, in their order."""
    world = World()
    world.rule(conditions=[{"id": EVERY}], frequency=5, actions=[EMAIL])
    process = Process(world)
    await process.begin()
    world.error(1)
    world.receivers.breaks = DeliveryFailed("some receivers refused", left=("c@d.test",))
    await process.turn()
    world.receivers.breaks = None
    world.error(2)
    world.clock.s += 1.0
    await process.turn()
    assert [action.to for action in world.receivers.actions] == [tuple(EMAIL["to"])] * 2
    world.clock.s += 5.0
    await process.lease.step()
    await process.turn()
    assert world.receivers.actions[-1].to == ("c@d.test",)


async def test_where_all_are_refused_for_now_all_of_it_is_tried_again() -> None:
    """Nobody has it, so the next message waits for it as usual."""
    with running() as (server, settings):
        server.codes = dict.fromkeys(EMAIL["to"], 450)
        with pytest.raises(DeliveryFailed, match="all receivers refused") as failed:
            await sent(settings, *EMAIL["to"])
        assert (failed.value.left, failed.value.is_final) == ((), False)


async def test_a_mail_server_that_hangs_stops_no_webhook() -> None:
    """They have places of their own."""
    world = World()
    for number in range(1, 9):
        world.rule(rule_id=number, actions=[{**EMAIL, "uuid": f"mail{number}"}])
    world.rule(rule_id=20)
    process = Process(world)
    await process.begin()
    await process.turn()
    world.error()
    world.clock.s += 5.0
    await process.lease.step()
    await process.evaluator.round()
    world.receivers.hangs = "email"
    tasks = process.sender.start_due(MessagePlaces(5))
    for _ in range(20):
        await asyncio.sleep(0)
    assert [message.rule.rule_id for message in world.receivers.messages if message.rule.rule_id == 20] == [20]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_domains_that_are_not_allowed_get_no_mail() -> None:
    """An operator may name those that do; the receivers of the settings are always allowed."""
    with running() as (server, settings):
        allowed = {"alerts_email_domains": "b.test, D.test", "alerts_email_to": "ops@z.test"}
        narrow = AlertsSettings(**(settings.model_dump(exclude_unset=True) | allowed))
        for address in ("a@b.test", "c@d.TEST", "ops@z.test"):
            assert "accepted" in await sent(narrow, address)
        assert "accepted" in await sent(narrow)
        for address in ("a@evil.test", "a@x.b.test"):
            with pytest.raises(DeliveryFailed, match="AXONPUSH_ALERTS_EMAIL_DOMAINS") as failed:
                await sent(narrow, "a@b.test", address)
            assert failed.value.is_final
        assert len(server.mails) == 4
