"""Settings of `axonpush alerts`. Read once from `AXONPUSH_*`, frozen; every number says why it is what it is."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr

from console.settings import ConsoleSettings

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks_of(text: str) -> list[IpNetwork]:
    """Networks of a text like `10.0.0.0/8, ::1`. Raises ValueError."""
    return [ipaddress.ip_network(entry.strip(), strict=False) for entry in text.split(",") if entry.strip()]


def _are_networks(text: str) -> str:
    try:
        networks_of(text)
    except ValueError:
        raise ValueError("expected networks like 10.0.0.0/8, separated by commas, found another form") from None
    return text


def _is_one_line(text: str) -> str:
    if any(not letter.isprintable() for letter in text):
        raise ValueError("expected one line of text, found control characters")
    return text


NetworksText = Annotated[str, AfterValidator(_are_networks)]
Line = Annotated[str, AfterValidator(_is_one_line)]
_DAY_S: Final = 86_400.0


class AlertsSettings(ConsoleSettings):
    """What this process adds. Limits of its questions are those of the console."""

    alerts_host: str = Field("127.0.0.1", description="address of /health, /ready and /metrics; 0.0.0.0 for every one")
    alerts_port: int = Field(0, ge=0, le=65535, description="port of /health, /ready and /metrics; 0 = off")
    # A look at the broker and one question for each organisation with rules.
    alerts_interval_s: float = Field(5.0, ge=0.5, le=300, description="pause between two evaluations of the rules")
    # Longer outages of ClickHouse: what is older is told by nobody any more.
    alerts_catch_up_s: float = Field(
        _DAY_S, ge=60, le=7 * _DAY_S, description="after an outage, so much of the missed time is evaluated"
    )
    alerts_allowed_networks: NetworksText = Field(
        "",
        description="private, loopback or link-local networks that webhooks may reach, as 10.0.0.0/8,::1; public "
        "addresses are always allowed",
    )
    alerts_timeout_s: float = Field(10.0, ge=1, le=60, description="longest time of one try to deliver a message")
    alerts_give_up_s: float = Field(
        _DAY_S, ge=60, le=7 * _DAY_S, description="a message that could not be delivered for so long is given up"
    )
    alerts_deliveries_at_once: int = Field(16, ge=1, le=200, description="messages that are sent side by side")
    alerts_smtp_host: Line = Field("", description="mail server for e-mails; empty = e-mails cannot be sent")
    alerts_smtp_port: int = Field(587, ge=1, le=65535, description="port of the mail server")
    alerts_smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="`starttls`, `tls` from the first byte (port 465), or `none` in a network you trust"
    )
    alerts_smtp_user: Line = Field("", description="user name for the mail server; empty = without a login")
    alerts_smtp_password: SecretStr = Field(SecretStr(""), description="password for the mail server")
    alerts_email_from: Line = Field("axonpush@localhost", description="sender of e-mails")
    alerts_email_domains: Line = Field(
        "", description="domains that e-mail actions may send to, separated by commas; empty = every one"
    )
    alerts_email_to: Line = Field(
        "", description="receivers, separated by commas, of e-mail actions that name none, as Sentry's IssueOwners"
    )

    def allowed_networks(self) -> list[IpNetwork]:
        """`alerts_allowed_networks` as networks."""
        return networks_of(self.alerts_allowed_networks)

    def may_mail(self, address: str) -> bool:
        """Whether an action may name this address; those of `alerts_email_to` are always allowed."""
        domains = {entry.strip().lower() for entry in self.alerts_email_domains.split(",") if entry.strip()}
        is_default = address in self.default_receivers()
        return not domains or is_default or address.rpartition("@")[2].lower() in domains

    def default_receivers(self) -> tuple[str, ...]:
        """`alerts_email_to` as addresses."""
        return tuple(entry.strip() for entry in self.alerts_email_to.split(",") if entry.strip())
