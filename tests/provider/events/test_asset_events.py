# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tiw_automation.airflow import assets


def test_the_name_of_0_1_for_publish_to_outlets_is_a_deprecation_warning() -> None:
    with pytest.warns(DeprecationWarning, match="publish_to_outlets"):
        assets.tell_outlets([], None, [])
