# SPDX-License-Identifier: Apache-2.0
"""Refuses an Airflow that is too old, with one sentence on what to do."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def require_airflow_3_1() -> None:
    """Raise unless Airflow 3.1 or later is installed.

    :raises RuntimeError: it is not installed; the message names what was found and what to do.
    """
    try:
        found = version("apache-airflow-core")
    except PackageNotFoundError:
        try:
            found = version("apache-airflow")
        except PackageNotFoundError:
            found = "none"
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if numbers < (3, 1):
        raise RuntimeError(
            f"tiw-automation's provider needs Airflow 3.1 or later and found {found}: "
            "upgrade Airflow, or use tiw_automation.core from a PythonOperator."
        )


require_airflow_3_1()
