# SPDX-License-Identifier: Apache-2.0
"""The Airflow plugin that receives Tencent's callbacks; off unless it is configured.

Every Airflow process imports it, so it imports the receiver only when the API server reads it.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin


class _CallbackApps:
    """The list of apps to mount, made when the API server first reads it."""

    def __init__(self) -> None:
        self._apps: list[dict[str, Any]] | None = None

    def __get__(self, instance: object, owner: type) -> list[dict[str, Any]]:
        if self._apps is None:
            from tiw_automation.airflow.events.callback_receiver import callback_apps

            self._apps = callback_apps()
        return self._apps


class TiwCallbackPlugin(AirflowPlugin):
    """Mounts ``/tiw/callbacks`` for the connections in ``[tiw] callback_conn_ids``."""

    name: str | None = "tiw_callbacks"
    fastapi_apps = _CallbackApps()
