# SPDX-License-Identifier: Apache-2.0
"""An Airflow home of the tests' own, before anything imports Airflow."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable

import pytest
from connections import connection

from tiw_automation.simulator import Simulator

_HOME = tempfile.TemporaryDirectory(prefix="tiw-airflow-")
os.environ["AIRFLOW_HOME"] = _HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes a connection for a simulator."""

    def make(simulator: Simulator, name: str = "tencentcloud_default", **changes: object) -> None:
        extra = {"sdk_app_id": simulator.sdk_app_id}
        extra.update(changes.pop("extra", {}))  # type: ignore[call-overload]
        made = {**connection(simulator), **changes, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(made))

    return make
