"""Users of the broker of `up`: their passwords and their rights."""

from __future__ import annotations

import re

from ops.local import broker_users
from ops.local.broker_users import MAY_LISTEN, MAY_PUBLISH, ROLES
from ops.runtime.nats_options import Role
from tests.servers import ROOT


def test_passwords_are_made_once_and_differ() -> None:
    """Stored passwords are used again; if one is missing, all are created again."""
    written: list[dict[str, str]] = []
    made = broker_users.passwords({}, written.append)
    assert set(made) == set(ROLES)
    assert len(set(made.values())) == len(ROLES)
    assert min(map(len, made.values())) >= 32
    assert broker_users.passwords(written[0], written.append) == made
    assert broker_users.passwords({"worker": "only"}, written.append) != made
    assert len(written) == 2


def of_production(role: Role) -> tuple[set[str], set[str]]:
    """What a role may publish and subscribe to according to the file for clusters."""
    text = (ROOT / "ops" / "deploy" / "nats" / "accounts.conf").read_text()
    block = text.partition(f"user: {role}\n")[2].partition("\n        }\n")[0]
    publish, _, listen = re.sub(r"#.*", "", block).partition("subscribe:")
    return set(re.findall(r'"([^"]+)"', publish)), set(re.findall(r'"([^"]+)"', listen))


def test_roles_may_what_they_may_in_production() -> None:
    """A change of a right must be made in both places."""
    roles: tuple[Role, ...] = ("receiver", "worker")
    for role in roles:
        assert of_production(role) == (set(MAY_PUBLISH[role]), set(MAY_LISTEN[role]))


def test_an_address_with_a_password_is_one() -> None:
    """With any characters in the password."""
    assert broker_users.url_with("nats://127.0.0.1:1", "operator", "a/b@c") == "nats://operator:a%2Fb%40c@127.0.0.1:1"
