"""Prometheus' and Grafana's files against the metrics there are, the workers there are, and what Grafana loads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

import console.alerts.metrics
import ops.canary.round_trips
import ops.janitor.broker_metrics
import ops.janitor.storage_metrics
import ops.janitor.trimming
import ops.provisioning.durables
import ops.runtime.log_lines
import ops.runtime.output
import ops.runtime.tracing
import receiver.metrics
import workers.metrics
from schemas.subjects import SOURCES

ROOT = Path(__file__).parents[4]
MODULES = (
    receiver.metrics,
    workers.metrics,
    ops.janitor.trimming,
    ops.janitor.broker_metrics,
    ops.canary.round_trips,
    ops.provisioning.durables,
    ops.runtime.log_lines,
    ops.runtime.output,
    ops.runtime.tracing,
    ops.janitor.storage_metrics,
    console.alerts.metrics,
)
OTHERS = {"up", "ALERTS"}
# Words of PromQL that can stand where a metric's name can.
WORDS = {
    "sum", "max", "min", "avg", "by", "rate", "increase", "histogram_quantile", "absent", "time", "predict_linear",
    "and", "or", "unless", "on", "le", "max_over_time", "offset", "count", "scalar",
}  # fmt: skip
DASHBOARDS = {
    path.stem: json.loads(path.read_text()) for path in (ROOT / "ops/deploy/grafana/dashboards").glob("*.json")
}
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "ops/deploy/prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
SCRAPES = yaml.safe_load((ROOT / "ops/deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]


def series() -> dict[str, set[str]]:
    """Every time series our processes serve, with its labels, as Prometheus names it."""
    found: dict[str, set[str]] = {name: {"job", "instance"} for name in OTHERS}
    found["ALERTS"] = {"alertname", "alertstate", "severity", "worker"}
    for module in MODULES:
        for metric in vars(module).values():
            if isinstance(metric, MetricWrapperBase):
                labels = {*metric._labelnames, "job", "instance"}
                for suffix in {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(
                    metric._type, [""]
                ):
                    found[metric._name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


SERIES = series()


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for name, board in DASHBOARDS.items():
        for panel in board["panels"]:
            for target in panel["targets"]:
                if "expr" in target:
                    yield f"{name}: {panel['title']}", target["expr"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_metric_exists_with_its_labels(where: str, expression: str) -> None:
    """An alarm on a name that nobody serves never rings."""
    plain = re.sub(r"\[[^\]]*\]", "", re.sub(r'"[^"]*"', '""', expression))
    grouped = {label for labels in re.findall(r"\bby \(([^)]*)\)", plain) for label in labels.split(", ")}
    selected = {label for found in re.findall(r"\{([^}]*)\}", plain) for label in re.findall(r"(\w+)\s*[!=]", found)}
    bare = re.sub(r"\{[^}]*\}|\b(?:by|on|group_left) ?\([^)]*\)", "", plain)
    names = set(re.findall(r"\b[a-z_]\w*", bare)) - WORDS
    assert names, expression
    assert names <= set(SERIES), names - set(SERIES)
    labels = set().union(*(SERIES[name] for name in names), SERIES["ALERTS"] if "ALERTS" in plain else ())
    assert grouped | selected <= labels, (grouped | selected) - labels
    assert expression.count("(") == expression.count(")")


def test_nothing_is_counted_that_nobody_looks_at() -> None:
    """Each of the metrics that tell of a loss or a refusal is in an alarm or on a dashboard."""
    text = " ".join(expression for _, expression in expressions())
    telling = {name for name in SERIES if re.search(r"lost|dead|failures|errors|refused|unknown|held\b|missing", name)}
    assert {name for name in telling if name not in text} == set()


def test_rules_say_what_they_mean() -> None:
    """A unique name, a severity of two, a summary and what to do; and one is about the age of the oldest message."""
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
    assert any("axonpush_oldest_unacknowledged_seconds" in rule["expr"] for rule in RULES)


def test_every_alarm_leads_to_its_section() -> None:
    """The address in the alarm is that of a heading of the page, and each such heading has its alarm."""
    page = (ROOT / "docs/operations.md").read_text()
    headings = {
        heading.lower() for heading in re.findall(r"^### (\S+)$", page.partition("\n## Alerts\n")[2], re.MULTILINE)
    }
    for rule in RULES:
        path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert path == "{{ $externalLabels.docs }}docs/operations.md"
        assert anchor == rule["alert"].lower()
        assert anchor in headings, rule["alert"]
    assert headings == {rule["alert"].lower() for rule in RULES}


def test_no_alarm_shows_a_number_with_many_digits() -> None:
    """`increase` gives 20.166249999999998: numbers go through a format."""
    for rule in RULES:
        text = " ".join(rule["annotations"].values())
        bare = re.findall(r"\{\{ \$value \}\}", text)
        assert not bare or not re.search(r"increase|rate|predict_linear", rule["expr"]), rule["alert"]


def test_every_process_is_scraped() -> None:
    """Receivers, consoles, every worker, janitor, canary, balancer, at the ports that docker-compose.yml gives them."""
    dns = {(name, one["port"]) for job in SCRAPES for one in job.get("dns_sd_configs", []) for name in one["names"]}
    own = {("receiver", 8080), ("console", 8081), ("alerts", 9100), ("janitor", 9100), ("canary", 9100)}
    assert dns == own | {(name, 9100) for name in SOURCES}
    assert [one for job in SCRAPES for one in job.get("static_configs", [])] == [{"targets": ["haproxy:8405"]}]


def test_there_is_a_dashboard_for_each_question() -> None:
    """What comes in, who is late, how the broker is, what became of it all, what it says."""
    assert set(DASHBOARDS) == {"ingest", "workers", "broker", "outcomes", "traces"}
    assert len({board["uid"] for board in DASHBOARDS.values()}) == len(DASHBOARDS)


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_a_dashboard_is_one_grafana_loads(name: str) -> None:
    """What its loader reads: identifiers, positions within the grid that do not overlap, known data sources."""
    board = DASHBOARDS[name]
    assert re.fullmatch(r"[a-z-]{1,40}", board["uid"])
    assert board["schemaVersion"] >= 39
    assert "id" not in board, "an id is the database's; provisioning is by uid"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_panels_use_the_provisioned_data_sources() -> None:
    """By uid and type, each query for its own kind."""
    text = (ROOT / "ops/deploy/grafana/provisioning/datasources/axonpush.yml").read_text()
    sources = {(one["type"], one["uid"]) for one in yaml.safe_load(text)["datasources"]}
    for board in DASHBOARDS.values():
        variables = [one for one in board["templating"]["list"] if one["type"] != "textbox"]
        for asker in (*board["panels"], *variables):
            targets: list[dict[str, Any]] = asker.get("targets", [])
            for source in (asker["datasource"], *(target["datasource"] for target in targets)):
                assert (source["type"], source["uid"]) in sources
            kinds = {"expr" if target["datasource"]["type"] == "prometheus" else "rawSql" for target in targets}
            assert all(kind in target for kind in kinds for target in targets)
            assert len({target["refId"] for target in targets}) == len(targets)


def test_no_password_is_provisioned() -> None:
    """Grafana reads it from its environment; its user can only read."""
    (source,) = (
        one
        for one in yaml.safe_load((ROOT / "ops/deploy/grafana/provisioning/datasources/axonpush.yml").read_text())[
            "datasources"
        ]
        if one["type"] == "grafana-clickhouse-datasource"
    )
    assert source["secureJsonData"] == {"password": "$AXONPUSH_CLICKHOUSE_READER_PASSWORD"}
    assert source["jsonData"]["username"] == "axonpush_reader"
