# SPDX-License-Identifier: Apache-2.0
"""Blocks that other programs read: their form is checked, by our own code where it reads them."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from page_blocks import ROOT, Block, blocks, blocks_of

from tiw_automation.simulator import Simulator

SCHEMA = ROOT / "plugins/tiw_automation/core/archive/manifest.schema.json"
# Paths in the values of Airflow's Helm chart that pages may set. Look up a new one in the chart.
HELM = {
    *("env.name", "env.value", "secret.envName", "secret.secretName", "secret.secretKey"),
    *("executor", "images.airflow.repository", "images.airflow.tag", "images.airflow.pullPolicy"),
    *("triggerer.replicas", "workers.replicas", "config.metrics.statsd_influxdb_enabled"),
}
STATSD_TYPES = ("counter", "gauge", "observer")
# Keys that the documents of a kind must have.
REQUIRED = {
    "kubernetes": {"apiVersion", "kind", "metadata"},
    "compose": {"services"},
    "workflow": {"on", "jobs"},
}
_NGINX_TOKEN = re.compile(r"#[^\n]*|\"[^\"]*\"|'[^']*'|[{};]|[^\s{};]+")


def of(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", blocks(*kinds), ids=lambda block: block.id)


def test_json_and_toml_can_be_read() -> None:
    for block in blocks("json", "toml"):
        {"json": json.loads, "toml": tomllib.loads}[block.kind](block.text)


def test_the_syntax_of_commands_is_right() -> None:
    for block in blocks("syntax"):
        done = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True)
        assert done.returncode == 0, f"{block.id}: {done.stderr}"


@of("manifest")
def test_a_manifest_fits_its_schema(block: Block) -> None:
    jsonschema.validate(json.loads(block.text), json.loads(SCHEMA.read_text()))


@of("script")
def test_the_simulator_accepts_a_script(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "script.yml"
    path.write_text(block.text, encoding="utf-8")
    Simulator(path)


@of("used")
def test_a_file_is_used_by_another_block_of_its_page(block: Block) -> None:
    others = [other for other in blocks_of(block.page) if other != block]
    assert any(block.file in other.text for other in others), block.id


def test_a_document_has_the_keys_of_its_kind() -> None:
    for block in blocks("kubernetes", "compose", "workflow"):
        # BaseLoader reads the key "on" as a text.
        for document in yaml.load_all(block.text, Loader=yaml.BaseLoader):
            assert REQUIRED[block.kind] <= set(document), block.id


@of("helm")
def test_values_are_those_of_airflows_chart(block: Block) -> None:
    assert set(paths_in(yaml.safe_load(block.text))) <= HELM


def paths_in(values: Any, path: str = "") -> list[str]:
    """Return the dotted paths of all values; an entry of a list has the path of the list."""
    if isinstance(values, dict):
        inner = [(value, f"{path}.{key}".lstrip(".")) for key, value in values.items()]
    elif isinstance(values, list):
        inner = [(value, path) for value in values]
    else:
        return [path]
    return [found for value, place in inner for found in paths_in(value, place)]


@of("statsd exporter")
def test_a_mapping_has_the_form_of_the_exporter(block: Block) -> None:
    content = yaml.safe_load(block.text)
    assert set(content) == {"mappings"}
    for mapping in content["mappings"]:
        assert set(mapping) <= {"match", "match_metric_type", "name", "ttl", "labels"}
        assert mapping["match_metric_type"] in STATSD_TYPES
        assert re.fullmatch(r"[\w.*-]+", mapping["match"])
        assert re.fullmatch(r"\d+[smh]", mapping["ttl"])
        used = [int(number) for number in re.findall(r"\$(\d)", mapping["name"])]
        assert all(1 <= number <= mapping["match"].count("*") for number in used)


@of("nginx", "tests/proxy/test_behind_nginx.py")
def test_nginx_directives_end_and_braces_match(block: Block) -> None:
    """The environment ``proxy`` runs the block in a real nginx."""
    depth, words = 0, 0
    for token in _NGINX_TOKEN.findall(block.text):
        if token.startswith("#"):
            continue
        if token not in ("{", "}", ";"):
            words += 1
            continue
        assert words if token != "}" else not words, f"a stray {token!r} or a missing ';'"
        depth += {"{": 1, "}": -1, ";": 0}[token]
        assert depth >= 0, "a '}' too many"
        words = 0
    assert depth == 0, "a '}' is missing"
    assert not words, "a ';' is missing"
