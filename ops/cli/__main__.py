"""Lets `python -m ops.cli` run the command `axonpush`."""

from __future__ import annotations

from ops.cli.main import main

main()
