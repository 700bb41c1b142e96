"""Writes base/workers.yaml: worker.template.yaml once for each worker of schemas.subjects.SOURCES.

`python -m ops.k8s.generate`, after the template or the list has changed; a test says so when it was forgotten.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from schemas.subjects import SOURCES, Source

FOLDER: Final = Path(__file__).parent
TARGET: Final = FOLDER / "base" / "workers.yaml"
_HEAD: Final = "# Written by ops/k8s/generate.py from worker.template.yaml: change that, not this.\n"


def render(template: str, source: Source) -> str:
    """One worker's manifests; names of Kubernetes have no underscores."""
    name = source.worker.replace("_", "-")
    return template.format(worker=source.worker, name=name, stream=source.stream, durable=source.durable)


def manifests() -> str:
    """All of them."""
    template = (FOLDER / "worker.template.yaml").read_text("utf-8")
    return _HEAD + "---\n".join(render(template, source) for source in SOURCES.values())


if __name__ == "__main__":
    TARGET.write_text(manifests(), "utf-8")
