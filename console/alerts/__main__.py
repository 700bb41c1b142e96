"""`python -m console.alerts`: one process that evaluates alert rules, as `axonpush alerts` runs it."""

from __future__ import annotations

from console.alerts.process import main
from ops.runtime.environment.variables import check_variables

if __name__ == "__main__":
    check_variables()
    main()
