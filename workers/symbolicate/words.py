"""What a row's `repairs` say about frames that could not be resolved, one word for each reason."""

from __future__ import annotations

from typing import Final

# An artifact of this release or debug id is known, but not one for each of its files.
SOURCE_MAP_MISSING: Final = "source_map_missing"
SOURCE_MAP_INVALID: Final = "source_map_invalid"
# It took more time or memory than one map may.
SOURCE_MAP_TOO_COSTLY: Final = "source_map_too_costly"
# The object store did not answer.
SOURCE_MAP_UNREACHABLE: Final = "source_map_unreachable"
MAPPING_MISSING: Final = "mapping_missing"
MAPPING_INVALID: Final = "mapping_invalid"
# The package `symbolic` is not installed in the worker.
NOT_INSTALLED: Final = "symbolic_not_installed"
FAILED: Final = "symbolication_failed"
