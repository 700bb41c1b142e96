"""The Web API of a running system: real errors in, issues and releases out, equal to what SQL says."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.live.conftest import MakeSender
from tests.live.console.web_api import Api, send_error
from tests.polling import eventually
from tests.system import System
from tests.traffic import Sender, settled

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def api(operated: System) -> Api:
    """With the token that `up` made."""
    return Api(operated)


def only_issue(api: Api, sender: Sender, query: str = "") -> dict[str, Any]:
    (issue,) = api("GET", f"/projects/default/{sender.channel}/issues/", query=query)
    found: dict[str, Any] = issue
    return found


def counts(system: System, channel: int) -> dict[str, Any]:
    """What SQL over `events` says about the errors of a channel."""
    (row,) = system.query(
        "SELECT count() AS times, uniqExactIf(user_id, user_id != '') AS users, toString(min(timestamp)) AS first, "
        "toString(max(timestamp)) AS last FROM events WHERE channel_id = {channel:UInt64} AND is_error",
        channel=channel,
    )
    return row


@pytest.mark.long
def test_counts_equal_sql_after_a_replay(api: Api, operated: System, sender: Sender) -> None:
    """Times, users, first and last seen; replayed errors are the same errors, sent twice or not."""
    for user in ("ada", "bob", "ada"):
        send_error(sender, "PaymentRefused", user=user, release="web@1")
    before = only_issue(api, sender)
    assert (before["count"], before["userCount"], before["status"]) == ("3", 2, "unresolved")
    settled(operated)
    operated.cli("replay", "--since", "1h", "--channel", str(sender.channel))
    settled(operated)
    after, said = only_issue(api, sender), counts(operated, sender.channel)
    assert after == before
    assert (int(after["count"]), after["userCount"]) == (said["times"], said["users"])
    for shown, name in (("firstSeen", "first"), ("lastSeen", "last")):
        assert after[shown][:-1].replace("T", " ") == said[name][:26]
    stored = "SELECT uniqExact(version) AS versions FROM error_rows WHERE channel_id = {channel:UInt64}"
    assert operated.query(stored, channel=sender.channel)[0]["versions"] >= 3


def test_resolved_until_it_happens_again(api: Api, sender: Sender) -> None:
    """Resolve, archive, reopen, by number and short id; an error afterwards reopens it, and the activity says so."""
    send_error(sender, "KeyError")
    issue = only_issue(api, sender, "is:unresolved")
    one = f"/organizations/default/issues/{issue['id']}/"
    assert api("PUT", one, {"status": "resolved"})["status"] == "resolved"
    assert api("GET", f"/projects/default/{sender.channel}/issues/") == []
    by_short_id = api("GET", f"/organizations/default/shortids/{issue['shortId']}/")
    assert (by_short_id["groupId"], by_short_id["group"]["status"]) == (issue["id"], "resolved")
    send_error(sender, "KeyError")
    again = api("GET", f"/organizations/default/issues/{issue['shortId']}/")
    assert (again["status"], again["substatus"], again["count"]) == ("unresolved", "regressed", "2")
    assert [entry["type"] for entry in again["activity"]] == ["set_regression", "set_resolved", "first_seen"]
    assert again["activity"][1]["user"]["name"] == "made by axonpush up"
    api("PUT", f"/projects/default/{sender.channel}/issues/", {"status": "ignored"}, id=issue["id"])
    send_error(sender, "KeyError")
    assert only_issue(api, sender, "is:archived")["status"] == "ignored"
    api("PUT", one, {"status": "unresolved"})
    assert only_issue(api, sender, "is:unresolved")["count"] == "3"


def test_resolved_in_a_release(api: Api, sender: Sender) -> None:
    """Older releases may still fail; the release itself, or a newer one, reopens the issue."""
    old, new = (f"shop@{uuid.uuid4().hex}" for _ in range(2))
    send_error(sender, "OSError", release=old)
    api("POST", "/organizations/default/releases/", {"version": new, "projects": [str(sender.channel)]})
    issue = only_issue(api, sender)
    one = f"/organizations/default/issues/{issue['id']}/"
    changed = api("PUT", one, {"status": "resolved", "statusDetails": {"inRelease": new}})
    assert changed["statusDetails"] == {"inRelease": new}
    send_error(sender, "OSError", release=old)
    send_error(sender, "OSError")
    assert api("GET", one)["status"] == "resolved"
    send_error(sender, "OSError", release=new)
    assert api("GET", one)["substatus"] == "regressed"
    api("PUT", one, {"status": "resolved", "statusDetails": {"inNextRelease": True}})
    send_error(sender, "OSError", release=new)
    assert api("GET", one)["statusDetails"] == {"inNextRelease": True}
    send_error(sender, "OSError", release=f"shop@{uuid.uuid4().hex}")
    assert api("GET", one)["status"] == "unresolved"


def test_searches_find_what_they_say(api: Api, sender: Sender) -> None:
    """Fields of errors, tags, attributes, texts, times; OpenTelemetry's exceptions are issues too."""
    send_error(sender, "ValueError", user="ada", level="fatal", release="a@1", tags={"till": "seven"})
    send_error(sender, "TypeError", release="a@2", environment="production")
    exception = {"exception.type": "IOError", "exception.message": "disk is full"}
    attributes = [{"key": name, "value": {"stringValue": text}} for name, text in exception.items()]
    event = {"name": "exception", "timeUnixNano": f"{sender.began_s}000000000", "attributes": attributes}
    assert sender.spans({"spanId": uuid.uuid4().hex[:16], "events": [event]}) == 200
    sender.system.rows("SELECT 1 FROM error_rows WHERE channel_id = {channel:UInt64}", 3, channel=sender.channel)

    def titles(query: str, **more: str) -> list[str]:
        found = api("GET", f"/projects/default/{sender.channel}/issues/", query=query, sort="new", **more)
        return sorted(issue["title"].partition(":")[0] for issue in found)

    expected = {
        "level:fatal": ["ValueError"],
        "!level:fatal": ["IOError", "TypeError"],
        "release:a@*": ["TypeError", "ValueError"],
        "till:seven": ["ValueError"],
        "has:till": ["ValueError"],
        "user.id:ada": ["ValueError"],
        "user:id:ada is:unresolved": ["ValueError"],
        "error.type:[TypeError, IOError]": ["IOError", "TypeError"],
        "disk is full": ["IOError"],
        "title:*type*": ["TypeError"],
        "level:fatal OR release:a@2": ["TypeError", "ValueError"],
        "timesSeen:>1": [],
        "firstSeen:-1h": ["IOError", "TypeError", "ValueError"],
        f"project:{sender.channel}": ["IOError", "TypeError", "ValueError"],
        "it's \\ (nothing OR here)": [],
    }
    assert {query: titles(query) for query in expected} == expected
    assert titles("", statsPeriod="1h", environment="production") == ["TypeError"]
    assert titles("", start="2020-01-01", end="2020-01-02") == []


def test_events_of_an_issue(api: Api, sender: Sender) -> None:
    """The newest first, each with its neighbours; frames, tags and user as they were sent; pages by the Link header."""
    ids = [send_error(sender, "LookupError", user="ada", tags={"n": str(number)}) for number in range(3)]
    issue = only_issue(api, sender)
    events = f"/organizations/default/issues/{issue['id']}/events/"
    assert [event["eventID"] for event in api("GET", events)] == ids[::-1]
    assert [event["eventID"] for event in api("GET", events, limit="1", cursor="0:1:0")] == [ids[1]]
    middle = api("GET", f"{events}{ids[1]}/")
    assert (middle["previousEventID"], middle["nextEventID"]) == (ids[0], ids[2])
    assert api("GET", f"{events}latest/")["eventID"] == ids[2]
    assert api("GET", f"{events}oldest/")["previousEventID"] is None
    (exception,) = middle["entries"][0]["data"]["values"]
    assert exception["stacktrace"]["frames"][0]["lineNo"] == 7
    assert {"key": "n", "value": "1"} in middle["tags"]
    assert middle["user"]["id"] == "ada"
    of_project = f"/projects/default/{sender.channel}/events/"
    assert [event["eventID"] for event in api("GET", of_project)] == ids[::-1]
    assert api("GET", f"{of_project}{ids[0]}/json/")["tags"] == {"n": "0"}
    assert api.answer("GET", f"{of_project}{uuid.uuid4().hex}/")[0] == 404


def test_a_release_from_a_pipeline(api: Api, operated: System, sender: Sender) -> None:
    """Created, described, deployed, finalised; its errors and sessions beside it, in the API and in SQL."""
    release, channel = f"shop@{uuid.uuid4().hex}", str(sender.channel)
    commits = [{"id": "a" * 40, "repository": "acme/shop", "message": "Pays", "author_name": "Ada"}]
    eventually(lambda: api.answer("GET", f"/projects/default/{channel}/")[0] == 200, "the console to know the channel")
    made = api("POST", "/organizations/default/releases/", {"version": release, "projects": [channel]})
    assert (made["version"], [one["id"] for one in made["projects"]]) == (release, [sender.channel])
    one = f"/organizations/default/releases/{release}/"
    api("PUT", one, {"commits": commits, "dateReleased": "2026-11-27T10:00:00Z"})
    deploy = api("POST", f"{one}deploys/", {"environment": "production"})
    send_error(sender, "PaymentRefused", user="ada", release=release)
    for status, user in (("ok", "ada"), ("crashed", "bob"), ("exited", "cid"), ("exited", "ada")):
        session = {"sid": uuid.uuid4().hex, "did": user, "init": True, "status": status, "attrs": {"release": release}}
        times = {"started": "2026-11-27T10:00:00Z", "timestamp": "2026-11-27T10:01:00Z"}
        assert sender.envelope(b'{}\n{"type":"session"}\n' + json.dumps(session | times).encode() + b"\n") == 200
    operated.rows("SELECT 1 FROM events WHERE release = {release:String} AND item_type = 'session'", 4, release=release)
    found = api("GET", one)
    assert (found["newGroups"], found["eventCount"], found["commitCount"]) == (1, 1, 1)
    assert (found["lastDeploy"]["id"], found["dateReleased"]) == (deploy["id"], "2026-11-27T10:00:00.000000Z")
    health = found["projects"][0]["healthData"]
    assert (health["totalSessions"], health["crashFreeSessions"]) == (4, 75.0)
    assert (health["totalUsers"], health["crashFreeUsers"]) == (3, 66.6667)
    assert api("GET", f"{one}commits/")[0]["author"]["name"] == "Ada"
    (row,) = operated.query("SELECT * FROM releases WHERE version = {release:String}", release=release)
    assert (row["errors"], row["crash_free_sessions"], row["channels"]) == (1, 0.75, [sender.channel])
    follower = f"{release}.2"
    api("POST", f"/projects/default/{channel}/releases/", {"version": follower})
    before = api("GET", f"/organizations/default/releases/{follower}/previous-with-commits/")
    assert before["version"] == release
    assert [one["version"] for one in api("GET", f"/projects/default/{channel}/releases/")] == [follower, release]
    api("PUT", one, {"status": "archived"})
    assert api("GET", one)["status"] == "archived"
    assert api.answer("DELETE", one)[0] == 204
    assert api.answer("GET", one)[0] == 404


def test_a_release_of_two_projects_counts_each_by_itself(api: Api, sender: Sender, new_sender: MakeSender) -> None:
    """New issues and sessions in `projects`; beside them those of both."""
    release, other = f"mono@{uuid.uuid4().hex}", new_sender()
    for one, kinds, statuses in ((sender, ("A", "B"), ("crashed", "exited")), (other, ("C",), ("exited",))):
        for status in statuses:
            session = {"sid": uuid.uuid4().hex, "did": status, "status": status, "attrs": {"release": release}}
            times = {"started": "2026-11-27T10:00:00Z", "timestamp": "2026-11-27T10:01:00Z"}
            assert one.envelope(b'{}\n{"type":"session"}\n' + json.dumps(session | times).encode() + b"\n") == 200
        for kind in kinds:
            send_error(one, kind, release=release)
    stored = "SELECT 1 FROM events WHERE release = {release:String} AND item_type = 'session'"
    sender.system.rows(stored, 3, release=release)
    found = api("GET", f"/organizations/default/releases/{release}/")
    numbers = {
        one["id"]: (one["newGroups"], one["healthData"]["totalSessions"], one["healthData"]["crashFreeSessions"])
        for one in found["projects"]
    }
    assert numbers == {sender.channel: (2, 2, 50.0), other.channel: (1, 1, 100.0)}
    assert found["newGroups"] == 3


def test_a_channel_is_a_project_by_slug_and_number(api: Api, operated: System) -> None:
    """Made, renamed and carried by export; the console knows within a second."""
    name = uuid.uuid4().hex[:8]
    made = operated.cli("channels", "create", "--slug", f"web-{name}", "--name", f"Web shop {name}", "--json")
    number = json.loads(made.stdout)["id"]

    def shown(slug: str) -> Callable[[], Any]:
        def ask() -> Any:
            status, document = api.answer("GET", f"/projects/default/{slug}/")
            return document if status == 200 else None

        return ask

    assert eventually(shown(f"web-{name}"), "the project")["id"] == str(number)
    assert api("GET", f"/projects/default/{number}/")["name"] == f"Web shop {name}"
    assert operated.cli("channels", "create", "--slug", f"web-{name}", check=False).returncode == 1
    assert operated.cli("channels", "create", "--slug", "77", check=False).returncode == 2
    operated.cli("channels", "rename", str(number), f"Shop {name}", "--slug", f"shop-{name}")
    assert eventually(shown(f"shop-{name}"), "the new slug")["name"] == f"Shop {name}"
    assert f'"slug": "shop-{name}"' in operated.cli("registry", "export", "-").stdout
    assert f"shop-{name}" in [one["slug"] for one in api("GET", "/organizations/default/projects/", query=name)]


def test_a_console_writes_its_own_tables_only(operated: System) -> None:
    """In the embedded engine: it reads what a reader reads, and inserts what people said, as data."""
    password = operated.ready["clickhouse_users"]["axonpush_console"]
    place = urllib.parse.urlsplit(operated.operator_url())
    address = place._replace(netloc=f"{place.hostname}:{place.port}", query="database=axonpush").geturl()

    def code(sql: str) -> str:
        headers = {"X-ClickHouse-User": "axonpush_console", "X-ClickHouse-Key": password}
        try:
            with urllib.request.urlopen(urllib.request.Request(address, sql.encode(), headers), timeout=60):
                return ""
        except urllib.error.HTTPError as error:
            with error:
                return str(error.headers["X-ClickHouse-Exception-Code"])

    row = '{"organisation":"none","channel_id":1,"issue_id":1,"changed_at":"2026-01-01 00:00:00","status":"resolved"}'
    assert code("SELECT count() FROM events") == ""
    assert code(f"INSERT INTO issue_changes FORMAT JSONEachRow {row}") == ""
    for refused in (
        "INSERT INTO event_rows (organisation) VALUES ('x')",
        "INSERT INTO error_rows (organisation) VALUES ('x')",
        "INSERT INTO issue_changes (organisation) SELECT 'x'",
        "CREATE TABLE t (a Int8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE t (a Int8)",
        "DROP TABLE issue_changes",
        "ALTER TABLE issue_changes DELETE WHERE 1",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    ):
        assert code(refused) == "497", refused


def test_a_token_is_followed_within_a_second_and_stored_as_a_hash(operated: System) -> None:
    """Minted, used, listed without its text, revoked; another organisation's token sees nothing of ours."""
    made = json.loads(operated.cli("tokens", "mint", "--scope", "org:read", "--name", "ci", "--json").stdout)
    api = Api(operated, made["token"])
    assert eventually(lambda: api.answer("GET", "/organizations/")[0] == 200, "the token to be known")
    assert api.answer("GET", "/organizations/default/issues/")[0] == 403
    listed = operated.cli("tokens", "list", "--json").stdout
    assert made["id"] in listed
    assert made["token"] not in listed + operated.cli("registry", "export", "-").stdout
    operated.cli("tokens", "revoke", made["token"])
    assert eventually(lambda: api.answer("GET", "/organizations/")[0] == 401, "the token to be refused")
    operated.cli("organisations", "create", "others")
    foreign = json.loads(operated.cli("tokens", "mint", "--organisation", "others", "--json").stdout)["token"]
    theirs = Api(operated, foreign)
    assert eventually(lambda: theirs.answer("GET", "/organizations/")[0] == 200, "the other token")
    assert theirs("GET", "/organizations/others/issues/", query="") == []
    assert theirs.answer("GET", "/organizations/default/issues/")[0] == 404
    assert theirs.answer("GET", "/projects/default/1/")[0] == 404
    for name in ("console", "receiver"):
        assert made["token"] not in (operated.data_dir / "logs" / f"{name}.log").read_text()


def test_an_issue_is_assigned_and_its_tags_are_counted(api: Api, sender: Sender) -> None:
    """Searched by `assigned:`; a chart of the last day; values of a tag."""
    send_error(sender, "KeyError", user="ada", tags={"till": "seven"})
    issue = only_issue(api, sender)
    assert sum(count for _, count in issue["stats"]["24h"]) == 1
    one = f"/organizations/default/issues/{issue['id']}/"
    assert only_issue(api, sender, "is:unassigned")["assignedTo"] is None
    assert api("PUT", one, {"assignedTo": "ada@example.com"})["assignedTo"]["email"] == "ada@example.com"
    for query in ("is:assigned", "assigned:ada@example.com", "!is:unassigned", "!assigned:none"):
        assert only_issue(api, sender, query)["assignedTo"]["name"] == "ada@example.com", query
    assert api("GET", f"/projects/default/{sender.channel}/issues/", query="assigned:none") == []
    assert "assigned" in [entry["type"] for entry in api("GET", f"{one}activities/")["activity"]]
    values = api("GET", f"{one}tags/till/")
    assert (values["totalValues"], values["topValues"][0]["value"]) == (1, "seven")
    assert api("GET", f"{one}tags/user/")["topValues"][0]["value"] == "id:ada"
    assert {"till", "level", "environment", "user"} <= {tag["key"] for tag in api("GET", f"{one}tags/")}
    assert api("GET", f"{one}tags/till/values/") == values["topValues"]


def test_rules_are_kept(api: Api, sender: Sender) -> None:
    """In ClickHouse, where what evaluates them reads them."""
    actions = [{"id": "sentry.mail.actions.NotifyEmailAction"}]
    rules = f"/projects/default/{sender.channel}/rules/"
    made = api("POST", rules, {"name": "New", "conditions": [], "actions": actions})
    assert [rule["name"] for rule in api("GET", rules)] == ["New"]
    api("PUT", f"{rules}{made['id']}/", {"name": "Newer", "conditions": [], "actions": actions})
    named = {"rule": int(made["id"]), "channel": sender.channel}
    sql = "SELECT name, kind FROM alert_rules WHERE rule_id = {rule:UInt64} AND has(channels, {channel:UInt64})"
    assert sender.system.query(sql, **named) == [{"name": "Newer", "kind": "issue"}]
    assert api.answer("DELETE", f"{rules}{made['id']}/")[0] == 202
    assert sender.system.query(sql, **named) == []
