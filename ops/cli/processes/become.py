"""Replaces a command by the program that it stands for."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from ops.runtime.nats_options import Role


def become(role: Role, data_dir: Path, module: str, *arguments: str) -> NoReturn:
    """Replaces this process by `python -m …`, so that signals and the exit code belong to that module."""
    from ops.cli.processes.program_servers import program_variables  # noqa: PLC0415
    from ops.local.programs import python_environment  # noqa: PLC0415

    os.environ.update(program_variables(data_dir, role) | python_environment())
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
