"""What an operator should know although nothing is broken, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ops.cli.terminal import counted
from ops.provisioning.amounts import duration_text
from ops.refusals.read import REVOKED
from ops.registry.table_channels import channels_text
from ops.status.janitor_process import JanitorState
from ops.status.lost_records import note_of_tables_made_again
from ops.status.servers import ARCHIVED, REFUSED_MINUTES
from schemas.registry import Key
from schemas.subjects import DEAD, RAW, SOURCES
from schemas.usage import Unit

if TYPE_CHECKING:
    from ops.status.findings import Status
    from ops.status.servers import RefusedSender

# A dead letter that came within this time is in the headline.
DIED_S: Final = 600.0
_START_WORKERS: Final = "Start `axonpush worker all`, or the workers that you use"
# What is deleted at once is less than this part of RAW.
NEAR_PRESSURE: Final = 0.1
# The fewest brokers of which one may fail.
REPLICATED: Final = 3


def notes(status: Status) -> list[str]:
    """What an operator should know although nothing is broken."""
    return [
        *_dead(status),
        *_unknown_channels(status),
        *note_of_tables_made_again(status),
        *_revoked(status),
        *map(_refused_sender, status.refused_senders),
        *_used_up(status),
        *_one_replica(status),
        *_short_replays(status),
        *_no_worker(status),
        *_no_janitor(status),
        *_no_alerts(status),
    ]


def _short_replays(status: Status) -> Iterator[str]:
    """Near the limit the janitor deletes processed bodies before their time, so a later replay would find nothing."""
    state = status.desired.state if status.desired else None
    horizon_s, pressure = (state.replay_horizon_s, state.janitor_pressure) if state else (None, None)
    raw = next((stream for stream in status.streams if stream.stream == RAW), None)
    if horizon_s is None or pressure is None or raw is None or raw.oldest_s is None:
        return
    if pressure < 1 and raw.fill > pressure - NEAR_PRESSURE and raw.oldest_s < horizon_s:
        yield (
            f"RAW is {raw.fill:.0%} full, and from {pressure:.0%} on processed bodies are deleted before their time: a "
            f"replay reaches back {_rough_text(raw.oldest_s)} now, and not {_rough_text(horizon_s)}. `axonpush cluster "
            "set --raw-max-bytes` makes RAW larger"
        )


def _rough_text(seconds: float) -> str:
    """In the largest unit that fits, without the rest."""
    unit_s = next((unit_s for unit_s in (86_400, 3_600, 60) if seconds >= unit_s), 1)
    return duration_text(seconds // unit_s * unit_s)


def _no_worker(status: Status) -> Iterator[str]:
    """Before something waits, which is a problem. One type that nobody fetches may be meant so, all of them hardly."""
    workers = [worker for worker in status.workers if worker.worker in SOURCES]
    is_seen = any(
        worker.listeners or worker.in_flight or worker.rate or worker.pending or worker.missing or worker.unknown
        for worker in workers
    )
    if workers and not is_seen and not status.refused_workers and "ClickHouse" not in status.unknown:
        cause = status.up.cause("worker") if status.up else ""
        yield (
            f"no worker runs: what is received from now on waits in the broker. {_sentence(cause) or _START_WORKERS}"
        )


def _no_janitor(status: Status) -> Iterator[str]:
    """Nothing else says it before RAW is full."""
    up = status.up
    if status.janitor in {None, JanitorState.ANSWERS} or (up and up.stopped.get("janitor")):
        return
    cause = up.cause("janitor") if up else ""
    effect = "processed bodies stay in RAW, which may fill, and deleted durables are not made again"
    if status.janitor is JanitorState.NONE:
        yield f"no janitor runs: {effect}. {_sentence(cause) or 'Start `axonpush janitor`'}"
    else:
        remedy = _sentence(cause) or "Look at its process: it is busy, stopped (`kill -CONT` continues it) or hangs"
        yield f"a janitor is connected to the broker and does not answer; if it stays so, {effect}. {remedy}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _no_alerts(status: Status) -> Iterator[str]:
    """Where rules were evaluated once: a system without `axonpush alerts` may be meant so."""
    if status.alerts is not None and status.alerts.is_stale:
        yield (
            "no process evaluates alert rules: start `axonpush alerts`; the time since then is evaluated when one does"
        )


def _unknown_channels(status: Status) -> list[str]:
    """As after a lost broker: its keys and channels are lost, the rows are there."""
    reconciliation, known = status.reconciliation, status.registry_channels
    if reconciliation is None or known is None:
        return []
    numbers = [
        account.channel
        for account in reconciliation.channels
        if account.channel and account.rows and account.channel not in known
    ]
    if not numbers:
        return []
    return [
        f"tables have rows of {channels_text(numbers)}, which the registry does not know: their keys are lost, and "
        "senders get 401. `axonpush registry import FILE` brings them back; do it before you create channels"
    ]


def _revoked(status: Status) -> Iterator[str]:
    rates = [rate for rate in status.refusals if rate.reason == REVOKED]
    requests = round(sum(rate.per_minute for rate in rates) * REFUSED_MINUTES)
    keys = sum(rate.keys for rate in rates)
    if requests:
        yield (
            f"{'a revoked key is' if keys <= 1 else f'{keys} revoked keys are'} still used: "
            f"{counted(requests, 'request')} {'was' if requests == 1 else 'were'} refused over the last "
            f"{REFUSED_MINUTES} minutes. `axonpush refusals` shows which {'key' if keys <= 1 else 'keys'}"
        )


def _refused_sender(sender: RefusedSender) -> str:
    """A sender that gets 429 or 403 loses what it does not send again."""
    refused = f"{counted(sender.requests, 'request')} refused over the last {REFUSED_MINUTES} minutes"
    if sender.reason == ARCHIVED:
        return (
            f"channel {sender.channel} was used while it was archived: {refused} (403). `axonpush refusals --channel "
            f"{sender.channel}` shows by whom; if it still is, `axonpush channels unarchive {sender.channel}` opens it"
        )
    is_of_key = sender.owner_name.startswith("key.")
    who, command = (
        (f"key {sender.key_id}", f"keys limit {sender.key_id}")
        if is_of_key
        else (f"organisation {sender.organisation}", f"organisations limit {sender.organisation}")
    )
    option = "--quota" if sender.unit is Unit.REQUESTS else f"--quota-{sender.unit}"
    if isinstance(sender.owner, Key) and sender.owner.revoked:
        return f"{who} had used its quota ({option}): {refused} (429). It is revoked now, and gets 401"
    if sender.owner is None:
        return f"{who} used up its quota ({option}): {refused} (429). What it has now is not known"
    if sender.owner.quota.of(sender.unit) is None:
        return f"{who} had used a quota ({option}) that was removed since: {refused} (429), and no more are"
    return f"{who} has used its quota ({option}): {refused} (429). `axonpush {command} {option} N/min` raises it"


def _used_up(status: Status) -> Iterator[str]:
    """A quota whose next request is refused, before counts of refusals are stored."""
    said = {sender.key_id or sender.organisation for sender in status.refused_senders}
    for use in status.quotas:
        if use.share >= 1 and use.name not in said:
            yield f"{use.of} {use.name} has used its quota of this minute: further requests are refused (429)"


def messages_die(status: Status) -> bool:
    """Whether one became a dead letter so short ago that others may follow."""
    newest_s = next((stream.newest_s for stream in status.streams if stream.stream == DEAD), None)
    return newest_s is not None and newest_s <= DIED_S


def _dead(status: Status) -> Iterator[str]:
    """Dead letters of a bug or of ClickHouse. They are accounted for, and nothing else says that they wait."""
    for stream in status.streams:
        if stream.stream == DEAD and stream.messages:
            since = f" (the newest for {stream.newest_s:.0f} s)" if stream.newest_s is not None else ""
            verb = "is" if stream.messages == 1 else "are"
            yield (
                f"{counted(stream.messages, 'message')} that could not become rows {verb} in DEAD{since}. "
                "`axonpush dead list` shows why; after the fix `axonpush dead retry --all` processes them again"
            )


def _one_replica(status: Status) -> Iterator[str]:
    """With several brokers, one replica is rarely meant: it is what a new system has by default."""
    state = status.desired.state if status.desired else None
    names = {broker.name for broker in status.brokers if broker.answers}
    if state and state.nats_replicas == 1 and len(names) >= REPLICATED:
        yield (
            f"{len(names)} brokers answer, and every stream has one replica: a lost disk loses acknowledged data. "
            f"`axonpush cluster set --replicas {REPLICATED}` replicates them"
        )
