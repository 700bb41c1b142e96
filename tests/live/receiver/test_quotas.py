"""Two receivers, one quota: what they let in together, what is left when one dies, what SQL says about the rest."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.commands import commands
from tests.polling import eventually
from tests.receivers import CHANNEL, STOP_DEADLINE_S, Receiver, Site
from tests.servers import ROOT, Server, environment

pytestmark = pytest.mark.live

REPORTS = "axonpush_receiver_quota_reports_total"
ROWS = "axonpush_receiver_quota_rows_reports_total"


@pytest.fixture
def site(tmp_path: Path, own_nats_server: Server, clickhouse_server: Server) -> Iterator[Site]:
    """A broker of this test's own, migrated, with a channel."""
    made = Site(tmp_path, own_nats_server, clickhouse_server)
    try:
        yield made
    finally:
        made.end()


def load(receivers: list[Receiver], key: str, deadline_s: float) -> tuple[Counter[int], float]:
    """As many requests as go through until `deadline_s` are over; counts by status, and requests a second."""
    found: Counter[int] = Counter()
    end = time.monotonic() + deadline_s

    def send(receiver: Receiver) -> None:
        while time.monotonic() < end:
            found[receiver.send(key)] += 1

    threads = [threading.Thread(target=send, args=(receiver,)) for receiver in receivers for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found, found.total() / deadline_s


def test_two_receivers_enforce_one_quota_and_every_refusal_is_in_sql(site: Site) -> None:
    """Under load: the quota and at most two seconds of traffic go in; 200s are rows, 429s are outcomes, all of them."""
    quota = 100
    left, right = site.receiver(), site.receiver()
    key = site.mint(quota)
    statuses, per_second = load([left, right], key, 4.0)
    assert set(statuses) == {200, 429}, statuses
    print(f"quota {quota}, let in {statuses[200]}, refused {statuses[429]}, {per_second:.0f} requests/s")
    assert quota <= statuses[200] <= quota + 2 * per_second, statuses
    assert statuses[200] < 2 * quota, "each for itself would have let in the double"
    told = environment(**site.settings())
    worker = subprocess.Popen([sys.executable, "-m", "workers", "unpack", "event", "outcome"], env=told, cwd=ROOT)
    try:
        eventually(lambda: site.query("SELECT count() FROM events") == [(statuses[200],)], "a row for each 200")
        refused = "SELECT sum(quantity) FROM outcomes WHERE outcome = 'rate_limited'"
        eventually(lambda: site.query(refused) == [(statuses[429],)], f"{statuses[429]} refusals in SQL")
        kinds = (
            "SELECT DISTINCT organisation, channel_id, item_type, reason FROM outcomes WHERE outcome = 'rate_limited'"
        )
        assert site.query(kinds) == [("default", CHANNEL, "sentry_envelope", "quota:key")]
        done = commands.run(["status", "--json"], told, 120)
        total = json.loads(done.stdout)["reconciliation"]["total"]
        assert (total["received"], total["difference"]) == (statuses[200], 0), "refusals are nothing that was received"
        messages = "SELECT count() FROM outcome_rows WHERE outcome = 'rate_limited'"
        assert int(str(site.query(messages)[0][0])) <= 8, "a few messages, not one for each refusal"
    finally:
        worker.terminate()
        worker.wait(STOP_DEADLINE_S)


@contextmanager
def workers(site: Site, *types: str) -> Iterator[None]:
    """A worker process of these types."""
    process = subprocess.Popen([sys.executable, "-m", "workers", *types], env=environment(**site.settings()), cwd=ROOT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(STOP_DEADLINE_S)


def logs(number: int) -> bytes:
    """An item of so many logs."""
    one = b'{"timestamp":1795272300,"trace_id":"%s","level":"info","body":"x"}' % (b"a" * 32)
    payload = b'{"items":[%s]}' % b",".join([one] * number)
    return b'{"type":"log","item_count":%d,"length":%d}\n%s\n' % (number, len(payload), payload)


def refused(site: Site) -> dict[object, object]:
    """What `outcomes` says about refused requests, by reason."""
    sql = "SELECT reason, sum(quantity) FROM outcomes WHERE outcome = 'rate_limited' GROUP BY reason"
    return dict(site.query(sql))  # type: ignore[arg-type]


def test_a_body_of_many_rows_uses_up_a_quota_of_rows_everywhere(site: Site) -> None:
    """The body goes in whole; as soon as its rows are known, both receivers refuse, say why, and count it."""
    left, right = site.receiver(), site.receiver()
    key, other = site.mint(None, quota_rows_per_minute=500), site.mint(None)
    with workers(site, "unpack", "event", "log", "outcome"):
        assert left.send(key, logs(499)) == 200
        eventually(lambda: site.query("SELECT count() FROM events") == [(499,)], "its rows")
        eventually(lambda: left.metric(ROWS) >= 1 <= right.metric(ROWS), "the worker's reports")
        assert right.send(key, logs(600)) == 200, "one row is left, so one body goes in"
        eventually(lambda: (left.send(key), right.send(key)) == (429, 429), "a refusal by both")
        assert left.send(other, logs(600)) == 200, "who has no quota is not counted"
        eventually(lambda: set(refused(site)) == {"quota:key:rows"}, "the refusals in SQL")
        (found,) = quotas_in_status(site)
        assert (found["of"], found["organisation"], found["requests"], found["bytes"]) == ("key", "default", None, None)
        assert found["rows"]["allowed"] == 500
        assert found["rows"]["used"] >= 1_099
        shown = command(site, "status")
        assert re.search(rf"key {found['name']}.*{found['rows']['used']:,} of 500", shown), shown
    site.registry(lambda registry: registry.limit(key, {"quota_rows_per_minute": None}))
    eventually(lambda: left.send(key) == 200, "no quota any more", 45)  # after a minute its window would be over


def test_rows_that_are_refused_count_as_well(site: Site) -> None:
    """Records that cannot become rows cost as much."""
    receiver = site.receiver()
    key = site.mint(None, quota_rows_per_minute=500)
    with workers(site, "unpack", "log"):
        payload = b'{"items":[%s]}' % b",".join([b"0"] * 600)
        assert receiver.send(key, b'{"type":"log","length":%d}\n%s\n' % (len(payload), payload)) == 200
        eventually(lambda: receiver.send(key) == 429, "a refusal")


def test_two_receivers_share_a_quota_of_bytes(site: Site) -> None:
    """What each has inflated counts for both, of an organisation too; SQL says which quota it was."""
    site.registry(lambda registry: registry.limit_organisation({"quota_bytes_per_minute": 1_000_000}))
    left, right = site.receiver(), site.receiver()
    key = site.mint(None)
    attachment = b'{"type":"attachment","length":400000}\n' + bytes(400_000) + b"\n"
    statuses = Counter(one.send(key, attachment) for _ in range(8) for one in (left, right))
    assert statuses[429] >= 10, statuses
    eventually(lambda: (left.send(key), right.send(key)) == (429, 429), "a refusal by both")
    (found,) = quotas_in_status(site)
    assert (found["of"], found["name"], found["bytes"]["allowed"]) == ("organisation", "default", 1_000_000)
    assert 1_000_000 <= found["bytes"]["used"] <= 4_000_000
    with workers(site, "outcome"):
        eventually(lambda: set(refused(site)) == {"quota:organisation:bytes"}, "the refusals in SQL")


def command(site: Site, *words: str) -> str:
    """What the command line says. `status` may end with 1 here: many refusals are a problem."""
    done = commands.run(words, environment(**site.settings()), 120)
    assert done.returncode in ((0, 1) if words[0] == "status" else (0,)), done.stderr
    return done.stdout


def quotas_in_status(site: Site) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(command(site, "status", "--json"))["quotas"]
    return found


def test_a_limit_changes_on_every_receiver_while_they_run(site: Site) -> None:
    """Set, raised and lifted, on the key and on the whole organisation."""
    receivers = [site.receiver(), site.receiver()]
    key = site.mint(None)

    def all_answer(status: int) -> bool:
        return all(receiver.send(key) == status for receiver in receivers)

    eventually(lambda: all_answer(200), "no limit")
    site.registry(lambda registry: registry.limit(key, {"quota_per_minute": 0}))
    eventually(lambda: all_answer(429), "the key's limit everywhere")
    site.registry(lambda registry: registry.limit(key, {"quota_per_minute": None}))
    eventually(lambda: all_answer(200), "no limit again")
    site.registry(lambda registry: registry.limit_organisation({"quota_per_minute": 0}))
    eventually(lambda: all_answer(429), "the organisation's limit everywhere")
    site.registry(lambda registry: registry.limit_organisation({"quota_per_minute": 1_000_000}))
    eventually(lambda: all_answer(200), "a higher limit")


def test_who_is_left_has_the_rest_of_the_quota(site: Site) -> None:
    """A killed receiver takes no share with it: the others may use what it had left, and no more."""
    left, right = site.receiver(), site.receiver()
    key = site.mint(60)
    assert [left.send(key) for _ in range(20)] == [200] * 20
    heard = right.metric(REPORTS)
    # Everything is said again every two seconds; of two that come now, one was made after the last request.
    eventually(lambda: right.metric(REPORTS) >= heard + 2, "the other's reports", 15)
    left.process.kill()
    left.process.wait()
    statuses = Counter(right.send(key) for _ in range(60))
    assert statuses == {200: 40, 429: 20}


def test_a_broker_that_is_away_is_no_quota(site: Site) -> None:
    """503 and neither 401 nor 429, however many are sent; when it is back the quota is as it was."""
    receiver = site.receiver()
    key = site.mint(5)
    assert receiver.send(key) == 200
    site.broker.kill()
    eventually(lambda: receiver.get("/ready") == 503, "the receiver to notice")
    assert {receiver.send(key) for _ in range(20)} == {503}
    assert receiver.send(f"ak_{uuid.uuid4().hex}") == 503, "it may have been minted a moment ago"
    site.broker.start()
    eventually(lambda: receiver.send(key) == 200, "the broker again")
    assert Counter(receiver.send(key) for _ in range(10)) == {200: 3, 429: 7}
