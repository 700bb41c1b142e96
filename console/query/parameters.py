"""The values of one statement: what a client said is a parameter, never text of SQL."""

from __future__ import annotations

from typing import Final

from console.api.errors import ApiError
from console.storage.clickhouse import Value

# More than any question needs: each value is a part of a form.
MAX_PARAMETERS: Final = 2_000


class Parameters:
    """Collects values; `new` answers what stands for one in the SQL."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}

    def new(self, value: Value, kind: str = "String") -> str:
        """A placeholder with the type that ClickHouse reads the value as. Raises ApiError 400 if there are too many."""
        if len(self.values) >= MAX_PARAMETERS:
            raise ApiError(400, f"query: expected at most {MAX_PARAMETERS} values, found more")
        name = f"q{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{kind}}}"

    def attribute(self, name: str) -> str:
        """A tag, an attribute of any type, or an attribute of the resource, as text; an empty one if there is none."""
        key = self.new(name)
        return (
            f"multiIf(mapContains(attributes_string, {key}), attributes_string[{key}], "
            f"mapContains(attributes_int, {key}), toString(attributes_int[{key}]), "
            f"mapContains(attributes_double, {key}), toString(attributes_double[{key}]), "
            f"mapContains(attributes_bool, {key}), toString(attributes_bool[{key}]), "
            f"resource[{key}])"
        )
