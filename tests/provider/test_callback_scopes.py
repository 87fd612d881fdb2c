# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tiw_automation.airflow.callback_receiver import CallbackReceiver


@pytest.mark.parametrize(
    ("kind", "answers"), [("websocket", ["websocket.close"]), ("lifespan", []), ("odd", [])]
)
def test_what_is_no_request_is_closed(kind: str, answers: list[str]) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing is read")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    receiver = CallbackReceiver({}, None)  # type: ignore[arg-type]
    asyncio.run(receiver({"type": kind, "path": "/c", "headers": []}, receive, send))
    assert [message["type"] for message in sent] == answers
