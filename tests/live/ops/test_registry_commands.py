"""Commands on organisations, channels and keys as an operator types them: checked first, and nothing half done."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest

from tests.commands import commands
from tests.polling import eventually
from tests.system import System
from tests.traffic import Sender

pytestmark = pytest.mark.live


@pytest.fixture
def organisation(operated: System) -> str:
    """An organisation of this test's own, with one channel."""
    slug = f"acme{uuid.uuid4().hex[:8]}"
    operated.cli("channels", "create", "--organisation", slug, "--new-organisation", "--name", "web")
    return slug


def entries(system: System) -> list[str]:
    """Every entry of the registry."""
    exported = system.cli("registry", "export", "-").stdout.splitlines()[1:]
    return sorted(line for line in exported if '"cluster.' not in line)


def refused(system: System, *command: str, code: int = 1) -> str:
    """The error of a command that must fail and change nothing."""
    before = entries(system)
    done = system.cli(*command, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert entries(system) == before
    return done.stderr


def listed(system: System, *command: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(system.cli(*command, "--json").stdout)
    return found


def channel_of(system: System, organisation: str) -> int:
    return int(listed(system, "channels", "list", "--organisation", organisation)[0]["id"])


def test_a_misspelt_organisation_gets_nothing(operated: System, organisation: str) -> None:
    """No environment, key, quota or name is stored for it; the error names what exists, and the nearest."""
    wrong = f"{organisation}e"
    for command in (
        ("keys", "mint", "--environment", "production", "--channel", "2", "--organisation", wrong),
        ("keys", "mint", "--environment", "production", "--organisation", wrong),
        ("environments", "create", "staging", "--organisation", wrong),
        ("organisations", "limit", wrong, "--quota", "5/min"),
        ("organisations", "rename", wrong, "Acme"),
        ("organisations", "note", wrong, "Ann"),
        ("channels", "list", "--organisation", wrong),
        ("keys", "list", "--organisation", wrong),
        ("environments", "list", "--organisation", wrong),
    ):
        error = refused(operated, *command)
        assert f"did you mean {organisation}?" in error, command


def test_a_wrong_channel_makes_no_environment(operated: System, organisation: str) -> None:
    """Everything is checked before the first write; a channel of another organisation is a wrong one too."""
    mine = ("--environment", "brand-new", "--organisation", organisation)
    for number in ("1", "4711"):
        error = refused(operated, "keys", "mint", "--channel", number, *mine)
        assert f"channels of {organisation}: {channel_of(operated, organisation)}" in error
    for command in (("rename", "4711", "x"), ("note", "4711", "x"), ("archive", "4711"), ("unarchive", "4711")):
        assert "found no channel 4711; channels: " in refused(operated, "channels", *command)


def test_two_channels_of_one_name_are_refused(operated: System, organisation: str) -> None:
    """In one organisation, whatever the case; also by renaming."""
    mine = ("--organisation", organisation)
    assert "is called 'web' already" in refused(operated, "channels", "create", "--name", "Web", *mine)
    other = json.loads(operated.cli("channels", "create", "--name", "shop", "--json", *mine).stdout)["id"]
    assert "is called 'web' already" in refused(operated, "channels", "rename", str(other), "WEB")
    operated.cli("channels", "rename", str(other), "Shop")
    assert [one["name"] for one in listed(operated, "channels", "list", *mine)] == ["web", "Shop"]


def test_an_organisation_that_a_command_creates_is_said(operated: System, organisation: str) -> None:
    """A name that does not exist is refused, with the one that was perhaps meant; the flag creates it."""
    fresh = ("channels", "create", "--environment", "production", "--organisation", f"x{uuid.uuid4().hex}")
    assert "--new-organisation" in refused(operated, *fresh)
    wrong = ("channels", "create", "--organisation", f"{organisation}s")
    assert f"did you mean {organisation}?" in refused(operated, *wrong)
    assert "found" in refused(operated, "channels", "list", "--organisation", f"{organisation}s")
    done = operated.cli(*wrong, "--new-organisation")
    assert f"organisation {organisation}s is new" in done.stderr
    assert f"did you mean {organisation}?" in done.stderr
    assert "exists already" in refused(operated, "organisations", "create", organisation)


def test_a_leaked_key_is_revoked_by_whatever_is_known_of_it(operated: System, organisation: str) -> None:
    """Its id, itself, or its whole DSN; nobody needs to know the organisation."""
    mine = ("--environment", "production", "--organisation", organisation, "--json")
    for form in ("{id}", "{key}", "https://{key}@in.example.com/7", "https://{key}:secret@in.example.com/x/7"):
        made = json.loads(operated.cli("keys", "mint", *mine).stdout)
        done = operated.cli("keys", "revoke", form.format(**made))
        assert done.stdout == f"key {made['id']} of {organisation} revoked\n"
    again = operated.cli("keys", "revoke", made["id"]).stdout
    assert again == f"key {made['id']} of {organisation} was revoked before: nothing was changed\n"
    states = {one["revoked"] for one in listed(operated, "keys", "list", "--organisation", organisation)}
    assert states == {True}


def test_an_unknown_key_is_not_repeated(operated: System, organisation: str) -> None:
    """A mistyped key is still nearly a key. A key of another organisation than the named one stays."""
    for wrong in ("ak_0123456789abcdef0123456789abcdef", "https://ak_0123456789abcdef0123456789abcdef@h/1", "nonsense"):
        error = refused(operated, "keys", "revoke", wrong)
        assert "keys list --all" in error
        assert "0123456789" not in error
    made = json.loads(
        operated.cli("keys", "mint", "--environment", "production", "--organisation", organisation, "--json").stdout
    )
    error = refused(operated, "keys", "revoke", made["id"], "--organisation", "default")
    assert f"is of organisation {organisation}" in error


def test_names_notes_and_times_are_kept_and_listed(operated: System, organisation: str) -> None:
    """Of organisations, channels and keys, in tables and in JSON; `keys list --all` shows all organisations."""
    number = channel_of(operated, organisation)
    operated.cli("organisations", "rename", organisation, "Acme Ltd")
    operated.cli("organisations", "note", organisation, "Ann, since May")
    operated.cli("channels", "note", str(number), "the shop's pages")
    minted = ("--environment", "production", "--organisation", organisation, "--name", "first", "--note", "Bob")
    key = json.loads(operated.cli("keys", "mint", *minted, "--json").stdout)["id"]
    operated.cli("keys", "rename", key, "web servers")
    (mine,) = (one for one in listed(operated, "organisations", "list") if one["slug"] == organisation)
    assert (mine["name"], mine["note"], mine["channels"], mine["keys"]) == ("Acme Ltd", "Ann, since May", 1, 1)
    (channel,) = listed(operated, "channels", "list", "--organisation", organisation)
    assert channel["note"] == "the shop's pages"
    (found,) = (one for one in listed(operated, "keys", "list", "--all") if one["id"] == key)
    assert (found["name"], found["note"], found["organisation"]) == ("web servers", "Bob", organisation)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]+Z", one["created_at"]) for one in (mine, channel, found))
    table = operated.cli("keys", "list", "--all").stdout
    assert "web servers" in table
    cells = {cell.strip() for cell in operated.cli("organisations", "list").stdout.split("│")}
    assert {"Acme Ltd", "Ann, since May"} <= cells


def test_the_last_use_of_a_key_is_shown(operated: System, organisation: str) -> None:
    """Never, then the minute; "unknown" without ClickHouse, within a bounded time."""
    number = channel_of(operated, organisation)
    sender = Sender(operated, number)
    made = operated.cli("keys", "mint", "--environment", "production", "--organisation", organisation, "--json")
    sender.key = json.loads(made.stdout)["key"]
    of_mine = ("keys", "list", "--organisation", organisation)
    assert [one["last_used"] for one in listed(operated, *of_mine)] == ["never"]
    eventually(lambda: sender.event("hello") == 200, "the key to be known")
    used = eventually(
        lambda: [one["last_used"] for one in listed(operated, *of_mine) if one["last_used"] != "never"], "its use"
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ", used[0])
    away = operated.cli(*of_mine, AXONPUSH_CLICKHOUSE_URL="http://127.0.0.1:9")
    assert "unknown" in away.stdout


def test_an_archived_channel_refuses_and_keeps_its_rows(operated: System, organisation: str) -> None:
    """403 within a second, for keys that may send elsewhere as well; opened again it works as before."""
    number = channel_of(operated, organisation)
    sender = Sender(operated, number)
    made = operated.cli("keys", "mint", "--environment", "production", "--organisation", organisation, "--json")
    sender.key = json.loads(made.stdout)["key"]
    eventually(lambda: sender.event("before") == 200, "the key to be known")
    operated.rows("SELECT 1 FROM events WHERE channel_id = {channel:UInt64}", channel=number)
    operated.cli("channels", "archive", str(number))
    eventually(lambda: sender.event("closed") == 403, "the archive to be followed")
    assert "archived" in refused(
        operated,
        *("keys", "mint", "--environment", "production", "--channel", str(number), "--organisation", organisation),
    )
    stored = operated.query("SELECT count() AS n FROM events WHERE channel_id = {channel:UInt64}", channel=number)
    assert stored[0]["n"] >= 1
    (before,) = listed(operated, "channels", "list", "--organisation", organisation)
    operated.cli("channels", "archive", str(number))
    assert listed(operated, "channels", "list", "--organisation", organisation) == [before]
    operated.cli("channels", "unarchive", str(number))
    eventually(lambda: sender.event("open again") == 200, "the channel to be open")


def test_a_second_project_is_one_command(operated: System, organisation: str) -> None:
    """Channel, key, DSN and OpenTelemetry settings; the key alone on stdout, and the settings work as they stand."""
    mine = ("--organisation", organisation, "--environment", "production", "--public", "--name", "shop")
    done = operated.cli("channels", "create", *mine)
    key = done.stdout.strip()
    assert re.fullmatch(r"pt_\w{32}", key)
    settings = dict(re.findall(r"^export (\w+)=(.+)$", done.stderr, re.MULTILINE))
    number = max(int(one["id"]) for one in listed(operated, "channels", "list", "--organisation", organisation))
    host = operated.ready["url"].removeprefix("http://")
    assert settings["SENTRY_DSN"] == f"http://{key}@{host}/{number}"
    assert settings["OTEL_EXPORTER_OTLP_ENDPOINT"] == operated.ready["url"]
    assert settings["OTEL_EXPORTER_OTLP_HEADERS"] == f"x-api-key={key},x-axonpush-channel={number}"
    sender = Sender(operated, number)
    sender.key = key
    eventually(lambda: sender.event("hello") == 200, "the DSN to work")


def test_the_public_address_is_kept_and_may_be_named(operated: System, organisation: str) -> None:
    """`cluster set --public-url` for always, `--public-url` for once; a path prefix stays before the channel."""
    mint = ("keys", "mint", "--environment", "production", "--organisation", organisation, "--json")
    operated.cli("cluster", "set", "--public-url", "https://in.example.com/up/")
    try:
        kept = json.loads(operated.cli(*mint).stdout)
        assert kept["dsn"] == f"https://{kept['key']}@in.example.com/up/{channel_of(operated, organisation)}"
        assert kept["otlp_endpoint"] == "https://in.example.com/up"
        once = json.loads(operated.cli(*mint, "--public-url", "https://other.example").stdout)
        assert once["dsn"].startswith(f"https://{once['key']}@other.example/")
    finally:
        operated.cli("cluster", "set", "--public-url", "")
    assert operated.cli("cluster", "set", "--public-url", "https://k@h", check=False).returncode == 2


def test_the_registry_file_carries_all_of_it(operated: System, organisation: str) -> None:
    """Names, notes, archived channels and the desired state; what a second import finds is unchanged."""
    number = channel_of(operated, organisation)
    operated.cli("channels", "note", str(number), "Ann")
    operated.cli("channels", "archive", str(number))
    lines = [json.loads(line) for line in operated.cli("registry", "export", "-").stdout.splitlines()]
    found = {line["name"]: line["value"] for line in lines[1:]}
    assert found[f"channel.{number}"]["note"] == "Ann"
    assert found[f"channel.{number}"]["archived_at"]
    assert found["cluster.desired"]["nats_replicas"] == 1


def test_a_named_folder_without_a_system_is_an_error(operated: System) -> None:
    """`status --data-dir /nonexistent` showed the system of the environment, or the one on the usual port."""
    for folder in ("/nonexistent", str(operated.data_dir / "logs")):
        for arguments in (("status",), ("keys", "list"), ("sql", "SELECT 1"), ("migrate",), ("janitor", "--once")):
            done = commands.run([*arguments, "--data-dir", folder], operated.environment, 60)
            assert done.returncode == 1, arguments
            assert "--data-dir" in done.stderr
            assert folder in done.stderr


def test_two_systems_in_one_shell_give_no_false_answer(operated: System) -> None:
    """A key that is used was said to be used never, and no request to be refused."""
    operated.mint()
    other = {"AXONPUSH_CLICKHOUSE_DATABASE": f"other{uuid.uuid4().hex[:8]}"}
    found = operated.cli("keys", "list", "--json", **other)
    assert {one["last_used"] for one in json.loads(found.stdout)} == {None}
    assert "this shell names two systems" in found.stderr
    for command in (("refusals",), ("dead", "list")):
        done = operated.cli(*command, check=False, **other)
        assert done.returncode == 1, command
        assert "belongs to system" in done.stderr
