# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from trip_counts import trip


def test_a_reader_follows_a_sensors_task_id_to_xcom_in_few_files() -> None:
    wings, changes, files = trip("sensor")
    assert wings <= 6
    assert changes <= 19
    assert files <= 18
