"""What a new key may do."""

from __future__ import annotations

from dataclasses import dataclass

from ops.registry.quotas import NO_QUOTA
from schemas.registry import (
    DEFAULT_PUBLIC_QUOTA,
    Quota,
)

# Quotas by field name; None removes one.
Quotas = dict[str, int | None]


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """What a new key may do. `channels` None: every channel of the organisation; `origins` None: any origin.

    A quota of None means the default: DEFAULT_PUBLIC_QUOTA for a public token, no limit for a secret key. NO_QUOTA
    means no limit.
    """

    environment: str
    public: bool = False
    channels: tuple[int, ...] | None = None
    allow_environment_override: bool = False
    quota_per_minute: int | None = None
    quota_bytes_per_minute: int | None = None
    quota_rows_per_minute: int | None = None
    origins: tuple[str, ...] | None = None
    name: str = ""
    note: str = ""

    def quotas(self) -> Quotas:
        """The quota fields of the entry. Defaults are stored too, so that they are visible and can be removed."""
        default = DEFAULT_PUBLIC_QUOTA if self.public else Quota()
        return {
            "quota_per_minute": _chosen(self.quota_per_minute, default.requests),
            "quota_bytes_per_minute": _chosen(self.quota_bytes_per_minute, default.inflated_bytes),
            "quota_rows_per_minute": _chosen(self.quota_rows_per_minute, default.rows),
        }


def _chosen(given: int | None, default: int | None) -> int | None:
    if given is None:
        return default
    return None if given == NO_QUOTA else given
