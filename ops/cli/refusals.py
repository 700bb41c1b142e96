"""Command `axonpush refusals`: who was refused, where and why. ops/refusals/read.py asks ClickHouse."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.terminal import DEFAULT_DATA_DIR, DataDirOption, JsonOption, counted, print_json, print_table, warn
from ops.cli.times import parse_time

if TYPE_CHECKING:
    from ops.refusals.read import RefusedRequests
    from ops.refusals.senders import Senders


def _time(text: str) -> dt.datetime:
    try:
        return parse_time(text, dt.datetime.now(dt.UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


SinceOption = Annotated[
    dt.datetime | None, typer.Option(metavar="T", parser=_time, help="From this time on, such as 1h or 2026-11-21.")
]
KeyOption = Annotated[
    str, typer.Option("--key", metavar="ID|KEY|DSN", help="Only this key: its id, the key itself, or its DSN.")
]
ChannelOption = Annotated[int, typer.Option(metavar="N", min=0, max=2**63 - 1, help="Only this channel.")]
ReasonOption = Annotated[
    str, typer.Option(metavar="TEXT", help="Only reasons that contain this, such as 401 or revoked.")
]
EVER = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
# A status alone is never mistyped: there may be no such request yet.
_STATUS = re.compile(r"[45]\d\d")
DEFAULT_SINCE = dt.timedelta(hours=1)
# Receivers send counts every five seconds, and workers store them within two.
STORED_WITHIN = dt.timedelta(seconds=10)


def add_to(app: typer.Typer) -> None:
    """Adds this command to the command line."""
    app.command()(refusals)


def refusals(  # noqa: PLR0913, PLR0917 (options)
    since: SinceOption = None,
    key: KeyOption = "",
    channel: ChannelOption = 0,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Show refused requests of the last hour by key, channel and reason: who lost its key?"""
    from clickhouse_connect.driver.exceptions import Error as ClickHouseError  # noqa: PLC0415

    from ops.cli.servers import find_settings, open_clickhouse  # noqa: PLC0415
    from ops.cli.unreachable import reason_of  # noqa: PLC0415
    from ops.refusals.read import RefusalChoice, counted_from, invalid_bodies, newest_count, refused_requests  # noqa: PLC0415
    from ops.refusals.senders import find_senders  # noqa: PLC0415
    from ops.runtime.failures import Failed  # noqa: PLC0415

    settings = find_settings(data_dir)
    senders = asyncio.run(find_senders(settings, key, channel))
    reason = as_stored(reason)
    choice = RefusalChoice(since or dt.datetime.now(dt.UTC) - DEFAULT_SINCE, senders.key_id, channel, reason)
    client = open_clickhouse(settings)
    try:
        client.database = settings.clickhouse_database
        lost = lost_text(counted_from(client, settings.clickhouse_database), choice.since)
        refused, newest = refused_requests(client, choice), newest_count(client, choice.since)
        invalid = 0 if reason else invalid_bodies(client, choice)
        others = refused_requests(client, replace(choice, reason="")) if reason and not refused else []
        ever = refused_requests(client, replace(choice, since=EVER)) if not refused and (reason or senders.note) else []
    except ClickHouseError as error:
        raise Failed(
            f"the refusals cannot be read: {reason_of(error)}. Was `axonpush migrate` of this version run?"
        ) from error
    finally:
        client.close()
    if as_json:
        if lost:
            warn(lost)
        print_json([requests.as_json() | _key_names(senders, requests.key_id) for requests in refused])
    else:
        _print(refused, senders, choice.since, newest, lost)
        print(invalid_text(invalid, channel), end="")
        if reason and not refused:
            print(_other_reasons(reason, others))
    check_words(senders, reason, is_known=bool(refused or ever or lost))


def lost_text(made_at: dt.datetime | None, since: dt.datetime) -> str:
    """Since when refusals are counted, if the table is younger than what is asked for: 0 would look like none."""
    if made_at is None or made_at <= since:
        return ""
    return (
        f"the table of refusals (outcome_rows) was lost, and made again, empty, at {made_at:%Y-%m-%d %H:%M:%S} UTC: "
        "what was refused before is counted only if `axonpush replay --since TIME`, without channels or keys, was run "
        "since"
    )


def invalid_text(number: int, channel: int) -> str:
    """A line about bodies that were stored and then could not be read: who was answered 400 looks for them here."""
    if not number:
        return ""
    of_channel = f" --channel {channel}" if channel else ""
    return (
        f"{counted(number, 'more body', 'more bodies')} of this time {'was' if number == 1 else 'were'} received and "
        "then found invalid (most are answered 400); they are counted as `invalid` in outcomes and not above: "
        f"`axonpush dead list --reason invalid{of_channel}` shows why\n"
    )


def check_words(senders: Senders, reason: str, *, is_known: bool) -> None:
    """A channel or a reason that does not exist looks like success. Raises Failed, after the screen.

    `is_known`: such a request was refused once, in this time or before; it may name a channel that never existed.
    """
    from ops.runtime.failures import Failed  # noqa: PLC0415

    if is_known:
        return
    if senders.note:
        raise Failed(f"--channel: {senders.note.partition('. ')[0]}, and no request to it was refused")
    if reason and not _STATUS.fullmatch(reason):
        raise Failed(f"--reason: no request was ever refused for a reason that contains {reason!r}")


def as_stored(reason: str) -> str:
    """A reason as any screen prints it, copied with its quotes or with a space in the place of the colon."""
    words = reason.strip().strip("'\"`").strip().split()
    return ":".join(word.strip(":") for word in words) if words and words[0].strip(":").isdigit() else " ".join(words)


def _other_reasons(reason: str, others: list[RefusedRequests]) -> str:
    """What there is instead of a reason that may be mistyped."""
    known = ", ".join(sorted({requests.reason for requests in others})) or "none"
    return f"no reason of this time contains {reason!r}; reasons: {known}"


def _key_names(senders: Senders, key_id: str) -> dict[str, str]:
    key = senders.keys.get(key_id)
    return {"key_name": key.name if key else "", "key_note": key.note if key else ""}


def _print(
    refused: list[RefusedRequests], senders: Senders, since: dt.datetime, newest: dt.datetime | None, lost: str = ""
) -> None:
    from ops.refusals.read import REVOKED, UNCONFIRMED  # noqa: PLC0415

    for row in _by_key(row for row in refused if row.reason == REVOKED):
        print(
            f"{_who(row, senders)} of {row.organisation} was revoked and is still used: "
            f"{counted(row.requests, 'request')} refused, the last at {row.last_at:%Y-%m-%d %H:%M} UTC. "
            "Give its sender a new key"
        )
    total = sum(row.requests for row in refused)
    columns = ("requests", "last (UTC)", "status:reason", "who", "organisation", "channel", "endpoints")
    rows = [
        (
            row.requests,
            f"{row.last_at:%Y-%m-%d %H:%M}",
            row.reason,
            _who(row, senders),
            row.organisation,
            row.channel_id or "",
            ", ".join(row.endpoints),
        )
        for row in refused
    ]
    unsure = sum(row.requests for row in refused if row.reason == UNCONFIRMED)
    may_be = f"; {unsure} of them were not confirmed, and may be stored" if unsure else ""
    were = (
        f"The table has {counted(total, 'refused request')}"
        if lost
        else f"{counted(total, 'request')} {'was' if total == 1 else 'were'} refused"
    )
    print_table(f"{were} since {since:%Y-%m-%d %H:%M} UTC{may_be}", columns, rows)
    if lost:
        warn(lost)
    print(_newest_count_text(newest, senders.waiting, dt.datetime.now(dt.UTC)))
    if senders.note:
        print(senders.note)
    if senders.unreadable:
        warn(f"names of keys are not known: {senders.unreadable}")


def _newest_count_text(newest: dt.datetime | None, waiting: int | None, now: dt.datetime) -> str:
    """How new the table is: a request that was refused a moment ago is not in it yet."""
    if waiting == 0:
        return f"counted up to {now - STORED_WITHIN:%H:%M:%S} UTC: receivers send their counts every few seconds"
    upto = f"counted up to {newest:%H:%M} UTC, the newest stored count" if newest else "no count of this time is stored"
    if waiting is None:
        return f"{upto}; whether others wait in the broker is not known"
    wait = "message with counts waits" if waiting == 1 else "messages with counts wait"
    return f"{upto}; {waiting} {wait} for the worker `outcome`: run this command again"


def _who(refused: RefusedRequests, senders: Senders) -> str:
    label = senders.label(refused.key_id)
    return f"{refused.who} ({label})" if label else refused.who


def _by_key(refused: Iterable[RefusedRequests]) -> list[RefusedRequests]:
    """One for each key, over all its channels."""
    by_key: dict[str, RefusedRequests] = {}
    for row in refused:
        before = by_key.get(row.key_id)
        requests, last_at = (before.requests, before.last_at) if before else (0, row.last_at)
        by_key[row.key_id] = replace(row, requests=row.requests + requests, last_at=max(row.last_at, last_at))
    return list(by_key.values())
