"""Dead letters of an organisation as ClickHouse has them: a list, one with its bytes, what became of a retry."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from console.api.answers import iso_time
from schemas import headers
from schemas.encodings import CorruptBody, TooLarge, UnsupportedEncoding, inflate
from schemas.key_masking import mask_keys

if TYPE_CHECKING:
    from console.storage.clickhouse import ClickHouse, Row
    from schemas.registry import Channel

MAX_ERROR: Final = 2_000
SHOWN_BYTES: Final = 64_000
HEX_BYTES: Final = 4_096
_HEX_WIDTH: Final = 16
# Compressed bodies are shown decompressed up to this size; larger ones as they are.
MAX_INFLATED: Final = 8_000_000
_OWN: Final = "organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}"
_FACTS: Final = (
    "dead_seq, channel_id, key_id, stage, item_type, reason, error, received_at, deliveries, length(body) AS size"
)
_LIST: Final = f"""
SELECT {_FACTS} FROM dead_letters
WHERE {_OWN} AND received_at >= toDateTime64({{since:UInt32}}, 9, 'UTC')
  AND (empty({{reason:String}}) OR reason = {{reason:String}}) AND (empty({{stage:String}}) OR stage = {{stage:String}})
  AND (empty({{item_type:String}}) OR item_type = {{item_type:String}})
ORDER BY received_at DESC, dead_seq DESC LIMIT {{limit:UInt32}} OFFSET {{offset:UInt32}}"""
# First where it is, then its body: other bodies, which may be large, are not read.
_PLACE: Final = f"""
SELECT channel_id, stage, received_at, dead_id FROM dead_letters
WHERE {_OWN} AND dead_seq = {{number:UInt64}} LIMIT 1"""
_ONE: Final = f"""
SELECT {_FACTS}, headers, base64Encode(body) AS bytes FROM dead_letters
WHERE {_OWN} AND stage = {{stage:String}} AND received_at = toDateTime64({{received_at:String}}, 9, 'UTC')
  AND dead_id = {{dead_id:UUID}} LIMIT 1"""
_PROCESSED: Final = f"""
SELECT count() AS number FROM taken_rows FINAL WHERE {_OWN} AND generation = {{generation:UInt32}}"""
_DEAD_AGAIN: Final = f"""
SELECT reason, count() AS number, max(dead_seq) AS newest FROM dead_letter_rows FINAL
WHERE {_OWN} AND generation = {{generation:UInt32}} GROUP BY reason ORDER BY number DESC, reason LIMIT 20"""


@dataclass(frozen=True, slots=True)
class DeadLetterBody:
    """The bytes of a dead letter. The table has them with keys masked, otherwise as they came."""

    data: bytes
    encoding: str

    def shown(self) -> dict[str, Any]:
        """The first bytes as text, decompressed if they can be, and in hexadecimal."""
        data, note = self.data, ""
        try:
            data = mask_keys(inflate(self.data, self.encoding, MAX_INFLATED))
        except (CorruptBody, TooLarge, UnsupportedEncoding) as error:
            note = str(error)
        first = data[:SHOWN_BYTES]
        text = first.decode("utf-8", "replace")
        return {
            "text": text,
            "isText": "\0" not in text and text.count("\ufffd") <= len(text) // 100 + 1,
            "hex": hex_lines(data[:HEX_BYTES]),
            "sizeBytes": len(data),
            "shownBytes": len(first),
            "note": note,
        }


class DeadLetterReader:
    """Reads dead letters of these projects."""

    def __init__(self, clickhouse: ClickHouse, organisation: str, projects: Sequence[Channel]) -> None:
        self._clickhouse = clickhouse
        self._organisation = organisation
        self._slugs = {project.id: project.project_slug for project in projects}

    async def page(self, since_s: int, like: dict[str, str], limits: dict[str, int]) -> list[dict[str, Any]]:
        """Those that wait, the newest first. `like` has reason, stage and item_type; an empty one fits all."""
        return [self._shape(row) for row in await self._rows(_LIST, since=since_s, **like, **limits)]

    async def one(self, number: int) -> tuple[dict[str, Any], DeadLetterBody] | None:
        """One with its headers and bytes; None if there is none."""
        places = await self._rows(_PLACE, number=number)
        if not places:
            return None
        place = {name: places[0][name] for name in ("stage", "received_at", "dead_id")}
        rows = await self._rows(_ONE, **place)
        if not rows:
            return None
        header_texts = {str(name): str(value)[:MAX_ERROR] for name, value in rows[0]["headers"].items()}
        body = DeadLetterBody(base64.b64decode(rows[0]["bytes"]), header_texts.get(headers.CONTENT_ENCODING, ""))
        return self._shape(rows[0]) | {"headers": dict(sorted(header_texts.items()))}, body

    async def outcome(self, generation: int) -> dict[str, Any]:
        """What became of a retry: how many messages were processed, and which became dead letters again."""
        counted = await self._rows(_PROCESSED, generation=generation)
        again = await self._rows(_DEAD_AGAIN, generation=generation)
        return {
            "processed": counted[0]["number"] if counted else 0,
            "deadAgain": [{name: row[name] for name in ("reason", "number", "newest")} for row in again],
        }

    async def _rows(self, sql: str, **parameters: Any) -> list[Row]:
        if not self._slugs:
            return []
        return await self._clickhouse.query(
            sql, organisation=self._organisation, channels=sorted(self._slugs), **parameters
        )

    def _shape(self, row: Row) -> dict[str, Any]:
        return {
            "number": row["dead_seq"],
            "project": self._slugs.get(int(row["channel_id"]), ""),
            "key": row["key_id"],
            "stage": row["stage"],
            "itemType": row["item_type"],
            "reason": row["reason"],
            "error": str(row["error"])[:MAX_ERROR],
            "received": iso_time(row["received_at"]),
            "deliveries": row["deliveries"],
            "sizeBytes": row["size"],
        }


def hex_lines(data: bytes) -> str:
    """As hexdump writes it: offset, 16 bytes, and the characters that can be printed."""
    return "\n".join(
        f"{at:08x}  {line.hex(' '):<47}  {''.join(chr(byte) if 32 <= byte < 127 else '.' for byte in line)}"
        for at in range(0, len(data), _HEX_WIDTH)
        for line in (data[at : at + _HEX_WIDTH],)
    )
