# SPDX-License-Identifier: Apache-2.0
"""Airflow's connection to a simulator."""

from __future__ import annotations

from typing import Any

from tiw_automation.simulator import Simulator


def connection(simulator: Simulator, host: str | None = None, **extra: Any) -> dict[str, Any]:
    """Return a connection in the form of an environment variable of Airflow."""
    return {
        "conn_type": "tencentcloud",
        "login": simulator.secret_id,
        "password": simulator.secret_key,
        "host": host or simulator.host,
        "port": simulator.port,
        "schema": "http",
        "extra": {"sdk_app_id": simulator.sdk_app_id, "region": simulator.region, **extra},
    }
