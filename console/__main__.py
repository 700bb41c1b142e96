"""`python -m console`: one console process, as `axonpush console` runs it."""

from __future__ import annotations

from console.process import main
from ops.runtime.environment.variables import check_variables

if __name__ == "__main__":
    check_variables()
    main()
