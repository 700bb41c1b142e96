"""ClickHouse errors with code, text and HTTP status, as its HTTP interface returns them."""

from __future__ import annotations

import errno
import re
from typing import Final

# Codes that this server raises itself; others come from the engine's text.
CANNOT_READ_ALL_DATA: Final = 33
BAD_ARGUMENTS: Final = 36
CHECKSUM_DOESNT_MATCH: Final = 40
UNKNOWN_FUNCTION: Final = 46
NOT_IMPLEMENTED: Final = 48
LOGICAL_ERROR: Final = 49
SYNTAX_ERROR: Final = 62
UNKNOWN_FORMAT: Final = 73
UNKNOWN_COMPRESSION_METHOD: Final = 89
UNKNOWN_SETTING: Final = 115
TIMEOUT_EXCEEDED: Final = 159
READONLY: Final = 164
TOO_MANY_SIMULTANEOUS_QUERIES: Final = 202
SOCKET_TIMEOUT: Final = 209
NETWORK_ERROR: Final = 210
QUERY_WAS_CANCELLED: Final = 394
QUERY_IS_TOO_LARGE: Final = 229
ABORTED: Final = 236
MEMORY_LIMIT_EXCEEDED: Final = 241
NOT_ENOUGH_SPACE: Final = 243
TOO_LARGE_SIZE_COMPRESSED: Final = 270
CANNOT_DECOMPRESS: Final = 271
UNKNOWN_DATABASE_ENGINE: Final = 336
SUPPORT_IS_DISABLED: Final = 344
ZLIB_INFLATE_FAILED: Final = 354
INTO_OUTFILE_NOT_ALLOWED: Final = 358
SESSION_NOT_FOUND: Final = 372
SESSION_IS_LOCKED: Final = 373
INVALID_SESSION_TIMEOUT: Final = 374
BROTLI_READ_FAILED: Final = 448
ACCESS_DENIED: Final = 497
LZMA_STREAM_DECODER_FAILED: Final = 545
ZSTD_DECODER_FAILED: Final = 561
LZ4_DECODER_FAILED: Final = 618
AUTHENTICATION_FAILED: Final = 516
SETTING_CONSTRAINT_VIOLATION: Final = 452
UNSUPPORTED_MEDIA_TYPE: Final = 779
STD_EXCEPTION: Final = 1001

# HTTP status by error code, as in ClickHouse's HTTP handler; 500 for others.
_STATUS_CODES: Final[dict[int, tuple[int, ...]]] = {
    # the request cannot be parsed or has a wrong type
    400: (
        6,
        8,
        15,
        25,
        26,
        27,
        36,
        37,
        38,
        41,
        44,
        53,
        62,
        72,
        89,
        117,
        123,
        167,
        168,
        223,
        321,
        376,
        427,
        441,
        675,
        676,
    ),
    401: (194,),  # a password is required
    403: (192, 193, 497, 512, 516),  # user, password, rights
    404: (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511),  # unknown table, database, column, setting, …
    408: (159,),  # max_execution_time
    411: (381,),
    413: (229,),
    415: (779,),
    501: (48,),
    503: (76, 209, 439),  # cannot open a file, socket timeout, no thread
}
_STATUS: Final = {code: status for status, codes in _STATUS_CODES.items() for code in codes}
_CODE: Final = re.compile(r"Code: (\d+)\. ")
_VERSION: Final = re.compile(r" \(version [^()]*(?:\([^()]*\))?\)")


class ServerError(Exception):
    """A failed request: `code` is ClickHouse's, `text` the message for the client without the version."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        # The HTTP status ClickHouse answers for this code.
        self.status = _STATUS.get(code, 500)

    def body(self, version: str) -> str:
        """The response body: `Code: N. DB::Exception: … (NAME) (version V (official build))`."""
        return f"{self.text} (version {version} (official build))\n"


def refusal(code: int, name: str, text: str) -> ServerError:
    """An error of this server itself, in the form that clients parse."""
    return ServerError(code, f"Code: {code}. DB::Exception: {text} ({name})")


def denied(text: str) -> ServerError:
    """ClickHouse's error for missing rights."""
    return refusal(ACCESS_DENIED, "ACCESS_DENIED", f"Not enough privileges. {text}")


def from_engine(error: BaseException) -> ServerError:
    """Converts an exception of the engine, whose text has the code. The first code is the outermost error's."""
    text = _VERSION.sub("", str(error)).strip()
    code = _CODE.search(text)
    if code is None and isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return refusal(NOT_ENOUGH_SPACE, "NOT_ENOUGH_SPACE", text)
    if code is None:
        return refusal(STD_EXCEPTION, "STD_EXCEPTION", text or type(error).__name__)
    return ServerError(int(code.group(1)), text[code.start() :].strip())


def unknown_format(name: str) -> ServerError:
    """The engine's own text for an unknown format."""
    return refusal(UNKNOWN_FORMAT, "UNKNOWN_FORMAT", f"Unknown format {name}")
