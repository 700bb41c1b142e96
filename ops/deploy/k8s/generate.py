"""Writes base/workers.yaml (worker.template.yaml once per worker) and monitoring/rules.yaml (the alerts).

Run `python -m ops.deploy.k8s.generate` after a change of worker.template.yaml, schemas.subjects.SOURCES or
ops/deploy/prometheus/alerts.yml. A test fails if that was forgotten.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Final

from schemas.subjects import SOURCES, Source

FOLDER: Final = Path(__file__).parent
TARGET: Final = FOLDER / "base" / "workers.yaml"
ALERTS: Final = FOLDER.parent / "prometheus" / "alerts.yml"
RULES: Final = FOLDER / "monitoring" / "rules.yaml"
_RULES_HEAD: Final = """\
# Written by ops/deploy/k8s/generate.py from ops/deploy/prometheus/alerts.yml: change that, not this.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: axonpush
  labels: {app.kubernetes.io/name: axonpush}
spec:
"""
_HEAD: Final = "# Written by ops/deploy/k8s/generate.py from worker.template.yaml: change that, not this.\n"


def render(template: str, source: Source) -> str:
    """The manifests of one worker. Kubernetes names have no underscores."""
    name = source.worker.replace("_", "-")
    return template.format(worker=source.worker, name=name, stream=source.stream, durable=source.durable)


def manifests() -> str:
    """The manifests of all workers."""
    template = (FOLDER / "worker.template.yaml").read_text("utf-8")
    return _HEAD + "---\n".join(render(template, source) for source in SOURCES.values())


def rules() -> str:
    """The alerts as the Prometheus Operator expects them."""
    return _RULES_HEAD + textwrap.indent(ALERTS.read_text("utf-8"), "  ")


if __name__ == "__main__":
    TARGET.write_text(manifests(), "utf-8")
    RULES.write_text(rules(), "utf-8")
