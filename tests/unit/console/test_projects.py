"""Slugs of projects, and organisations, projects and keys as the Web API shows them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.identifiers import is_project_slug, project_slug_of
from schemas.registry import Channel, Environment, Key, Organisation
from tests.unit.console.fakes import TOKEN, URL, FakeClickHouse, client, directory_of, services, token


@pytest.mark.parametrize("text", ["web", "web-shop", "a", "7web", "a_b", "channel-x", "x" * 50])
def test_a_slug(text: str) -> None:
    """Lower case, digits, `-` and `_`."""
    assert is_project_slug(text)
    assert Channel(id=1, organisation="acme", slug=text).project_slug == text


@pytest.mark.parametrize("text", ["", "7", "channel-7", "Web", "-a", "a.b", "a b", "a/b", "é", "x" * 51, "web\n"])
def test_no_slug(text: str) -> None:
    """A number is an id, `channel-7` is the slug of channel 7, everything else would need escaping in a path."""
    assert not is_project_slug(text)
    if text:
        with pytest.raises(ValidationError):
            Channel(id=1, organisation="acme", slug=text)


@pytest.mark.parametrize(
    ("name", "slug"),
    [("Web shop", "web-shop"), ("  Web -- Shop! ", "web-shop"), ("Ünï", "n"), ("42", ""), ("Channel 7", ""), ("", "")],
)
def test_a_name_gives_a_slug(name: str, slug: str) -> None:
    """Or none, and then the number does."""
    assert project_slug_of(name) == slug


def test_a_project_is_found_by_slug_and_by_number() -> None:
    """Of its organisation only."""
    known = directory_of(
        Channel(id=7, organisation="acme"),
        Channel(id=8, organisation="acme", slug="web"),
        Channel(id=9, organisation="others", slug="web"),
    )
    found = {text: known.project("acme", text) for text in ("7", "channel-7", "web", "8", "9", "channel-8", "")}
    assert {text: channel.id if channel else None for text, channel in found.items()} == {
        "7": 7,
        "channel-7": 7,
        "web": 8,
        "8": 8,
        "9": None,
        "channel-8": None,
        "": None,
    }


def entry_of_key(digit: str, **changed: Any) -> Key:
    fields: dict[str, Any] = {"organisation": "acme", "environment": "production", "kind": "public"}
    return Key(sha256=digit * 64, **fields | changed)


@pytest.mark.asyncio
async def test_the_keys_of_a_project() -> None:
    """Those that may send to it, oldest first; a placeholder with the id stands for the text that nobody has."""
    known = directory_of(
        Channel(id=1, organisation="acme", slug="web"),
        token(TOKEN),
        entry_of_key("b", created_at="2026-02-01T00:00:00Z", name="shop", kind="secret", revoked=True),
        entry_of_key("c", created_at="2026-01-01T00:00:00Z", channels=(1, 2)),
        entry_of_key("d", channels=(2,)),
        entry_of_key("e", organisation="others"),
    )
    made = services(FakeClickHouse(), known, console_ingest_url="https://in.example:8443/base")
    async with client(made) as asking:
        first, second = (await asking.get("/api/0/projects/acme/web/keys/")).json()
    placeholder = f"pt_KEY_{'c' * 16}"
    assert first == {
        "id": "c" * 16,
        "name": f"public key {'c' * 16}",
        "label": f"public key {'c' * 16}",
        "public": placeholder,
        "secret": "",
        "projectId": 1,
        "isActive": True,
        "rateLimit": None,
        "dsn": {"public": f"https://{placeholder}@in.example:8443/base/1", "secret": ""},
        "dateCreated": "2026-01-01T00:00:00Z",
        "kind": "public",
        "environment": "production",
        "projects": 2,
        "origins": [],
        "lastUsed": None,
    }
    assert (second["label"], second["isActive"], second["public"]) == ("shop", False, f"ak_KEY_{'b' * 16}")


@pytest.mark.asyncio
async def test_keys_name_the_console_where_no_other_address_is_set() -> None:
    """And 1970 where the time of creation is not known."""
    known = directory_of(Channel(id=1, organisation="acme", slug="web"), token(TOKEN), entry_of_key("a"))
    async with client(services(FakeClickHouse(), known)) as asking:
        (key,) = (await asking.get("/api/0/projects/acme/web/keys/")).json()
        (project,) = (await asking.get("/api/0/projects/")).json()
    assert key["dsn"]["public"] == f"http://pt_KEY_{'a' * 16}@console.test/1"
    assert (key["dateCreated"], project["dateCreated"]) == ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z")


@pytest.mark.asyncio
async def test_an_organisation_and_its_projects() -> None:
    """With names where there are some; the organisation of a project is named where it is asked for."""
    known = directory_of(
        Organisation(slug="acme", name="Acme & Sons", created_at="2026-03-01T00:00:00Z"),
        Channel(id=1, organisation="acme", slug="web", name="Web shop", created_at="2026-03-02T00:00:00Z"),
        Channel(id=2, organisation="acme", archived_at="2026-03-03T00:00:00Z"),
        Channel(id=3, organisation="others"),
        token(TOKEN),
    )
    async with client(services(FakeClickHouse(), known)) as asking:
        whole = (await asking.get("/api/0/organizations/acme/")).json()
        listed = (await asking.get("/api/0/organizations/acme/projects/")).json()
        one = (await asking.get("/api/0/projects/acme/2/")).json()
    assert (whole["id"], whole["slug"], whole["name"]) == ("acme", "acme", "Acme & Sons")
    assert (whole["dateCreated"], whole["links"]["organizationUrl"]) == ("2026-03-01T00:00:00Z", URL)
    assert whole["links"]["regionUrl"] == "", "sentry-mcp refuses a region without https"
    team = {"id": "acme", "slug": "acme", "name": "acme", "isMember": True, "memberCount": 0}
    assert whole["teams"] == [team]
    shown = [(row["id"], row["slug"], row["name"], row["status"], row["team"]) for row in whole["projects"]]
    web, second = ("1", "web", "Web shop", "active", team), ("2", "channel-2", "channel-2", "disabled", team)
    assert shown == [web, second]
    assert all("organization" not in row for row in whole["projects"])
    assert {row["organization"]["slug"] for row in (*listed, one)} == {"acme"}
    assert (one["id"], one["options"], one["latestRelease"]) == ("2", {}, None)


@pytest.mark.parametrize(("url", "region"), [("https://a.example", "https://a.example"), ("http://a.example", "")])
@pytest.mark.asyncio
async def test_a_region_is_named_only_with_https(url: str, region: str) -> None:
    """Clients that find none take the address that they were given."""
    made = services(FakeClickHouse())
    made.url = url
    async with client(made) as asking:
        (organisation,) = (await asking.get("/api/0/organizations/")).json()
    assert organisation["links"] == {"organizationUrl": url, "regionUrl": region}


@pytest.mark.parametrize(
    ("query", "slugs", "has_more"),
    [
        ("", ["web", "channel-2"], "false"),
        ("per_page=2", ["web", "channel-2"], "false"),
        ("per_page=1", ["web"], "true"),
        ("per_page=1&cursor=0:1:0", ["channel-2"], "false"),
        ("query=SHOP", ["web"], "false"),
        ("query=channel-", ["channel-2"], "false"),
        ("query=nothing", [], "false"),
    ],
)
@pytest.mark.asyncio
async def test_pages_of_projects(query: str, slugs: list[str], has_more: str) -> None:
    """A page that is just full is the last one if nothing follows."""
    async with client(services(FakeClickHouse())) as asking:
        answer = await asking.get(f"/api/0/projects/?{query}")
    assert [project["slug"] for project in answer.json()] == slugs
    assert f'rel="next"; results="{has_more}"' in answer.headers["link"]


@pytest.mark.asyncio
async def test_organisations_are_found_by_slug_or_name() -> None:
    """The token's one, or none."""
    known = directory_of(Organisation(slug="acme", name="Sons"), token(TOKEN))
    async with client(services(FakeClickHouse(), known)) as asking:
        found = {
            text: [row["slug"] for row in (await asking.get(f"/api/0/organizations/?query={text}")).json()]
            for text in ("", "acm", "SONS", "others")
        }
    assert found == {"": ["acme"], "acm": ["acme"], "SONS": ["acme"], "others": []}


@pytest.mark.asyncio
async def test_environments_and_teams() -> None:
    """The organisation's own, by name; one team, the organisation itself; lists of what is not here are empty."""
    known = directory_of(
        Environment(organisation="acme", slug="staging"),
        Environment(organisation="acme", slug="production"),
        Environment(organisation="others", slug="secret"),
        Channel(id=1, organisation="acme", slug="web"),
        token(TOKEN),
    )
    async with client(services(FakeClickHouse(), known)) as asking:
        of_project = (await asking.get("/api/0/projects/acme/web/environments/")).json()
        teams = (await asking.get("/api/0/organizations/acme/teams/")).json()
        members = (await asking.get("/api/0/organizations/acme/members/")).json()
    assert of_project == [
        {"id": "production", "name": "production", "isHidden": False},
        {"id": "staging", "name": "staging", "isHidden": False},
    ]
    assert ([team["slug"] for team in teams], members) == (["acme"], [])


@pytest.mark.asyncio
async def test_every_member_of_an_organisation_and_a_project() -> None:
    """Tools look for members by name and stop where one is missing or has another value."""
    known = directory_of(
        Organisation(slug="acme", created_at="2026-03-01T00:00:00Z"),
        Channel(id=1, organisation="acme", slug="web", created_at="2026-03-02T00:00:00Z"),
        Environment(organisation="acme", slug="production"),
        token(TOKEN),
    )
    async with client(services(FakeClickHouse(), known)) as asking:

        async def get(path: str) -> Any:
            return (await asking.get(f"/api/0/{path}/")).json()

        (organisation,) = await get("organizations")
        (project,) = await get("organizations/acme/projects")
        teams = [await get("organizations/acme/teams"), await get("projects/acme/web/teams")]
        environments = [await get("organizations/acme/environments"), await get("projects/acme/web/environments")]
        nothing = [await get("organizations/acme/repos"), await get("organizations/acme/members")]
    access = organisation.pop("access")
    assert organisation == {
        **{"id": "acme", "slug": "acme", "name": "acme", "status": {"id": "active", "name": "active"}},
        **{"dateCreated": "2026-03-01T00:00:00Z", "isEarlyAdopter": False, "requireEmailVerification": False},
        **{"require2FA": False, "avatar": {"avatarType": "letter_avatar", "avatarUuid": None}, "features": []},
        "links": {"organizationUrl": URL, "regionUrl": ""},
    }
    assert access == sorted(access)
    assert {"org:read", "project:write"} <= set(access)
    team = {"id": "acme", "slug": "acme", "name": "acme", "isMember": True, "memberCount": 0}
    assert project == {
        **{"id": "1", "slug": "web", "name": "web", "platform": None, "status": "active", "firstEvent": None},
        **{"dateCreated": "2026-03-02T00:00:00Z", "isBookmarked": False, "isMember": True, "hasAccess": True},
        **{"isPublic": False, "features": [], "teams": [team], "team": team},
        "organization": {"id": "acme", "slug": "acme", "name": "acme"},
    }
    assert teams == [[team], [team]]
    assert environments == [[{"id": "production", "name": "production", "isHidden": False}]] * 2
    assert nothing == [[], []]


@pytest.mark.asyncio
async def test_how_to_upload() -> None:
    """All that command lines ask before they send the first chunk."""
    async with client(services(FakeClickHouse())) as asking:
        told = (await asking.get("/api/0/organizations/acme/chunk-upload/")).json()
    accepted = told.pop("accept")
    assert {"debug_files", "release_files", "artifact_bundles", "artifact_bundles_v2", "proguard"} <= set(accepted)
    sizes = {name: told.pop(name) for name in ("chunkSize", "chunksPerRequest", "maxRequestSize", "maxFileSize")}
    assert sizes["chunkSize"] <= sizes["maxRequestSize"] <= sizes["maxFileSize"]
    assert sizes["chunkSize"] & (sizes["chunkSize"] - 1) == 0, "command lines refuse what is no power of two"
    assert told == {
        "url": f"{URL}/api/0/organizations/acme/chunk-upload/",
        **{"concurrency": 4, "hashAlgorithm": "sha1", "compression": ["gzip"]},
    }
