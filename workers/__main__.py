"""`python -m workers event log`, or `all`."""

from __future__ import annotations

import sys

from pydantic import ValidationError

from ops.runtime.environment.variables import check_variables
from ops.runtime.failures import Failed, WrongSetting
from ops.runtime.process.start_errors import BAD_USAGE, FAILED, settings_text
from workers.process import UnknownWorker, main

if __name__ == "__main__":
    check_variables()
    try:
        main(sys.argv[1:])
    except UnknownWorker as error:
        sys.stderr.write(f"python -m workers: {error}\n")
        sys.exit(BAD_USAGE)
    except ValidationError as error:
        sys.stderr.write(f"axonpush worker: {settings_text(error)}\n")
        sys.exit(BAD_USAGE)
    except WrongSetting as error:
        sys.stderr.write(f"axonpush worker: {error}\n")
        sys.exit(BAD_USAGE)
    except Failed as error:
        sys.stderr.write(f"axonpush worker: {error}\n")
        sys.exit(FAILED)
