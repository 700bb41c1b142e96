"""The steps of a request as the endpoints call them: admit, read the body, deliver it. Made once for the process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field

from receiver.admission.auth import Admission
from receiver.admission.quotas import Quotas
from receiver.admission.refusal_budget import RefusalBudget
from receiver.admission.refusals import RefusalCounter
from receiver.admission.registry import Registry
from receiver.delivery.counts import Inbox
from receiver.delivery.deliver import Delivery
from receiver.delivery.idempotency import FirstAnswers
from receiver.delivery.late_replies import LateReplies
from receiver.delivery.publish import BodyPublisher
from receiver.delivery.storage import Storage
from receiver.http.bodies import RequestBodies
from receiver.http.body_readers import BodyReaders
from receiver.settings import ReceiverSettings


@dataclass(slots=True)
class RequestSteps:
    """The steps `admission`, `bodies` and `delivery`, and what they share.

    `clock_ns` is the wall clock: rows get their time of arrival from it, and no other time.
    """

    settings: ReceiverSettings
    registry: Registry
    publisher: InitVar[BodyPublisher]
    inbox: InitVar[Inbox]
    clock_ns: Callable[[], int] = time.time_ns
    quotas: Quotas = field(default_factory=Quotas)
    refusals: RefusalCounter = field(default_factory=RefusalCounter)
    first_answers: InitVar[FirstAnswers | None] = None
    storage: Storage = field(default_factory=Storage)
    readers: BodyReaders = field(default_factory=BodyReaders)
    late_replies: LateReplies = field(default_factory=LateReplies)
    refusal_budget: RefusalBudget = field(init=False)
    admission: Admission = field(init=False)
    bodies: RequestBodies = field(init=False)
    delivery: Delivery = field(init=False)

    def __post_init__(self, publisher: BodyPublisher, inbox: Inbox, first_answers: FirstAnswers | None) -> None:
        trust_forwarded = self.settings.trust_forwarded
        self.refusal_budget = RefusalBudget(self.settings.refused_per_minute)
        self.admission = Admission(self.registry, self.quotas, self.refusals, self.refusal_budget, trust_forwarded)
        self.bodies = RequestBodies(self.settings, self.refusal_budget)
        self.delivery = Delivery(publisher, inbox, self.storage, self.clock_ns, trust_forwarded, first_answers)

    def health(self) -> dict[str, bool]:
        """Whether each part that a request needs works."""
        return {
            "registry": self.registry.ready,
            "broker": self.delivery.publisher.connected,
            "storage": self.storage.stores,
            "budget": not self.bodies.budget.is_full,
        }
