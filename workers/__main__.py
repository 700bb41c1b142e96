"""`python -m workers event log`, or `all`."""

from __future__ import annotations

import sys

from pydantic import ValidationError

from ops.runtime.environment.variables import check_variables
from workers.process import UnknownWorker, main

BAD_USAGE = 2

if __name__ == "__main__":
    check_variables()
    try:
        main(sys.argv[1:])
    except UnknownWorker as error:
        sys.stderr.write(f"python -m workers: {error}\n")
        sys.exit(BAD_USAGE)
    except ValidationError as error:
        sys.stderr.write(f"settings (AXONPUSH_*): {error}\n")
        sys.exit(BAD_USAGE)
