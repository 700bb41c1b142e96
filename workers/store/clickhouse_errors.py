"""ClickHouse failures by what to do about them: error codes in tables, each with its reason. insert.py does it.

InsertFailed
|- RetryLater   the server's trouble: hold the rows, try again
|- BadData      a value in the rows: find it, insert the others
`- OurFault     schema or access: hold the rows, tell a person; never dead-letter good data
"""

from __future__ import annotations

import struct
from typing import Final

import aiohttp
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError, Error, ProgrammingError

RETRYABLE: Final = {
    3: "unexpected end of the connection",
    32: "connection ended inside a value",
    74: "server could not read disk",
    75: "server could not write disk",
    76: "server could not open file",
    95: "connection closed while reading",
    101: "packet out of the protocol",
    159: "query took too much time",
    160: "query estimated too slow now",
    164: "server is in readonly mode",
    198: "name of server not resolved",
    201: "quota of server used up",
    202: "too many queries running already",
    203: "no free connection in pool",
    209: "socket timed out while waiting",
    210: "network failed on the way",
    225: "keeper is away from server",
    236: "server aborted while shutting down",
    241: "server has no memory left",
    242: "replica table is readonly now",
    243: "disk of server is full",
    252: "too many parts, merges behind",
    254: "replica has no active peers",
    265: "server has too few resources",
    279: "all connection tries have failed",
    285: "too few live replicas now",
    286: "quorum of replicas not reached",
    290: "limit of connections was reached",
    319: "status of insert is unknown",
    394: "query was cancelled by someone",
    425: "system call of server failed",
    439: "server cannot start a thread",
    999: "keeper of cluster had trouble",
}  # fmt: skip

BAD_DATA: Final = {
    6: "text is not that type",
    26: "quoted text could not parse",
    27: "input does not parse here",
    33: "value ended before its length",
    38: "text is not a date",
    41: "text is not a time",
    43: "value of an illegal type",
    53: "value's type does not match",
    69: "argument lies out of bounds",
    70: "value cannot convert to column",
    72: "text is not a number",
    117: "data is wrong for column",
    130: "array text does not parse",
    131: "string larger than server allows",
    190: "arrays of different lengths inside",
    321: "value lies outside its range",
    349: "null in column without null",
    376: "text is not a UUID",
    407: "decimal overflows its column type",
    441: "text is not an address",
    469: "row violates the table's constraint",
    675: "text is not an IPv4",
    676: "text is not an IPv6",
}  # fmt: skip

OUR_FAULT: Final = {
    10: "column not found in block",
    16: "column is not in table",
    44: "column cannot be inserted into",
    47: "identifier in query is unknown",
    60: "table does not exist yet",
    62: "query text is not SQL",
    81: "database does not exist yet",
    115: "setting is unknown to server",
    192: "user is unknown to server",
    193: "password of user is wrong",
    194: "password of user is missing",
    291: "access to database was denied",
    497: "user lacks the needed grant",
    516: "authentication of user has failed",
}  # fmt: skip

UNKNOWN: Final = "unknown error, tried again anyway"
UNENCODABLE: Final = "value does not fit column"
_NO_SPACE: Final = "No space left on device"
UNREACHABLE: Final = "server could not be reached"

# What a Python value that does not fit its column makes the encoder raise.
_ENCODER_ERRORS: Final = (
    struct.error, OverflowError, UnicodeError, TypeError, ValueError, AttributeError, KeyError, IndexError,
)  # fmt: skip


class InsertFailed(Exception):
    """`code` is ClickHouse's, 0 where the error arose before the server; `reason` is five words from the tables."""

    kind = "unknown"

    def __init__(self, reason: str, message: str, code: int = 0) -> None:
        self.reason = reason
        self.message = message
        self.code = code
        super().__init__(f"{reason} (code {code}): {message}")


class RetryLater(InsertFailed):
    """Hold the rows and try the same insert again. `is_known` False: an error nobody has classified; tell a person."""

    kind = "retry"

    def __init__(self, reason: str, message: str, code: int = 0, *, is_known: bool = True) -> None:
        super().__init__(reason, message, code)
        self.is_known = is_known


class BadData(InsertFailed):
    """At least one row can never be inserted."""

    kind = "data"


class OurFault(InsertFailed):
    """No row can be inserted until a person, or `axonpush migrate`, has mended schema or access."""

    kind = "ours"


def classify(error: Exception) -> InsertFailed:
    """What to do about an error of clickhouse-connect, of the transport or of the encoder."""
    message = str(error) or type(error).__name__
    if isinstance(error, InsertFailed):
        return error
    if isinstance(error, aiohttp.ClientError | OSError | TimeoutError):
        return RetryLater(UNREACHABLE, message)
    if isinstance(error, Error) and error.code is not None:
        return _by_code(error.code, message)
    if isinstance(error, DataError):
        return BadData(UNENCODABLE, message)
    if isinstance(error, ProgrammingError):
        return OurFault("client refused the insert itself", message)
    if isinstance(error, ClickHouseError):
        return RetryLater(UNREACHABLE, message)
    if isinstance(error, _ENCODER_ERRORS):
        return BadData(UNENCODABLE, message)
    return RetryLater(UNKNOWN, message, is_known=False)


def _by_code(code: int, message: str) -> InsertFailed:
    if code in BAD_DATA:
        return BadData(BAD_DATA[code], message, code)
    if code in OUR_FAULT:
        return OurFault(OUR_FAULT[code], message, code)
    if code not in RETRYABLE and _NO_SPACE in message:  # of the file system, passed on without a code of its own
        return RetryLater(RETRYABLE[243], message, code)
    return RetryLater(RETRYABLE.get(code, UNKNOWN), message, code, is_known=code in RETRYABLE)
