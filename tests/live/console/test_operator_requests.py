"""What a person does on the page through the janitor, on a whole running system."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.live.console.web_api import Api
from tests.live.ops.test_dead_commands import refusing
from tests.polling import eventually
from tests.traffic import Sender, account, settled

pytestmark = pytest.mark.live

DELIVERY = "/organizations/default/delivery/dead-letters/"


def test_a_retry_on_the_page_makes_the_row(sender: Sender) -> None:
    """Of the chosen channel; a token of another organisation reaches nothing."""
    api, event_id = Api(sender.system), uuid.uuid4().hex
    with refusing(sender.system, "venom"):
        assert sender.event("a venom", event_id) == 200
        (letter,) = eventually(lambda: api("GET", DELIVERY, project=sender.channel), "the dead letter")
    other = f"o{uuid.uuid4().hex[:8]}"
    sender.system.cli("organisations", "create", other)
    minted = ("tokens", "mint", "--organisation", other, "--scope", "delivery:write", "--json")
    foreign = Api(sender.system, str(json.loads(sender.system.cli(*minted).stdout)["token"]))
    path = f"/organizations/{other}/delivery/dead-letters/"
    for below in ("retry/", "drop/"):
        assert foreign.answer("POST", DELIVERY + below, {"numbers": [letter["number"]]})[0] == 404
        assert foreign.answer("POST", path + below, {"numbers": [letter["number"]]})[0] == 404
    assert api("GET", f"{DELIVERY}{letter['number']}/")["body"]["isText"]
    done = api("POST", f"{DELIVERY}retry/", {"reason": letter["reason"]}, project=sender.channel)
    assert (done["retried"], done["left"]) == (1, 0)
    totals = account(settled(sender.system), sender.channel)
    assert (totals["rows"], totals["dead"], totals["difference"]) == (1, 0, 0)
    became = api("GET", f"{DELIVERY}retries/{done['generation']}/")
    assert (became["processed"], became["deadAgain"]) == (1, [])
    assert api("GET", DELIVERY, project=sender.channel) == []


def test_a_drop_on_the_page_is_counted(sender: Sender) -> None:
    """Once, however often it is asked for."""
    api = Api(sender.system)
    assert sender.envelope(b'{}\n{"type":"event","length":99}\nx') == 400
    (letter,) = eventually(lambda: api("GET", DELIVERY, project=sender.channel), "the dead letter")
    told = [api("POST", f"{DELIVERY}drop/", {"numbers": [letter["number"]]}, project=sender.channel) for _ in range(2)]
    assert [(one.get("dropped", 0), one["gone"]) for one in told] == [(1, 0), (0, 1)]
    totals = account(settled(sender.system), sender.channel)
    assert (totals["dropped"], totals["dead"], totals["difference"]) == (1, 0, 0)
