"""Writes docs/settings.md and ops/runtime/environment/names.py from the settings classes (`make docs`).

With --check, exits 1 if one of them is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from console.alerts.settings import AlertsSettings
from console.settings import ConsoleSettings
from ops.canary.round_trips import CanarySettings
from ops.janitor.trimming import JanitorSettings
from ops.provisioning.streams import Budgets
from ops.runtime.settings import Settings
from receiver.settings import ReceiverSettings
from workers.settings import WorkerSettings

PAGE: Final = Path(__file__).with_name("settings.md")
NAMES: Final = Path(__file__).parents[1] / "ops" / "runtime" / "environment" / "names.py"
# A variable stands in the first section whose class has it.
SECTIONS: Final[tuple[tuple[str, type[BaseSettings]], ...]] = (
    ("Every process", Settings),
    ("Sizes of streams and buckets of a new system; later `axonpush cluster set`", Budgets),
    ("Receiver", ReceiverSettings),
    ("Workers", WorkerSettings),
    ("Console", ConsoleSettings),
    ("Alerts", AlertsSettings),
    ("Janitor", JanitorSettings),
    ("Canary", CanarySettings),
)
HEAD: Final = """\
# Settings

Environment variables, read once when a process starts. Settings in bytes also take a unit: `512MiB`, `10GB`.
`make docs` writes this page from the code.
"""


def page() -> str:
    """The whole page."""
    listed: set[str] = set()
    parts = [HEAD]
    for title, settings in SECTIONS:
        names = [name for name in settings.model_fields if name not in listed]
        listed.update(names)
        rows = "\n".join(_row(settings, name) for name in names)
        parts.append(f"## {title}\n\n| variable | default | meaning |\n|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def names() -> str:
    """The module with the name of every setting: no program can import all settings classes."""
    known = sorted({f"AXONPUSH_{name.upper()}" for _, settings in SECTIONS for name in settings.model_fields})
    listed = "".join(f'    "{name}",\n' for name in known)
    return (
        '"""The variable of every setting. `make docs` writes this file from the settings classes."""\n\n'
        f"from __future__ import annotations\n\nfrom typing import Final\n\nSETTINGS: Final = (\n{listed})\n"
    )


def _row(settings: type[BaseSettings], name: str) -> str:
    field = settings.model_fields[name]
    if field.default is PydanticUndefined or not field.description:
        raise SystemExit(f"{settings.__name__}.{name}: expected a default and a description, found neither or one")
    default = field.default.get_secret_value() if hasattr(field.default, "get_secret_value") else field.default
    shown = f" `{default}` " if str(default) != "" else " "
    return f"| `AXONPUSH_{name.upper()}` |{shown}| {field.description} |"


def main() -> int:
    """Writes both, or compares them."""
    written = {PAGE: page(), NAMES: names()}
    if "--check" in sys.argv[1:]:
        return 0 if all(path.exists() and path.read_text() == text for path, text in written.items()) else 1
    for path, text in written.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
