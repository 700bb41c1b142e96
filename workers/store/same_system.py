"""Whether the broker and the tables belong to one system: rows of one system must not go into another's tables.

The id is in the metadata of a durable and in the comment of a column (docs/decisions/0037-system-id.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from schemas.identifiers import SYSTEM_METADATA
from schemas.subjects import Source
from workers.store.clickhouse_errors import OurFault, RetryLater

BROKER_SILENT: Final = "broker does not answer now"
_SHOWN_DIGITS: Final = 8


class WrongSystem(OurFault):
    """The tables belong to another system than the broker, or to none."""


class Checked(Protocol):
    """What compares the id of the tables, as a writer does."""

    async def check(self, system_id: str = "") -> None:
        """Raises InsertFailed."""


def check_system(of_broker: str, of_tables: str, database: str) -> None:
    """Raises WrongSystem."""
    if of_broker == of_tables:
        return
    actual = f"system {of_tables[:_SHOWN_DIGITS]}" if of_tables else "no system"
    raise WrongSystem(
        "tables belong to another system",
        f"expected tables of system {of_broker[:_SHOWN_DIGITS]}, which the broker belongs to, found database "
        f"{database} of {actual}",
    )


@dataclass(frozen=True, slots=True)
class SystemCheck:
    """Asks the broker for the id, and then the writer to compare it. Both are asked each time: both may change."""

    jetstream: JetStreamContext
    source: Source
    writer: Checked

    async def check(self) -> None:
        """Raises InsertFailed."""
        await self.writer.check(await self._of_broker())

    async def _of_broker(self) -> str:
        """Empty on a broker without ids, and where the durable is missing: then no message is fetched either."""
        try:
            info = await self.jetstream.consumer_info(self.source.stream, self.source.durable)
        except NotFoundError:
            return ""
        except (NatsError, OSError) as error:
            raise RetryLater(BROKER_SILENT, str(error) or type(error).__name__) from error
        return str((info.config.metadata or {}).get(SYSTEM_METADATA, ""))
