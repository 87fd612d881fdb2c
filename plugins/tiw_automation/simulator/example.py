# SPDX-License-Identifier: Apache-2.0
"""The script of ``--example``: three lessons for a first trial."""

from __future__ import annotations

from typing import Any

EXAMPLE: dict[str, Any] = {
    "begin": "first_request",
    "recordings": [
        {"task_id": "algebra", "timeline": [{"RECORDING": 60}, {"STOPPED": 20}]},
        {"task_id": "history", "timeline": [{"RECORDING": 90}, {"STOPPED": 30}]},
        {
            "task_id": "drama",
            "timeline": [{"RECORDING": 30}],
            "error": {"code": "FailedOperation.Record", "message": "im login failed"},
        },
    ],
}
