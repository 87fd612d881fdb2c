# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from trip_counts import trip


def test_a_reader_follows_a_modules_task_id_to_the_wire_and_back_in_few_files() -> None:
    # It runs the module in this process, which ansible-core 2.16 has no function for.
    pytest.importorskip("ansible.module_utils.testing", exc_type=ModuleNotFoundError)
    wings, changes, files = trip("module")
    assert wings <= 6
    assert changes <= 9
    assert files <= 15
