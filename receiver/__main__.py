"""`python -m receiver`."""

from __future__ import annotations

from receiver.server import main

main()
