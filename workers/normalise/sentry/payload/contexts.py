"""The contexts of a Sentry payload flattened into attributes, under OpenTelemetry's names where it has them."""

from __future__ import annotations

from typing import Any, Final

from workers.normalise.attributes import Attributes
from workers.normalise.scalars import as_dict, as_list, as_text

CONTEXTS_INVALID: Final = "contexts_invalid"

# The whole prefix of a context, where it is not the context's own name.
_PREFIXES: Final = {"runtime": "process.runtime.", "cloud_resource": "", "cloudResource": ""}
# Names that SDKs use as keys inside a context, and what the semantic conventions call them.
_NAMES: Final[dict[str, dict[str, str]]] = {
    "os": {"raw_description": "os.description", "build": "os.build_id"},
    "runtime": {"raw_description": "process.runtime.description"},
    "device": {
        "arch": "host.arch",
        "brand": "device.brand",
        "device_unique_identifier": "device.id",
        "model": "device.model.identifier",
        "model_id": "device.model.id",
    },
    "app": {
        "app_build": "app.build_id",
        "app_identifier": "app.identifier",
        "app_name": "app.name",
        "app_version": "app.version",
    },
    "response": {"status_code": "http.response.status_code", "body_size": "http.response.body.size"},
    "replay": {"replay_id": "replay_id"},
    "profile": {"profile_id": "profile_id", "profiler_id": "profiler_id"},
}
# Read elsewhere, or too big and too odd to be worth a key each: they stay in the payload.
_SKIPPED: Final = frozenset({"trace", "state", "flags", "otel"})


def read_contexts(payload: dict[str, Any], repairs: list[str]) -> dict[str, Any]:
    """The contexts object, {} if there is none; `sentry.interfaces.Contexts` is its old name."""
    value = payload.get("contexts")
    if value is None:
        value = payload.get("sentry.interfaces.Contexts")
    if value is not None and value.__class__ is not dict:
        repairs.append(CONTEXTS_INVALID)
    return as_dict(value)


def put_contexts(contexts: dict[str, Any], attributes: Attributes) -> None:
    """Every context's fields under `<context>.<field>`; objects inside a context become JSON text."""
    for name, context in contexts.items():
        if name in _SKIPPED:
            continue
        if context.__class__ is dict:
            _put_context(name, context, attributes)
        else:
            attributes.put(name, context)
    if "flags" in contexts:
        _put_flags(as_dict(contexts["flags"]).get("values"), attributes)
    if "otel" in contexts:
        attributes.put_all("", as_dict(as_dict(contexts["otel"]).get("attributes")))


def _put_context(name: str, context: dict[str, Any], attributes: Attributes) -> None:
    prefix = _PREFIXES.get(name)
    if prefix is None:
        prefix = f"{name}."
    names = _NAMES.get(name)
    put = attributes.put
    for key, value in context.items():
        if key == "type" or value is None:
            continue
        renamed = names.get(key) if names else None
        put(renamed or prefix + key, _status_code(value) if key == "status_code" else value)


def _status_code(value: Any) -> Any:
    """Some SDKs send "404": the column is computed from the map of integers."""
    text = as_text(value)
    return int(text) if len(text) == 3 and text.isascii() and text.isdigit() else value


def _put_flags(values: Any, attributes: Attributes) -> None:
    """Feature flags as they were evaluated, oldest first: the last evaluation is the one that held."""
    results = {as_text(as_dict(flag).get("flag")): as_dict(flag).get("result") for flag in as_list(values)}
    for name, result in results.items():
        if name:
            attributes.put(f"feature_flag.{name}", result)
