# SPDX-License-Identifier: Apache-2.0
"""Stands in for the part of Airflow from which tasks and triggers get connections."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms
from airflow.secrets.base_secrets import BaseSecretsBackend


class Supervisor:
    """Returns connections, and fails the next ``fails`` requests with ``fault``.

    ``raised`` and ``answered`` are the two forms of an error of the API. ``not found`` is its
    answer for a connection when it cannot read its database: other requests are errors then.
    """

    def __init__(self, **connections: dict[str, Any]) -> None:
        self.connections = connections
        self.fault = "answered"
        self.fails = 0.0
        self.asked: list[str] = []

    def send(self, message: Any) -> Any:
        kind = type(message).__name__
        self.asked.append(kind)
        error = comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 500})
        if self.fails > 0:
            self.fails -= 1
            if kind == "GetConnection" and self.fault == "not found":
                return comms.ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND)
            if self.fault == "raised":
                raise AirflowRuntimeError(error)
            return error
        if kind == "GetConnection":
            known: Any = self.connections.get(message.conn_id)
            if known is None:
                return comms.ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND)
            extra = json.dumps(known["extra"])
            return comms.ConnectionResult(**{**known, "conn_id": message.conn_id, "extra": extra})
        if kind == "GetVariableKeys":
            return comms.VariableKeysResult(keys=[], total_entries=0)
        if kind == "GetTaskStates":
            return comms.TaskStatesResult(task_states={})
        assert kind == "MaskSecret"
        return None

    async def asend(self, message: Any) -> Any:
        return await asyncio.to_thread(self.send, message)


class BrokenBackend(BaseSecretsBackend):
    """A secrets backend that cannot be reached."""

    def get_connection(self, conn_id: str, team_name: str | None = None) -> Any:
        raise ConnectionRefusedError("https://vault.example/?token=s3cr3t")
