# SPDX-License-Identifier: Apache-2.0
"""Runs the Airflow blocks of pages, as a program: ``dag.test()`` needs an Airflow of its own.

Standard input has ``{"blocks": {id: text}, "commands": [[argument, ...], ...]}``. The last line of
standard output has the states of the tasks of each block.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.cli.cli_parser import get_parser
from airflow.sdk import DAG
from airflow.utils.db import initdb

from tiw_automation.core import TiwClient

AROUND = """
from airflow.sdk import DAG as _DAG
_page = _DAG("page_{number}", schedule=None, params={{"record_task_ids": "lesson-algebra"}})
_page.__enter__()
{text}
_page.__exit__(None, None, None)
"""


class Events(dict[str, Any]):
    """Events by their asset, as Airflow passes them; before 3.3 an asset is not always hashable."""

    def __getitem__(self, asset: Any) -> Any:
        return super().__getitem__(asset.name)


def run_block(folder: Path, number: int, text: str) -> dict[str, str]:
    """Run the DAGs that a block defines, and its tasks outside of a DAG in another one."""
    # dag.test() reads the file again.
    path = folder / f"block_{number}.py"
    path.write_text(AROUND.format(number=number, text=text), encoding="utf-8")
    states: dict[str, str] = {}
    for dag in dags_of(path):
        if dag.schedule is None and dag.tasks:
            run = dag.test()
            for ti in run.get_task_instances():
                states[f"{dag.dag_id}.{ti.task_id}[{ti.map_index}]"] = str(ti.state)
        elif dag.schedule is not None:
            for task in dag.tasks:
                states[f"{dag.dag_id}.{task.task_id}"] = call_with_event(dag.schedule, task)
    path.unlink()
    return states


def dags_of(path: Path) -> list[Any]:
    """Execute a file, and return the DAGs that it makes."""
    found: list[Any] = []
    original = DAG.__exit__

    def keep(dag: DAG, *details: Any) -> None:
        found.append(dag)
        original(dag, *details)  # type: ignore[no-untyped-call]

    DAG.__exit__ = keep  # type: ignore[method-assign]
    try:
        runpy.run_path(str(path))
    finally:
        DAG.__exit__ = original  # type: ignore[method-assign]
    return found


def call_with_event(schedule: Any, task: Any) -> str:
    """Call the function of a task of a DAG that assets schedule, with an event of each."""
    if not hasattr(task, "python_callable"):
        return "parsed"
    with TiwClient() as client:
        record = client.describe_online_record("lesson-algebra").to_dict()
    event = SimpleNamespace(extra={"records": [record], "paths": ["lessons/algebra.mp4"]})
    task.python_callable(triggering_asset_events=Events({each.name: [event] for each in schedule}))
    return "success"


def main() -> None:
    given = json.load(sys.stdin)
    initdb()
    for arguments in given["commands"]:
        parsed = get_parser().parse_args(arguments)
        if arguments[:2] == ["connections", "add"]:
            # Another page has a connection of this name, too.
            remove = get_parser().parse_args(["connections", "delete", parsed.conn_id])
            with contextlib.suppress(SystemExit):
                remove.func(remove)
            parsed.func(parsed)
    folder = Path(os.environ["AIRFLOW_HOME"]) / "dags"
    folder.mkdir()
    blocks = enumerate(given["blocks"].items())
    states = {name: run_block(folder, number, text) for number, (name, text) in blocks}
    print("\nRESULT", json.dumps(states))


if __name__ == "__main__":
    main()
