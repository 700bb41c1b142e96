"""`python -m receiver`."""

from __future__ import annotations

from ops.runtime.environment.variables import check_variables
from receiver.server import main

check_variables()
main()
