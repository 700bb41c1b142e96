"""What is wrong with the reconciliation, in words, and the replay that mends it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from ops.cli.terminal import counted
from ops.refusals.read import TABLE as REFUSALS

# From the last of what waited to its rows: several inserts of a slow ClickHouse.
SETTLES_S: Final = 30.0

if TYPE_CHECKING:
    from ops.status.findings import Status
    from ops.status.reconciliation import Reconciliation


def of_records(status: Status) -> Iterator[str]:
    """Rows that are gone, and bodies without a result."""
    reconciliation = status.reconciliation
    if reconciliation is None:
        return
    total = reconciliation.total
    if total.missing:
        numbers = [str(account.channel) for account in reconciliation.channels if account.missing]
        channels = f"{'channel' if len(numbers) == 1 else 'channels'} {', '.join(numbers)}"
        first, last = reconciliation.vanished.first_at, reconciliation.vanished.last_at
        came = f", whose bodies came between {first:%Y-%m-%d %H:%M} and {last:%H:%M} UTC" if first and last else ""
        rows = "1 row is" if total.missing == 1 else f"{total.missing} rows are"
        yield (
            f"{rows} MISSING: ClickHouse had stored them{came}, and no newer row replaced them "
            f"({channels}). Someone deleted them, or a disk lost them. {_remedy_of_missing(status, reconciliation)}"
        )
    again = of_tables_made_again(status, reconciliation)
    yield from filter(None, [again])
    unexplained = reconciliation.unexplained
    if again and unexplained > 0:
        unexplained = max(0, unexplained - (reconciliation.lost_before or 0))
    if unexplained > 0 and (made_at := _made_after_bodies(status, reconciliation)):
        yield _of_new_tables(reconciliation, made_at)
    elif unexplained > 0:
        yield (
            f"{unexplained} received records are unaccounted for: they are neither rows nor in `outcomes`, and "
            f"nothing is under way. {_remedy_of_unaccounted(reconciliation)}"
        )
    elif unexplained < 0:
        yield _too_many(status, -unexplained)


def _made_after_bodies(status: Status, reconciliation: Reconciliation) -> dt.datetime | None:
    """When the tables were made, if that was after the oldest body in RAW came."""
    made_at = status.clickhouse.made_at if status.clickhouse else None
    return made_at if made_at and reconciliation.held_since and reconciliation.held_since < made_at else None


def _of_new_tables(reconciliation: Reconciliation, made_at: dt.datetime) -> str:
    """As after a lost ClickHouse: the broker remembers bodies of which new tables know nothing."""
    unexplained = reconciliation.unexplained
    command = replay_command(reconciliation.held_since, [])  # refusals are lost too, and most name no channel
    return (
        f"the tables are new since {made_at:%Y-%m-%d %H:%M} UTC, and {counted(unexplained, 'received record')} "
        f"{'is' if unexplained == 1 else 'are'} not in them, most likely those that came before. "
        f"`{command}` makes rows of the bodies that RAW still holds; older ones come only from a backup"
    )


def of_tables_made_again(status: Status, reconciliation: Reconciliation) -> str:
    """Records of before whose results were lost with a table, also while others come; empty if there are none."""
    again = status.clickhouse.made_again if status.clickhouse else {}
    if reconciliation.lost_before is None or not again or reconciliation.lost_before <= 0:
        return ""
    name, made_at = max(again.items(), key=itemgetter(1))
    text = f"table {name} was lost, and made again, empty, at {made_at:%Y-%m-%d %H:%M:%S} UTC. "
    if not _is_settled(status, made_at):
        return (
            text
            + "How many records of before it lacks is known when workers have processed what waits: look again soon"
        )
    lost = reconciliation.lost_before
    return (
        f"{text}{counted(lost, 'record')} that came before {'has' if lost == 1 else 'have'} no result in the tables: "
        f"{_replay_of_lost(status, reconciliation)}"
    )


def _replay_of_lost(status: Status, reconciliation: Reconciliation) -> str:
    """With the table of outcomes, refusals are lost too, and those without a channel are chosen by none."""
    again = status.clickhouse.made_again if status.clickhouse else {}
    channels = [] if REFUSALS in again else _lacking(reconciliation)
    command = replay_command(reconciliation.held_since, channels)
    return f"`{command}` makes it of the bodies that RAW still holds; older ones come only from a backup"


def _is_settled(status: Status, made_at: dt.datetime) -> bool:
    """Whether workers have processed what came before that time: it waited while the table was away."""
    age_s = (dt.datetime.now(dt.UTC) - made_at).total_seconds()
    oldest_s = max((worker.oldest_s or 0.0 for worker in status.workers), default=0.0)
    return age_s > 2 * SETTLES_S and oldest_s < age_s - SETTLES_S


def note_of_tables_made_again(status: Status) -> Iterator[str]:
    """Since when refusals count, as long as RAW has some of before: they are no difference of any sum."""
    made_at = status.clickhouse.made_again.get(REFUSALS) if status.clickhouse else None
    held_since = status.reconciliation.held_since if status.reconciliation else None
    if made_at and held_since and held_since < made_at:
        yield (
            f"table {REFUSALS} was lost, and made again, empty, at {made_at:%Y-%m-%d %H:%M:%S} UTC: older refusals are "
            f"in it only if `{replay_command(held_since, [])}` was run since"
        )


def _lacking(reconciliation: Reconciliation) -> list[int | None]:
    return [account.channel for account in reconciliation.channels if account.difference > account.missing]


def _too_many(status: Status, number: int) -> str:
    """More came out than went in. Nothing is lost by it, and a replay could lose something."""
    text = (
        f"{counted(number, 'record')} more {'is' if number == 1 else 'are'} stored or counted than "
        f"{'was' if number == 1 else 'were'} received, and nothing is under way. Nothing is lost by it; do not replay, "
        "because a replay removes rows that it takes for outdated. "
    )
    if status.desired and status.desired.state and status.desired.state.system_id:
        return text + (
            "Broker and tables belong together, so these rows came before RAW was made anew (a restore or an adoption "
            "beside a new broker), or another system had these tables for a time: they stay until they expire, and the "
            "number with them"
        )
    return text + (
        "Another system may have written into these tables: check that AXONPUSH_NATS_URL and AXONPUSH_CLICKHOUSE_URL "
        "belong together; `axonpush migrate --dry-run` compares them"
    )


def _remedy_of_unaccounted(reconciliation: Reconciliation) -> str:
    if reconciliation.held_since is None:
        return "RAW does not hold their bodies any more, so no replay makes them again. Please report it"
    command = replay_command(reconciliation.held_since, _lacking(reconciliation))
    return f"`{command}` processes the bodies in RAW again; if the number stays, this is a bug, please report it"


def _remedy_of_missing(status: Status, reconciliation: Reconciliation) -> str:
    """A replay, as far as RAW still has the bodies."""
    first, last, held_since = (
        reconciliation.vanished.first_at,
        reconciliation.vanished.last_at,
        reconciliation.held_since,
    )
    first, last = (at and at.replace(tzinfo=dt.UTC) + dt.timedelta(minutes=1) for at in (first, last))
    if last and (held_since is None or held_since >= last):
        oldest = f"its oldest came at {held_since:%Y-%m-%d %H:%M} UTC" if held_since else "it holds none"
        days = status.clickhouse.ttl_days if status.clickhouse else 0
        ends = f"counted until their rows would have expired ({days} days)" if days else "counted for good"
        return (
            f"RAW has none of these bodies any more ({oldest}), so no replay makes them again: only a backup of the "
            f"tables has them. Without one they are lost, and {ends}: `Rows are missing` in docs/operations.md"
        )
    text = f"`{_replay(reconciliation)}` makes them again"
    if first and held_since and held_since >= first:
        return f"{text} as far as RAW has the bodies, from {held_since:%Y-%m-%d %H:%M} UTC on; a backup has older ones"
    return f"{text} while RAW has the bodies"


def _replay(reconciliation: Reconciliation) -> str:
    """The command that makes missing rows again."""
    return replay_command(
        reconciliation.vanished.first_at, [account.channel for account in reconciliation.channels if account.missing]
    )


def replay_command(since: dt.datetime | None, channels: list[int | None]) -> str:
    """A replay to copy. Its minute is the one in which the first of these bodies came."""
    time = f"{since:%Y-%m-%d %H:%M}" if since else "TIME"
    # What came without a channel counts as channel 0, which no option chooses: then all are replayed.
    chosen = channels if all(channels) else []
    return f"axonpush replay --since '{time}'" + "".join(f" --channel {channel}" for channel in chosen)


def held_records(reconciliation: Reconciliation) -> str:
    """Why bodies must not be deleted from RAW before their time: rows that they would make again; empty if none."""
    held_since, last_at = reconciliation.held_since, reconciliation.vanished.last_at
    if last_at:  # the minute in which the last of them came
        last_at = last_at.replace(tzinfo=dt.UTC) + dt.timedelta(minutes=1)
    lacks_rows = bool(reconciliation.total.missing and held_since and last_at and last_at > held_since)
    # Under load only the bodies of before a lost table are known to have no result.
    without_result = max(reconciliation.unexplained, reconciliation.lost_before or 0, 0)
    if held_since is None or not (lacks_rows or without_result):
        return ""
    lacking = reconciliation.total.missing + without_result
    channels = [account.channel for account in reconciliation.channels if account.difference]
    return (
        f"{counted(lacking, 'record')} {'has' if lacking == 1 else 'have'} no row, and RAW may hold the only copy of "
        f"their bodies: first `{replay_command(held_since, channels)}`. If they shall go all the same, "
        "`axonpush cluster set --replay-horizon T --allow-lowering` lets the janitor delete them"
    )
