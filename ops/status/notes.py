"""What an operator should know although nothing is broken, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ops.cli.terminal import counted
from ops.refusals.read import REVOKED
from ops.registry.table_channels import named
from ops.status.servers import ARCHIVED, REFUSED_MINUTES

if TYPE_CHECKING:
    from ops.status.findings import Status
    from ops.status.servers import RefusedSender


def notes(status: Status) -> list[str]:
    """What an operator should know although nothing is broken."""
    return [
        *_unknown_channels(status),
        *_revoked(status),
        *map(_refused_sender, status.refused_senders),
        *_used_up(status),
    ]


def _unknown_channels(status: Status) -> list[str]:
    """As after a lost broker: its keys and channels are lost, the rows are there."""
    found, known = status.reconciliation, status.registry_channels
    if found is None or known is None:
        return []
    numbers = [one.channel for one in found.channels if one.channel and one.rows and one.channel not in known]
    if not numbers:
        return []
    return [
        f"tables have rows of {named(numbers)}, which the registry does not know: their keys are lost, and senders get "
        "401. `axonpush registry import FILE` brings them back; do it before you create channels"
    ]


def _revoked(status: Status) -> Iterator[str]:
    revoked = sum(rate.per_minute for rate in status.refusals if rate.reason == REVOKED) * REFUSED_MINUTES
    if revoked:
        yield (
            f"a revoked key is still used: {revoked:.0f} requests were refused over the last {REFUSED_MINUTES} "
            "minutes. `axonpush refusals` shows which key"
        )


def _refused_sender(one: RefusedSender) -> str:
    """A sender that gets 429 or 403 loses what it does not send again."""
    refused = f"{counted(one.requests, 'request')} refused over the last {REFUSED_MINUTES} minutes"
    if one.reason == ARCHIVED:
        return (
            f"channel {one.channel} is archived and still used: {refused} (403). `axonpush refusals --channel "
            f"{one.channel}` shows by whom, `axonpush channels unarchive {one.channel}` opens it"
        )
    is_of_key = one.reason.startswith("quota:key") and one.key_id
    who, command = (
        (f"key {one.key_id}", f"keys limit {one.key_id}")
        if is_of_key
        else (f"organisation {one.organisation}", f"organisations limit {one.organisation}")
    )
    unit = one.reason.rpartition(":")[2]
    option = f"--quota-{unit}" if unit in {"bytes", "rows"} else "--quota"
    return f"{who} has used its quota ({option}): {refused} (429). `axonpush {command} {option} N/min` raises it"


def _used_up(status: Status) -> Iterator[str]:
    """A quota whose next request is refused, before counts of refusals are stored."""
    said = {one.key_id or one.organisation for one in status.refused_senders}
    for use in status.quotas:
        if use.share >= 1 and use.name not in said:
            yield f"{use.of} {use.name} has used its quota of this minute: further requests are refused (429)"
