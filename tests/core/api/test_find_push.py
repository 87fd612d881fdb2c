# SPDX-License-Identifier: Apache-2.0
"""A whiteboard push is found by its user while it runs."""

from __future__ import annotations

from tiw_automation.core import TiwClient
from tiw_automation.simulator import Simulator

USER = "tic_push_user_5_algebra"


def test_a_push_is_found_by_its_user_until_it_ends() -> None:
    with (
        Simulator(region="ap-guangzhou", speed=100) as simulator,
        TiwClient(**simulator.settings()) as client,
    ):
        task = client.create_task(
            "whiteboard_push", room_id=5, push_user_id=USER, push_user_sig="sig"
        )
        assert client.find_whiteboard_push(5, USER) == task.task_id
        assert client.find_whiteboard_push(5, "tic_push_user_5_history") is None
        assert client.find_whiteboard_push(6, USER) is None
        client.stop_whiteboard_push(task.task_id)
        simulator.advance(10)
        assert client.find_whiteboard_push(5, USER) is None
