"""Access to the bucket `control`: the generation counter, the state of replays, and ack floors of durables.

ops/replay/run.py and ops/provisioning/durables.py use it.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from nats.errors import Error as NatsError
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError, NoKeysError
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from ops.runtime.failures import Conflict, Failed, broker_failure
from schemas.headers import MAX_GENERATION
from schemas.subjects import CONTROL_BUCKET

if TYPE_CHECKING:
    from nats.js import JetStreamContext
    from nats.js.kv import KeyValue

GENERATION_KEY: Final = "generation"
REPLAY_KEY_PREFIX: Final = "replay."
FLOORS_KEY: Final = "floors"
CAS_ATTEMPTS: Final = 50
# A replay that has not saved its state for this long counts as abandoned; the janitor then ignores it.
ALIVE_S: Final = 600.0


class Choice(BaseModel):
    """Which bodies to replay: received from `since` (inclusive) to `until` (exclusive), by route, channel and item
    type.

    An empty list means all.
    """

    since: dt.datetime
    until: dt.datetime
    routes: list[str] = Field(default_factory=list)
    channels: list[int] = Field(default_factory=list)
    types: list[str] = Field(default_factory=list)


class ReplayState(BaseModel):
    """Progress of a replay over the bodies from `first_seq` to before `end_seq`; `next_seq` is published next.

    It is deleted when the replay ends, so every stored state can be resumed.
    """

    generation: int
    choice: Choice
    rate: float
    first_seq: int
    next_seq: int
    end_seq: int
    total: int
    published: int = 0
    updated_at: dt.datetime

    def is_alive(self, now: dt.datetime) -> bool:
        """Whether a command has saved this state recently."""
        return (now - self.updated_at).total_seconds() < ALIVE_S


class AckFloor(BaseModel):
    """The sequence up to which a durable has acknowledged everything, in the stream created at `created`."""

    created: str
    seq: int


_FLOORS: Final = TypeAdapter(dict[str, AckFloor])


class Control:
    """The opened bucket."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    async def next_generation(self) -> int:
        """A new generation, higher than that of every earlier replay, retry or drop. Raises Failed."""
        for _ in range(CAS_ATTEMPTS):
            last, revision = await self._generation()
            if last >= MAX_GENERATION:
                raise Failed(f"all {MAX_GENERATION} generations are used up: start with new streams and tables")
            try:
                if revision:
                    await self._bucket.update(GENERATION_KEY, str(last + 1).encode(), last=revision)
                else:
                    await self._bucket.create(GENERATION_KEY, b"1")
            except KeyWrongLastSequenceError:
                continue
            return last + 1
        raise Conflict("other commands kept taking generations: run this command again")

    async def save(self, state: ReplayState) -> None:
        """Stores the progress of a replay."""
        await self._bucket.put(f"{REPLAY_KEY_PREFIX}{state.generation}", state.model_dump_json().encode())

    async def replays(self) -> list[ReplayState]:
        """Every stored replay, oldest first."""
        try:
            keys = [key for key in await self._bucket.keys() if key.startswith(REPLAY_KEY_PREFIX)]
        except NoKeysError:
            return []
        states = [state for key in keys if (state := await self._replay(key)) is not None]
        return sorted(states, key=lambda state: state.generation)

    async def forget(self, state: ReplayState) -> None:
        """Deletes the state of a replay."""
        await self._bucket.purge(f"{REPLAY_KEY_PREFIX}{state.generation}")

    async def ack_floors(self) -> dict[str, AckFloor]:
        """The last stored ack floor of each durable, by name; empty if none was stored."""
        try:
            return _FLOORS.validate_json((await self._bucket.get(FLOORS_KEY)).value or b"{}")
        except (KeyNotFoundError, ValidationError):
            return {}

    async def save_ack_floors(self, ack_floors: dict[str, AckFloor]) -> None:
        """Stores the ack floor of each durable."""
        await self._bucket.put(FLOORS_KEY, _FLOORS.dump_json(ack_floors))

    async def _generation(self) -> tuple[int, int]:
        try:
            entry = await self._bucket.get(GENERATION_KEY)
        except KeyNotFoundError:
            return 0, 0
        return int(entry.value or b"0"), entry.revision or 0

    async def _replay(self, key: str) -> ReplayState | None:
        try:
            return ReplayState.model_validate_json((await self._bucket.get(key)).value or b"")
        except (KeyNotFoundError, ValidationError):
            return None


async def open_control(js: JetStreamContext) -> Control:
    """The control bucket. Raises Failed if `axonpush migrate` has not created it."""
    try:
        return Control(await js.key_value(CONTROL_BUCKET))
    except BucketNotFoundError as error:
        raise Failed(f"expected bucket {CONTROL_BUCKET} on the broker, found none: run `axonpush migrate`") from error
    except NatsError as error:
        raise Failed(
            f"the broker did not complete the request: {broker_failure(error)}. Run the command again."
        ) from error
