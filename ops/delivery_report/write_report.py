"""Writes what `axonpush status` says into an entry that consoles read, as long as a console asks for it.

The console has no right to look at streams. It writes when it last wanted the report; the janitor computes it at most
every LEAST_PAUSE_S, and less often where it costs much, so that looking never becomes the load.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from ops.runtime.stream_state import stream_state
from ops.status.findings import Status
from ops.status.reconciliation import channel_counts
from ops.status.report import SAMPLE_S, WRONG_SYSTEM, Observer
from schemas.subjects import (
    CONSOLE_PREFIX,
    CONTROL_BUCKET,
    DEAD,
    DELIVERY_LOOK_S,
    DELIVERY_REPORT_ENTRY,
    DELIVERY_WANTED_ENTRY,
    REFUSED,
)

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

    from ops.runtime.settings import Settings

LEAST_PAUSE_S: Final = 4.0
# Of the time between two reports, at most a fifth is spent on one; waiting between two samples is not counted.
SHARE: Final = 5.0
_ASK_AGAIN_S: Final = 1.0
_LIMIT_S: Final = 20.0
_TROUBLE: Final = "ClickHouse or the broker does not answer; `axonpush status` says more"

log = structlog.get_logger()


async def write_delivery_reports(client: Client, js: JetStreamContext, settings: Settings) -> None:
    """Computes and writes reports while they are wanted, until cancelled."""
    pause_until_s = 0.0
    while True:
        await asyncio.sleep(_ASK_AGAIN_S)
        if time.monotonic() < pause_until_s:
            continue
        began_s = time.monotonic()
        try:
            if not await _is_wanted(js):
                continue
            await _write(client, js, settings)
        except (NatsError, TimeoutError) as error:
            log.warning("delivery_report_failed", error=type(error).__name__)
        except Exception:  # without a janitor RAW fills: what is made for a page must never end it
            log.exception("delivery_report_failed")
        pause_until_s = time.monotonic() + pause_after(time.monotonic() - began_s)


def pause_after(took_s: float) -> float:
    """Seconds until the next report, after one that took so long."""
    return max(LEAST_PAUSE_S, SHARE * (took_s - SAMPLE_S))


async def _is_wanted(js: JetStreamContext) -> bool:
    try:
        message = await js.get_last_msg(f"KV_{CONTROL_BUCKET}", _subject(DELIVERY_WANTED_ENTRY), direct=True)
    except NotFoundError:
        return False
    text = (message.data or b"").decode("ascii", "replace")
    return text.isdigit() and time.time() - int(text) < DELIVERY_LOOK_S


async def _write(client: Client, js: JetStreamContext, settings: Settings) -> None:
    status = await Observer(settings, Path(), _LIMIT_S).status()
    waiting: dict[int, int] = {}
    for stream in (DEAD, REFUSED):
        counted = channel_counts(await stream_state(client, stream, by_subject=True))
        for channel, number in counted.items():
            waiting[channel] = waiting.get(channel, 0) + number
    await js.publish(
        _subject(DELIVERY_REPORT_ENTRY),
        orjson.dumps(page_report(status, waiting, time.time()), option=orjson.OPT_NON_STR_KEYS),
    )


def page_report(status: Status, dead_letters: dict[int, int], at_s: float) -> dict[str, Any]:
    """What the page shows of a status; nothing of addresses, disks and users."""
    reconciliation = status.reconciliation
    return {
        "at_s": at_s,
        "is_idle": reconciliation.is_idle if reconciliation else False,
        "held_since": reconciliation.held_since.isoformat() if reconciliation and reconciliation.held_since else None,
        "total": reconciliation.total.as_json() if reconciliation else None,
        "channels": [account.as_json() for account in reconciliation.channels] if reconciliation else [],
        "dead_letters": dead_letters,
        "workers": [
            {
                "worker": worker.worker,
                "pending": worker.pending + worker.in_flight,
                "rate": worker.rate,
                "oldest_s": worker.oldest_s,
                "listeners": worker.listeners,
                "missing": worker.missing,
                "unknown": worker.unknown,
            }
            for worker in status.workers
        ],
        # Its own text names servers.
        "trouble": _trouble(status),
    }


def _trouble(status: Status) -> str:
    if status.wrong_system:
        return f"{WRONG_SYSTEM}; `axonpush status` says more"
    return _TROUBLE if status.trouble else ""


def _subject(name: str) -> str:
    return f"$KV.{CONTROL_BUCKET}.{CONSOLE_PREFIX}{name}"
