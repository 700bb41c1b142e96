"""Which tags and attributes events have, and all of one span or log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from console.api.answers import iso_time
from console.query.fields import Kind

if TYPE_CHECKING:
    from console.explore.question import Question
    from console.query.datasets import Dataset
    from console.storage.clickhouse import ClickHouse, Row

# Names are the same in most events: more rows show hardly more names.
MAX_ROWS: Final = 20_000
MAX_NAMES: Final = 1_000
_TYPES: Final = {Kind.NUMBER: "number", Kind.DURATION: "number", Kind.FLAG: "boolean", Kind.PROJECT_NUMBER: "number"}
_NAMED: Final = f"""
SELECT pair.1 AS name, pair.2 AS type, count() AS times
FROM
(
    SELECT arrayJoin(arrayConcat(
        arrayMap(key -> (toString(key), 'string'), mapKeys(attributes_string)),
        arrayMap(key -> (toString(key), 'number'), mapKeys(attributes_int)),
        arrayMap(key -> (toString(key), 'number'), mapKeys(attributes_double)),
        arrayMap(key -> (toString(key), 'boolean'), mapKeys(attributes_bool)),
        arrayMap(key -> (toString(key), 'string'), mapKeys(resource)))) AS pair
    FROM (SELECT attributes_string, attributes_int, attributes_double, attributes_bool, resource
          FROM events WHERE WHERE_OF_QUESTION LIMIT {MAX_ROWS})
)
WHERE {{part:String}} = '' OR positionCaseInsensitiveUTF8(name, {{part:String}}) > 0
GROUP BY name, type ORDER BY times DESC, name, type LIMIT {MAX_NAMES}"""


async def named(clickhouse: ClickHouse, question: Question, part: str) -> list[Row]:
    """Names, types and events of the tags and attributes of a sample of events; `part` is in the name."""
    if not question.scope.projects:
        return []
    sql = _NAMED.replace("WHERE_OF_QUESTION", question.where)
    values = {**question.parameters.values, **question.scope.parameters()}
    return await clickhouse.query(sql, **values, part=part)


def built_in(dataset: Dataset, part: str) -> list[tuple[str, str]]:
    """Names and types of the fields that every event of a dataset has."""
    names = ((name, _TYPES.get(field.kind, "string")) for name, field in dataset.fields.items() if not field.of_issue)
    return [(name, type_) for name, type_ in names if part.lower() in name.lower()]


def attribute_shape(name: str, type_: str, *, is_built_in: bool) -> dict[str, Any]:
    """As /trace-items/attributes/ answers."""
    return {
        "key": name if type_ == "string" or is_built_in else f"tags[{name},{type_}]",
        "name": name,
        "attributeType": type_,
        "attributeSource": {"source_type": "sentry" if is_built_in else "user"},
        "secondaryAliases": [],
    }


def item_shape(row: Row, item_id: str) -> dict[str, Any]:
    """All of one span or log, as /trace-items/ID/ answers."""
    columns = {
        name: row[name]
        for name in ("trace_id", "span_id", "parent_span_id", "environment", "release", "service_name", "name", "body")
        if row[name]
    }
    attributes = [{"name": name, "type": "str", "value": str(value)} for name, value in columns.items()]
    for name, value in row["attributes"].items():
        attributes.append({"name": name, "type": "str", "value": str(value)})
    for name, value in row["resource"].items():
        attributes.append({"name": f"resource.{name}", "type": "str", "value": str(value)})
    return {"itemId": item_id, "timestamp": iso_time(row["timestamp"]), "attributes": attributes, "meta": {}}
