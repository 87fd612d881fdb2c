# SPDX-License-Identifier: Apache-2.0
"""The JSON schemas of the event source and of the event filter."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

COLLECTION = Path(__file__).resolve().parents[2] / "collections/ansible_collections/tiw/automation"
PLUGINS = COLLECTION / "extensions/eda/plugins"
SOURCE = PLUGINS / "event_source/online_record.py"
FILTER = PLUGINS / "event_filter/online_record_callback.py"


@pytest.mark.parametrize("path", [SOURCE, FILTER], ids=lambda path: path.stem)
def test_they_are_schemas(path: Path) -> None:
    schema = json.loads((path.parent / f"schemas/{path.stem}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    ("options", "good"),
    [
        ({"task_ids": ["a"]}, True),
        ({"discover": True, "site": "cn", "secret_key": "k"}, True),
        ({"discover": False}, False),
        ({}, False),
        ({"task_ids": []}, False),
        ({"task_ids": ["a"], "emit": "all"}, False),
        ({"task_ids": ["a"], "poll_interval": 0}, False),
        ({"task_ids": ["a"], "interval": 1}, False),
    ],
)
def test_the_schema_of_the_source_refuses_what_the_source_refuses(
    options: dict[str, Any], good: bool
) -> None:
    schema = json.loads((SOURCE.parent / "schemas/online_record.json").read_text())
    assert jsonschema.Draft202012Validator(schema).is_valid(options) is good


@pytest.mark.parametrize("path", [SOURCE, FILTER], ids=lambda path: path.stem)
def test_the_examples_are_such(path: Path) -> None:
    names = runpy.run_path(str(path))
    schema = json.loads((path.parent / f"schemas/{path.stem}.json").read_text())
    for example in yaml.safe_load(names["EXAMPLES"]):
        filters = example.pop("filters", [])
        given = filters[0] if path is FILTER else example
        options = given[f"tiw.automation.{path.stem}"]
        jsonschema.validate(options, schema)
