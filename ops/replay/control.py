"""The control bucket: the counter of generations, how far each replay is, how far each durable. What each means is
ops/replay/run.py's and ops/provisioning/durables.py's.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from nats.errors import Error as NatsError
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError, NoKeysError
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from ops.runtime.failures import Conflict, Failed
from schemas.headers import MAX_GENERATION
from schemas.subjects import CONTROL_BUCKET

if TYPE_CHECKING:
    from nats.js import JetStreamContext
    from nats.js.kv import KeyValue

GENERATION_KEY: Final = "generation"
REPLAY_KEY_PREFIX: Final = "replay."
FLOORS_KEY: Final = "floors"
CAS_ATTEMPTS: Final = 50
# A replay that has not said anything for this long is taken for abandoned, and no longer holds the janitor up.
ALIVE_S: Final = 600.0


class Choice(BaseModel):
    """Which bodies are replayed: from `since` (incl.) to `until` (excl.), of these routes, channels and item types.

    Empty means all of them.
    """

    since: dt.datetime
    until: dt.datetime
    routes: list[str] = Field(default_factory=list)
    channels: list[int] = Field(default_factory=list)
    types: list[str] = Field(default_factory=list)


class ReplayState(BaseModel):
    """How far a replay is: bodies of RAW from `first_seq` to before `end_seq`, and `next_seq` is the next to publish.

    It is forgotten when it has come to its end, so whatever is stored can be resumed.
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
        """Whether somebody works on it, as far as can be known."""
        return (now - self.updated_at).total_seconds() < ALIVE_S


class Floor(BaseModel):
    """Up to which sequence a durable has settled everything, of the stream that was made at `created`."""

    created: str
    seq: int


_FLOORS: Final = TypeAdapter(dict[str, Floor])


class Control:
    """The bucket, opened."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    async def next_generation(self) -> int:
        """A number no replay, retry or drop has had: higher than all before. Raises Failed."""
        for _ in range(CAS_ATTEMPTS):
            found, revision = await self._generation()
            if found >= MAX_GENERATION:
                raise Failed(f"all {MAX_GENERATION} generations are used up: start with new streams and tables")
            try:
                if revision:
                    await self._bucket.update(GENERATION_KEY, str(found + 1).encode(), last=revision)
                else:
                    await self._bucket.create(GENERATION_KEY, b"1")
            except KeyWrongLastSequenceError:
                continue
            return found + 1
        raise Conflict("other commands kept taking generations: run this one again")

    async def save(self, state: ReplayState) -> None:
        """Stores how far a replay is."""
        await self._bucket.put(f"{REPLAY_KEY_PREFIX}{state.generation}", state.model_dump_json().encode())

    async def replays(self) -> list[ReplayState]:
        """Every replay that is remembered, oldest first."""
        try:
            keys = [key for key in await self._bucket.keys() if key.startswith(REPLAY_KEY_PREFIX)]
        except NoKeysError:
            return []
        found = [state for key in keys if (state := await self._replay(key)) is not None]
        return sorted(found, key=lambda state: state.generation)

    async def forget(self, state: ReplayState) -> None:
        """Removes a replay that nobody will resume."""
        await self._bucket.purge(f"{REPLAY_KEY_PREFIX}{state.generation}")

    async def floors(self) -> dict[str, Floor]:
        """How far each durable had come when somebody last looked, by its name; empty where nobody has."""
        try:
            return _FLOORS.validate_json((await self._bucket.get(FLOORS_KEY)).value or b"{}")
        except (KeyNotFoundError, ValidationError):
            return {}

    async def save_floors(self, floors: dict[str, Floor]) -> None:
        """Notes how far each durable has come."""
        await self._bucket.put(FLOORS_KEY, _FLOORS.dump_json(floors))

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
    """The control bucket. Raises Failed when `axonpush migrate` has not made it."""
    try:
        return Control(await js.key_value(CONTROL_BUCKET))
    except BucketNotFoundError as error:
        raise Failed(f"expected bucket {CONTROL_BUCKET} on the broker, found none: run `axonpush migrate`") from error
    except NatsError as error:
        raise Failed(f"the broker did not complete the request: {error!r}. Run the command again.") from error
