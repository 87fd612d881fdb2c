# SPDX-License-Identifier: Apache-2.0
"""How many inputs a property is tried with."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_VARIABLE = "TIW_FUZZ_EXAMPLES"


def examples(default: int = 100) -> settings:
    """Return the settings of a property test: the same inputs in every run, a few of them.

    With ``TIW_FUZZ_EXAMPLES`` set: that many for each property, new ones in every run.

    :param default: how many where the variable is not set.
    """
    given = os.environ.get(_VARIABLE)
    return settings(
        max_examples=int(given) if given else default,
        derandomize=not given,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
