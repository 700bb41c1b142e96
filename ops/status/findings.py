"""What `axonpush status` has found, at one moment; report.py collects it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ops.artifacts.reprocessing import ReprocessingEntry
from ops.janitor.broker_limits import BrokerLimits
from ops.janitor.storage import StorageRefusal
from ops.provisioning.cluster_changes import StateReport
from ops.status.alerts_process import AlertsProcess
from ops.status.janitor_process import JanitorState
from ops.status.local_up import LocalUp
from ops.status.notes import messages_die, notes
from ops.status.problems import problems
from ops.status.quotas import QuotaUse
from ops.status.reconciliation import Reconciliation
from ops.status.servers import (
    BrokerServer,
    ClickHouseState,
    Disk,
    JetStreamUse,
    ReceiverHealth,
    RefusalRate,
    RefusedSender,
    RefusedWorker,
)


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One durable. `oldest_s` is the age of the oldest unacknowledged message, None if there is none.

    `rate` is acknowledged messages per second. `missing`: the broker does not have the durable. `unknown`: nobody
    answered for it.
    """

    worker: str
    pending: int = 0
    in_flight: int = 0
    redelivered: int = 0
    rate: float = 0.0
    oldest_s: float | None = None
    listeners: int = 0
    # Seconds since a message was acknowledged, which happens after its rows are stored.
    acknowledged_s: float | None = None
    missing: bool = False
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream. `rate` is stored messages per second; `oldest_s` is the age of the first message."""

    stream: str
    messages: int
    size_bytes: int
    max_bytes: int
    fill: float
    rate: float
    oldest_s: float | None
    # The age of the last message.
    newest_s: float | None = None


@dataclass(slots=True)
class Status:
    """Everything at one moment. `unknown` has, by part, why it could not be read; such a part is empty or None.

    `quotas` are those in use, highest share first.
    """

    workers: list[WorkerStatus] = field(default_factory=list)
    streams: list[StreamStatus] = field(default_factory=list)
    reconciliation: Reconciliation | None = None
    quotas: list[QuotaUse] = field(default_factory=list)
    storage: list[StorageRefusal] = field(default_factory=list)
    missing_streams: list[str] = field(default_factory=list)
    brokers: list[BrokerServer] = field(default_factory=list)
    jetstream: JetStreamUse | None = None
    receivers: list[ReceiverHealth] = field(default_factory=list)
    # Of the brokers whose monitoring port answers.
    broker_limits: list[BrokerLimits] = field(default_factory=list)
    refused_workers: list[RefusedWorker] = field(default_factory=list)
    clickhouse: ClickHouseState | None = None
    local_disks: list[Disk] = field(default_factory=list)
    refusals: list[RefusalRate] = field(default_factory=list)
    refused_senders: list[RefusedSender] = field(default_factory=list)
    # Uploads of source maps whose events are processed again.
    reprocessing: list[ReprocessingEntry] = field(default_factory=list)
    # Who evaluates alert rules; None if nobody ever did.
    alerts: AlertsProcess | None = None
    # Whether a janitor runs; None if that is not known.
    janitor: JanitorState | None = None
    desired: StateReport | None = None
    up: LocalUp | None = None
    # The channels of the registry; None if it could not be read.
    registry_channels: frozenset[int] | None = None
    # Why broker and tables do not belong together; empty if they do.
    wrong_system: str = ""
    unknown: dict[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """What an operator must look at, the worst first."""
        return problems(self)

    @property
    def notes(self) -> list[str]:
        """What an operator should know, and what is no problem of the system."""
        return notes(self)

    @property
    def headline(self) -> str:
        """The first line of the screen: the worst problem."""
        if self.problems:
            return f"PROBLEM: {self.problems[0]}"
        is_moving = self.reconciliation is not None and self.reconciliation.total.difference
        text = "OK: everything received is accounted for" + (", or is being processed now" if is_moving else "")
        return text + (", but messages die: see the first NOTE" if messages_die(self) else "")

    @property
    def trouble(self) -> str:
        """Why there is no reconciliation; empty if there is one."""
        return self.unknown.get("reconciliation", "")

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        totals = self.reconciliation
        return {
            "headline": self.headline,
            "problems": self.problems,
            "notes": self.notes,
            "unknown": self.unknown,
            "workers": [asdict(worker) for worker in self.workers],
            "streams": [asdict(stream) for stream in self.streams],
            "reconciliation": totals
            and {"total": totals.total.as_json(), "channels": [account.as_json() for account in totals.channels]},
            "quotas": [quota.as_json() for quota in self.quotas],
            "trouble": self.trouble,
            "storage": [asdict(storage) for storage in self.storage],
            "brokers": [asdict(broker) for broker in self.brokers],
            "broker_limits": [asdict(limits) for limits in self.broker_limits],
            "jetstream": self.jetstream and asdict(self.jetstream),
            "receivers": [
                {"address": receiver.address, "ready": receiver.is_ready, "parts": dict(receiver.parts)}
                for receiver in self.receivers
            ],
            "janitor": self.janitor,
            "alerts": self.alerts and asdict(self.alerts),
            "refused_workers": [asdict(worker) for worker in self.refused_workers],
            "clickhouse": self.clickhouse and self.clickhouse.as_json(),
            "desired_state": self.desired and [asdict(row) for row in self.desired.rows],
            "wrong_system": self.wrong_system,
            "local_disks": [asdict(disk) for disk in self.local_disks],
            "late_maps": [entry.model_dump(mode="json", by_alias=True) for entry in self.reprocessing],
            "refused_senders": [sender.as_json() for sender in self.refused_senders],
            "refusals_per_minute": {refusal.reason: refusal.per_minute for refusal in self.refusals},
        }
