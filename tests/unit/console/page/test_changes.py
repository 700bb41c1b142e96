"""Keys and projects made on the page: the text of a key is in one answer and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from console.services import Services
from ops.runtime.registry.registry_log import RegistryEntryChange
from schemas.operator_requests.actions import CREATE_CHANNEL, CREATE_KEY, RENAME_CHANNEL, REVOKE_KEY
from schemas.operator_requests.messages import OperatorAnswer
from schemas.registry import Environment, Key, key_hash
from tests.unit.console.fakes import READ_ONLY, TOKEN, FakeClickHouse, client, registry_entries, services, token
from tests.unit.console.page.test_dead_letters import FakeOperator

pytestmark = pytest.mark.asyncio
ADMIN = "may-administer"
KEYS = "/api/0/projects/acme/web/keys/"
OWN_KEY = Key(sha256="a" * 64, organisation="acme", environment="production", kind="public", channels=(1,))
FOREIGN_KEY = Key(sha256="b" * 64, organisation="others", environment="production", kind="public", channels=(9,))


def made(operator: FakeOperator | None, *more: Key | Environment) -> Services:
    known = registry_entries()
    for number, entry in enumerate((token(ADMIN, scopes=("project:admin",)), OWN_KEY, FOREIGN_KEY, *more), 50):
        known.put(RegistryEntryChange(entry.kv_key, number, entry.model_dump_json().encode()))
    found = services(FakeClickHouse(), known, console_ingest_url="https://in.example")
    found.operator = operator
    return found


class Janitor(FakeOperator):
    """Makes the key or channel that it is asked for."""

    async def ask(self, body: bytes) -> bytes:
        await super().ask(body)
        given = self.asked[-1].given
        entry: dict[str, Any] = {"organisation": "acme", "created_at": "2026-11-27T12:00:00Z"}
        if self.asked[-1].action == CREATE_KEY:
            entry |= {"id": given["sha256"][:16], "environment": given["environment"], "kind": given["kind"]}
            entry |= {"name": given["name"], "channels": [given["channel"]] if given["channel"] else None}
        else:
            entry |= {"id": given.get("channel", 12), "name": given["name"], "slug": given["slug"] or "made"}
        return OperatorAnswer(200, result=entry).encoded()


@pytest.mark.parametrize(("kind", "prefix"), [("public", "pt_"), ("secret", "ak_"), (None, "pt_")])
async def test_only_the_hash_of_a_new_key_is_told(kind: str | None, prefix: str) -> None:
    """Its text is in the answer, with a DSN to copy."""
    janitor = Janitor()
    document = {"name": "shop", "environment": "production", **({"kind": kind} if kind else {})}
    async with client(made(janitor), ADMIN) as asking:
        answer = await asking.post(KEYS, json=document)
    told = answer.json()
    assert answer.status_code == 201
    assert told["text"].startswith(prefix)
    assert len(told["text"]) == 35
    assert told["dsn"]["public"] == f"https://{told['text']}@in.example/1"
    (request,) = janitor.asked
    assert request.given["sha256"] == key_hash(told["text"])
    assert told["text"].encode() not in request.encoded()
    assert request.given["channel"] == 1
    assert answer.headers["cache-control"] == "no-store"


async def test_two_keys_differ() -> None:
    """Each is new."""
    async with client(made(Janitor()), ADMIN) as asking:
        texts = {(await asking.post(KEYS, json={"name": "x"})).json()["text"] for _ in range(5)}
    assert len(texts) == 5


async def test_a_list_never_has_the_text() -> None:
    """A placeholder stands for it."""
    async with client(made(Janitor()), ADMIN) as asking:
        (listed,) = (await asking.get(KEYS)).json()
    assert listed["public"] == f"pt_KEY_{OWN_KEY.id}"
    assert (listed["kind"], listed["environment"], listed["projects"]) == ("public", "production", 1)


@pytest.mark.parametrize(
    ("environments", "expected"),
    [((), "production"), (("development",), "development"), (("development", "staging"), "production")],
)
async def test_tools_of_sentry_name_no_environment(environments: tuple[str, ...], expected: str) -> None:
    """`production`, or the only one."""
    janitor = Janitor()
    known = [Environment(organisation="acme", slug=slug) for slug in environments]
    async with client(made(janitor, *known), ADMIN) as asking:
        await asking.post(KEYS, json={"name": "Default"})
    assert janitor.asked[0].given["environment"] == expected


@pytest.mark.parametrize(
    "document",
    [{"kind": "master"}, {"environment": "Not A Slug"}, {"name": "x" * 201}, {"name": 7}, {"text": "pt_mine"}],
)
async def test_a_wrong_key_is_a_400(document: dict[str, Any]) -> None:
    """Nobody chooses the text of a key."""
    janitor = Janitor()
    async with client(made(janitor), ADMIN) as asking:
        answer = await asking.post(KEYS, json=document)
    assert (answer.status_code, janitor.asked) == (400, [])


@pytest.mark.parametrize(("method", "path"), [
    ("POST", KEYS), ("DELETE", f"{KEYS}{OWN_KEY.id}/"), ("POST", "/api/0/organizations/acme/projects/"),
    ("POST", "/api/0/teams/acme/acme/projects/"), ("PUT", "/api/0/projects/acme/web/"),
])  # fmt: skip
@pytest.mark.parametrize("text", [READ_ONLY, TOKEN])
async def test_without_the_scope_nothing_is_asked(method: str, path: str, text: str) -> None:
    """`project:write` is for releases and uploads: tokens that have it do not get more."""
    janitor = Janitor()
    async with client(made(janitor), text) as asking:
        answer = await asking.request(method, path, json={"name": "x"})
    assert (answer.status_code, janitor.asked) == (403, [])
    assert "project:admin" in answer.json()["detail"]


async def test_a_key_is_revoked_by_its_id() -> None:
    """Only one that may send to this project."""
    janitor = FakeOperator()
    async with client(made(janitor), ADMIN) as asking:
        assert (await asking.delete(f"{KEYS}{OWN_KEY.id}/")).status_code == 204
        for other in (FOREIGN_KEY.id, "c" * 16, "x", OWN_KEY.sha256):
            assert (await asking.delete(f"{KEYS}{other}/")).status_code == 404
    assert [(one.action, one.given) for one in janitor.asked] == [(REVOKE_KEY, {"key_id": OWN_KEY.id})]


@pytest.mark.parametrize("path", ["/api/0/organizations/acme/projects/", "/api/0/teams/acme/acme/projects/"])
async def test_a_project_is_made(path: str) -> None:
    """As tools of Sentry do it, too."""
    janitor = Janitor()
    async with client(made(janitor), ADMIN) as asking:
        answer = await asking.post(path, json={"name": " Web shop ", "platform": "python"})
    assert (answer.status_code, answer.json()["id"], answer.json()["slug"]) == (201, "12", "made")
    assert (janitor.asked[0].action, janitor.asked[0].given) == (CREATE_CHANNEL, {"name": "Web shop", "slug": ""})


@pytest.mark.parametrize("document", [{}, {"name": " "}, {"slug": "7"}, {"slug": "Not A Slug"}, {"name": ["x"]}])
async def test_a_wrong_project_is_a_400(document: dict[str, Any]) -> None:
    """Nothing is asked."""
    janitor = Janitor()
    async with client(made(janitor), ADMIN) as asking:
        answer = await asking.post("/api/0/organizations/acme/projects/", json=document)
    assert (answer.status_code, janitor.asked) == (400, [])


async def test_a_project_is_renamed() -> None:
    """Another slug only if one is named."""
    janitor = Janitor()
    async with client(made(janitor), ADMIN) as asking:
        answer = await asking.put("/api/0/projects/acme/web/", json={"name": "Shop"})
    assert answer.status_code == 200
    assert janitor.asked[0].action == RENAME_CHANNEL
    assert janitor.asked[0].given == {"channel": 1, "name": "Shop", "slug": ""}


async def test_nobody_reaches_another_organisation() -> None:
    """Its projects are not there."""
    janitor = Janitor()
    async with client(made(janitor), ADMIN) as asking:
        for path in ("/api/0/projects/others/secret/keys/", "/api/0/projects/acme/secret/keys/"):
            assert (await asking.post(path, json={"name": "x"})).status_code == 404
    assert janitor.asked == []
