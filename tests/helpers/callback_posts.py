# SPDX-License-Identifier: Apache-2.0
"""Posts callbacks to a receiver, signed with Tencent's key or with another one."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from tiw_automation.core.api.callbacks import sign
from tiw_automation.simulator import Simulator


def post(airflow: Any, conn_id: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    """Post a body to an Airflow's receiver; return the status and the body of the answer."""
    request = urllib.request.Request(
        f"{airflow.url}/tiw/callbacks/{conn_id}", data=body, headers=headers
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def callback(
    simulator: Simulator, task_id: str, *, key: str, valid_s: int = 600, **changes: Any
) -> bytes:
    """Return the body for a finished recording."""
    expires = int(time.time()) + valid_s
    return json.dumps(
        {
            "EventType": "OnlineRecordFinished",
            "EventData": {"TaskId": task_id, "RoomId": 1},
            "Timestamp": int(time.time()),
            "SdkAppId": simulator.sdk_app_id,
            "ExpireTime": expires,
            "Sign": sign(key, expires),
            **changes,
        }
    ).encode()
