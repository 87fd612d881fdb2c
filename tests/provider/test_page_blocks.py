# SPDX-License-Identifier: Apache-2.0
"""The Airflow blocks of the pages: DAGs run by ``dag.test()``, commands, options."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest
from airflow.configuration import conf
from connections import connection
from page_blocks import ROOT, Block, blocks
from page_scenes import scene_of

AIRFLOW = tuple(int(part) for part in version("apache-airflow-core").split(".")[:2])
COMMANDS = blocks("airflow")
DAGS = [block for block in blocks("dag") if block.scene != "airflow 3.3" or AIRFLOW >= (3, 3)]


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Run the commands, then all blocks, in one process; return the states of their tasks."""
    folder = tmp_path_factory.mktemp("airflow")
    with scene_of("README.md", folder) as scene, scene.shell() as shell:
        for block in COMMANDS:
            code, printed = shell.run(block.text)
            assert code == 0, f"{block.id}: {printed}"
        noted = (folder / "airflow.jsonl").read_text(encoding="utf-8").splitlines()
        extra = {"callback_secret": "callback-key-of-a-page"}
        environment = {
            **scene.environment(),
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW_CONN_TENCENTCLOUD_DEFAULT": json.dumps(connection(scene.simulator, **extra)),
        }
        given: dict[str, Any] = {
            "blocks": {block.id: scene.fitted(block.text) for block in DAGS},
            "commands": [json.loads(line) for line in noted],
        }
        done = subprocess.run(
            [sys.executable, str(ROOT / "tests/helpers/page_dags.py")],
            input=json.dumps(given),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=folder,
            timeout=600,
            check=False,
        )
    # Airflow may print more when the process ends.
    printed = done.stdout.rpartition("\nRESULT ")[2].partition("\n")[0]
    assert done.returncode == 0, done.stdout
    found: dict[str, dict[str, str]] = json.loads(printed)
    return found


@pytest.mark.parametrize("block", DAGS, ids=lambda block: block.id)
def test_the_dags_of_a_block_run(block: Block, states: dict[str, dict[str, str]]) -> None:
    assert set(states[block.id].values()) <= {"success", "parsed"}, states[block.id]


@pytest.mark.parametrize("block", blocks("airflow.cfg"), ids=lambda block: block.id)
def test_airflow_has_these_options(block: Block) -> None:
    parser = configparser.ConfigParser()
    parser.read_string(block.text)
    for section in parser.sections():
        known = conf.configuration_description[section]["options"]
        assert set(parser[section]) <= set(known)
