"""Which `Host` may be the embedded engine: names that only who runs the network can make point to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.local.clickhouse_http.access.browser_requests import is_own_name, refusal_reason

NOBODY: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8123", "127.0.0.1:1", "[::1]:8123", "10.0.0.7", "clickhouse:8123", "a.localhost", ""],
)
def test_addresses_and_names_of_the_network_are_ours(host: str) -> None:
    """Programs say one of these, or nothing."""
    assert is_own_name(host, NOBODY)
    assert refusal_reason(host, "", NOBODY) == ""


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8123",
        "evil.example.",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "0x7f.1",
        "[zz",
    ],
)
def test_any_other_name_may_be_a_strangers(host: str) -> None:
    """DNS rebinding; the refusal says what to do where the name is one's own after all."""
    assert not is_own_name(host, NOBODY)
    assert "--allow-origin" in refusal_reason(host, "", NOBODY)


def test_a_name_can_be_allowed() -> None:
    """By the option that allows its pages, too."""
    assert is_own_name("sql.corp.example:8123", frozenset({"https://sql.corp.example"}))
    assert is_own_name("any.example", frozenset({"*"}))
    assert not is_own_name("other.example", frozenset({"https://sql.corp.example"}))


@pytest.mark.parametrize(
    ("site", "allowed"), [("cross-site", False), ("same-site", False), ("same-origin", True), ("none", True)]
)
def test_what_a_page_of_another_site_fetches_is_refused(site: str, *, allowed: bool) -> None:
    """An image's GET names no origin; Fetch Metadata tells all the same."""
    assert (refusal_reason("127.0.0.1", site, NOBODY) == "") is allowed


@given(st.text(), st.text())
def test_any_host_is_answered(host: str, site: str) -> None:
    """Never an exception."""
    assert isinstance(refusal_reason(host, site, NOBODY), str)
