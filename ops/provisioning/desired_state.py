"""What the system should be: one entry of the registry bucket. Provisioning follows it, never a variable of a shell."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nats.errors import Error as NatsError
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError
from pydantic import ValidationError

from ops.provisioning.amounts import duration_text, exact_size, for_people
from ops.provisioning.streams import Budgets
from ops.runtime.failures import Conflict, Failed, broker_failure
from schemas.registry import DesiredState, decode
from schemas.subjects import REGISTRY_BUCKET

if TYPE_CHECKING:
    from nats.js import JetStreamContext
    from nats.js.kv import KeyValue

    from ops.runtime.settings import Settings

SIZES: Final = tuple(Budgets.model_fields)
CAS_ATTEMPTS: Final = 20


@dataclass(frozen=True, slots=True)
class StateField:
    """One value of the desired state: its option, how it is printed, and which of two values takes something away."""

    name: str
    option: str
    text: Callable[[Any], str] = str
    is_lower: Callable[[Any, Any], bool] = lambda before, after: after < before
    # What 0 means, where it is not the least.
    zero: str = ""

    def shown(self, value: Any) -> str:
        """The value for people; an option takes `text`."""
        return f"0 ({self.zero})" if self.zero and value == 0 else self.text(value)

    @property
    def variable(self) -> str:
        return f"AXONPUSH_{self.name.upper()}"

    def command(self, value: Any) -> str:
        """The command that sets it. Without --allow-lowering: who lowers a value shall first see what it costs."""
        return f"axonpush cluster set {self.option} {self.text(value).replace(' ', '') or chr(39) * 2}"

    def advice(self, value: Any, before: Any) -> str:
        """The command that sets it and what it does, for a system that has the value `before`."""
        does = "says what that takes away, and how to do it" if self.is_lower(before, value) else "changes the system"
        return f"`{self.command(value)}` {does}"


def _days(days: int) -> str:
    return str(days)


def _is_shorter(before: int, after: int) -> bool:
    """0 days means that rows are never deleted."""
    return bool(after) and (not before or after < before)


FIELDS: Final[dict[str, StateField]] = {
    state_field.name: state_field
    for state_field in (
        StateField("nats_replicas", "--replicas"),
        *(StateField(name, f"--{name.replace('_', '-')}", exact_size) for name in SIZES),
        StateField("clickhouse_ttl_days", "--clickhouse-ttl-days", _days, _is_shorter, "for ever"),
        StateField("artifacts_ttl_days", "--artifacts-ttl-days", _days, _is_shorter, "for ever"),
        StateField("replay_horizon_s", "--replay-horizon", duration_text),
        StateField("janitor_pressure", "--janitor-pressure", "{:g}".format),
        StateField("public_url", "--public-url", str, lambda _before, _after: False),
    )
}
# Settings that only the janitor reads: it stores its own at its first start, if nobody has decided.
JANITOR_FIELDS: Final[tuple[str, ...]] = ("replay_horizon_s", "janitor_pressure")


@dataclass(frozen=True, slots=True)
class Asked:
    """What settings and options ask for. `said` names those that somebody gave, and where: a variable or an option.

    `sizes_by_disk`: `axonpush up` computed the sizes.
    """

    values: Mapping[str, Any]
    said: Mapping[str, str] = field(default_factory=dict)
    sizes_by_disk: bool = False

    def new_state(self, actual: Mapping[str, Any]) -> DesiredState:
        """The first entry of a system: what was found on its streams, else what was asked for.

        The TTL is decided when the tables are looked at.
        """
        given = {**self.values, "clickhouse_ttl_days": None, "sizes_by_disk": self.sizes_by_disk}
        return checked({**given, **actual, "changed_at": _now()})

    def disagreements(self, state: DesiredState) -> list[str]:
        """One text for each given value that the system does not keep."""
        texts = []
        for name, where in self.said.items():
            kept = getattr(state, name)
            if kept is not None and kept != self.values[name]:
                state_field = FIELDS[name]
                asked, keeps = for_people(state_field.shown(self.values[name]), state_field.shown(kept))
                texts.append(
                    f"{where} is {asked}, but this system keeps {keeps}: it was not "
                    f"applied. {state_field.advice(self.values[name], kept)}; otherwise remove it"
                )
        return texts


def asked_by(settings: Settings, budgets: Budgets) -> Asked:
    """What these settings ask for: replicas, TTL and sizes. The janitor stores its own settings."""
    values = {
        name: getattr(source, name)
        for source in (settings, budgets)
        for name in FIELDS
        if name in type(source).model_fields and name not in JANITOR_FIELDS
    }
    given = settings.model_fields_set | budgets.model_fields_set
    return Asked(values, {name: FIELDS[name].variable for name in FIELDS if name in given and name in values})


def checked(values: Mapping[str, Any]) -> DesiredState:
    """The entry with these values. Raises Failed that names the one that is wrong."""
    try:
        return DesiredState.model_validate(dict(values))
    except ValidationError as error:
        wrong = error.errors(include_input=False)[0]
        name = str(wrong["loc"][0]) if wrong["loc"] else "value"
        option = FIELDS[name].option if name in FIELDS else name
        raise Failed(f"{option}: {wrong['msg']}") from error


class StateStore:
    """Reads and writes the entry. Methods raise Failed, Conflict, NatsError."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    async def read(self) -> DesiredState | None:
        """The entry; None if there is none."""
        return (await self._read())[0]

    async def add(self, state: DesiredState) -> DesiredState:
        """Stores the first entry; returns the one of another command that was faster."""
        try:
            await self._bucket.create(state.kv_key, _encoded(state))
        except KeyWrongLastSequenceError:
            stored = await self.read()
            if stored is None:
                raise Conflict("another command changed the desired state: run this command again") from None
            return stored
        return state

    async def change(self, fields: Mapping[str, Any]) -> DesiredState:
        """Changes some values and counts the version up; other values stay."""
        for _ in range(CAS_ATTEMPTS):
            stored, revision = await self._read()
            if stored is None:
                raise Failed("this system has no desired state yet: run `axonpush migrate` first")
            if all(getattr(stored, name) == value for name, value in fields.items()):
                return stored
            changed = checked(
                stored.model_dump() | dict(fields) | {"version": stored.version + 1, "changed_at": _now()}
            )
            try:
                await self._bucket.update(changed.kv_key, _encoded(changed), last=revision)
            except KeyWrongLastSequenceError:
                continue
            return changed
        raise Conflict("other commands kept changing the desired state: run this command again")

    async def _read(self) -> tuple[DesiredState | None, int]:
        try:
            entry = await self._bucket.get(DesiredState.KV_KEY)
        except KeyNotFoundError:
            return None, 0
        try:
            state = decode(DesiredState.KV_KEY, entry.value or b"")
        except ValueError as error:
            raise Failed(
                f"the entry {DesiredState.KV_KEY} of bucket {REGISTRY_BUCKET} cannot be read by this version: "
                "upgrade axonpush-ingest"
            ) from error
        return (state if isinstance(state, DesiredState) else None), entry.revision or 0


async def open_state(js: JetStreamContext) -> StateStore | None:
    """The store; None if the registry bucket does not exist yet. Raises NatsError."""
    try:
        return StateStore(await js.key_value(REGISTRY_BUCKET))
    except BucketNotFoundError:
        return None


async def stored_state(js: JetStreamContext) -> DesiredState | None:
    """The desired state, None on a system without one. Raises Failed if it cannot be read."""
    try:
        store = await open_state(js)
        return await store.read() if store else None
    except (NatsError, TimeoutError) as error:
        raise Failed(
            f"the broker did not complete the request: {broker_failure(error)}. Run the command again."
        ) from error


def _encoded(state: DesiredState) -> bytes:
    return state.model_dump_json().encode()


def _now() -> str:
    return dt.datetime.now(dt.UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
