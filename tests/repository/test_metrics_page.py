# SPDX-License-Identifier: Apache-2.0
"""docs/metrics.md, the dashboard and the code name the same metrics."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from page_blocks import blocks_for

from tiw_automation.core import METRICS, Metric
from tiw_automation.core.metrics import COUNTER, GAUGE

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/metrics.md").read_text()
DASHBOARD = json.loads((ROOT / "docs/grafana/tiw-automation.json").read_text())
PROMETHEUS = {f"airflow_{name.replace('.', '_')}": metric for name, metric in METRICS.items()}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
(RULES,) = (yaml.safe_load(block.text)["groups"][0]["rules"] for block in blocks_for(__file__))
ALERTS = [rule["expr"] for rule in RULES]

# The part of Grafana's classic dashboard model that the dashboard uses:
# https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
DATASOURCE = {
    "type": "object",
    "required": ["type", "uid"],
    "properties": {"type": {"const": "prometheus"}, "uid": {"const": "${datasource}"}},
}
TARGET = {
    "type": "object",
    "required": ["refId", "expr", "datasource", "legendFormat"],
    "properties": {
        "refId": {"type": "string", "pattern": "^[A-Z]$"},
        "expr": {"type": "string", "minLength": 1},
        "legendFormat": {"type": "string", "minLength": 1},
        "datasource": DATASOURCE,
    },
}
PANEL = {
    "type": "object",
    "required": ["id", "type", "title", "gridPos"],
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "type": {"enum": ["row", "timeseries"]},
        "title": {"type": "string", "minLength": 1},
        "gridPos": {
            "type": "object",
            "required": ["h", "w", "x", "y"],
            "additionalProperties": False,
            "properties": {
                "h": {"type": "integer", "minimum": 1},
                "w": {"type": "integer", "minimum": 1, "maximum": 24},
                "x": {"type": "integer", "minimum": 0, "maximum": 23},
                "y": {"type": "integer", "minimum": 0},
            },
        },
    },
    "if": {"properties": {"type": {"const": "timeseries"}}},
    "then": {
        "required": ["datasource", "fieldConfig", "options", "targets"],
        "properties": {
            "datasource": DATASOURCE,
            "targets": {"type": "array", "minItems": 1, "items": TARGET},
            "fieldConfig": {
                "type": "object",
                "required": ["defaults", "overrides"],
                "properties": {
                    "defaults": {
                        "required": ["unit"],
                        "properties": {
                            "unit": {"enum": ["short", "s", "Bps", "reqps", "percentunit"]}
                        },
                    },
                    "overrides": {"type": "array"},
                },
            },
            "options": {"type": "object", "required": ["legend", "tooltip"]},
        },
    },
}
SCHEMA = {
    "type": "object",
    "required": ["uid", "title", "schemaVersion", "panels", "templating", "time"],
    "properties": {
        "uid": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{8,40}$"},
        "title": {"type": "string", "minLength": 1},
        "schemaVersion": {"type": "integer", "minimum": 36},
        "panels": {"type": "array", "items": PANEL},
        "templating": {
            "type": "object",
            "required": ["list"],
            "properties": {
                "list": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "type", "query"],
                        "properties": {"type": {"enum": ["datasource", "query"]}},
                    },
                }
            },
        },
        "time": {"type": "object", "required": ["from", "to"]},
    },
}


def rows_of_the_page() -> dict[str, tuple[str, str, list[str]]]:
    """Return type, unit and text of each metric that a table of the page explains."""
    rows = re.findall(r"^\| `(tiw\.[a-z_.]+)` \| (\w+) \| ([^|]+) \|(.*)\|$", PAGE, re.MULTILINE)
    assert len(rows) == len({name for name, *_ in rows})
    return {name: (kind, unit, text.split("|")) for name, kind, unit, text in rows}


def uses(query: str) -> list[tuple[str, Metric, bool]]:
    """Return the metrics in a query, and of each whether it may have the suffix ``_total``."""
    found = re.findall(r"airflow_[a-z_]+?(?=\(_total\)\?|[^a-z_]|$)", query)
    assert found, query
    return [(name, PROMETHEUS[name], f"{name}(_total)?" in query) for name in found]


def test_the_page_explains_every_metric_and_no_other() -> None:
    rows = rows_of_the_page()
    assert list(rows) == list(METRICS)
    for name, metric in METRICS.items():
        kind, unit, _ = rows[name]
        assert (kind, unit) == (metric.kind, metric.unit), name


def test_the_page_names_the_tags() -> None:
    rows = rows_of_the_page()
    for name, metric in METRICS.items():
        own = set(metric.tags) - {"account", "app", "action", "store"}
        assert all(f"`{tag}`" in rows[name][2][0] for tag in own), name
    for tag in {tag for metric in METRICS.values() for tag in metric.tags} | {"hostname"}:
        assert f"`{tag}`" in PAGE


def test_the_dashboard_shows_every_metric() -> None:
    shown = {metric.name for query in QUERIES for _, metric, _ in uses(query)}
    assert shown == set(METRICS)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_fits_the_type_of_its_metrics(query: str) -> None:
    assert query.count("(") == query.count(")")
    assert query.count("{") == query.count("}")
    for name, metric, has_suffix in uses(query):
        # A collector of OpenTelemetry adds _total to the names of counters.
        assert has_suffix == (metric.kind == COUNTER), query
        if metric.kind == COUNTER:
            assert re.search(rf'(rate|increase)\({{__name__=~"{name}', query), query
        for tag in re.findall(r"(\w+)=~\"\$", query):
            assert tag in metric.tags, query


@pytest.mark.parametrize("query", ALERTS, ids=[rule["alert"] for rule in RULES])
def test_an_alert_uses_metrics_that_exist(query: str) -> None:
    for name, metric, _ in uses(query):
        assert metric.kind == GAUGE or re.search(rf"(rate|increase)\({name}", query), query
        for tag in re.findall(rf"{name}{{(\w+)=", query):
            assert tag in metric.tags


def test_the_dashboard_has_the_form_of_grafana() -> None:
    jsonschema.validate(DASHBOARD, SCHEMA)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in PANELS:
        letters = [target["refId"] for target in panel["targets"]]
        assert len(letters) == len(set(letters))
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)\}?", json.dumps(DASHBOARD)))
    assert used == names


def test_no_panel_covers_another_one() -> None:
    def covers(one: dict[str, Any], other: dict[str, Any]) -> bool:
        a, b = one["gridPos"], other["gridPos"]
        return bool(
            a["x"] < b["x"] + b["w"]
            and b["x"] < a["x"] + a["w"]
            and a["y"] < b["y"] + b["h"]
            and b["y"] < a["y"] + a["h"]
        )

    for one, other in combinations(DASHBOARD["panels"], 2):
        assert not covers(one, other), (one["title"], other["title"])
    for panel in DASHBOARD["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_the_reasons_of_refusals_are_those_of_the_receiver() -> None:
    folder = ROOT / "plugins/tiw_automation/airflow/events"
    code = "".join(path.read_text() for path in folder.glob("callback_re*.py"))
    raised = set(re.findall(r'Refused\(\d+, "[^"]+", "(\w+)"\)', code))
    of_status = re.search(r"_WHY = {(.*?)}", code, re.DOTALL)
    assert of_status is not None
    raised |= set(re.findall(r'"(\w+)"', of_status[1])) | {"forged", "expired", "fault"}
    table = PAGE.split("| `reason` of a refusal")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) == raised
