"""One message: what was found by which rule. The same for all kinds of actions; each kind writes it in its own form."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from console.alerts.state import RESOLVED

if TYPE_CHECKING:
    from console.alerts.state import AlertDelivery, Firing

MAX_TITLE: Final = 200
MAX_TEXT: Final = 2_000
COLOURS: Final[Mapping[str, str]] = {"critical": "#9C1C14", "warning": "#B56E00", "": "#0A4BA0"}
RESOLVED_COLOUR: Final = "#0B6B53"


class DeliveryFailed(Exception):
    """One try failed; the text may be shown. `is_final`: another try would fail too. `wait_s`: not before then.

    `left`: the receivers of an e-mail for whom it is tried again; the others have it, or never will. Empty: all.
    """

    def __init__(self, text: str, *, is_final: bool = False, wait_s: float = 0.0, left: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.left = left
        self.is_final = is_final
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class RuleName:
    """Of which rule a message is."""

    organisation: str
    rule_id: int
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class AlertMessage:
    """Texts come from senders: whoever writes them into a form escapes them."""

    delivery_id: str
    firing_id: str
    rule: RuleName
    status: str
    severity: str
    at: str
    project: str
    title: str
    text: str
    url: str
    value: float | None
    details: Mapping[str, Any]
    is_test: bool = False

    @property
    def is_resolved(self) -> bool:
        """Whether it says that something is over."""
        return self.status == RESOLVED

    @property
    def headline(self) -> str:
        """One line."""
        mark = "Resolved: " if self.is_resolved and not self.title.endswith("resolved") else ""
        return one_line(f"{'[Test] ' if self.is_test else ''}{mark}{self.title}", MAX_TITLE)

    @property
    def colour(self) -> str:
        """Of the strip beside it."""
        return RESOLVED_COLOUR if self.is_resolved else COLOURS.get(self.severity, COLOURS[""])


def message_of(rule: RuleName, firing: Firing, delivery: AlertDelivery, project: str, url: str) -> AlertMessage:
    """The message of a delivery; `url` is the address of the console."""
    return AlertMessage(
        delivery.id,
        firing.id,
        rule,
        firing.status,
        firing.severity,
        iso(firing.at_ns),
        project,
        firing.title,
        firing.message[:MAX_TEXT],
        f"{url}{firing.path}" if url else "",
        firing.value,
        firing.details,
    )


def iso(moment_ns: int) -> str:
    """`2026-01-31T10:00:00.123Z`."""
    moment = dt.datetime.fromtimestamp(moment_ns / 1e9, dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def one_line(text: str, most: int) -> str:
    """Without line breaks and control characters, and not longer than `most`."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
