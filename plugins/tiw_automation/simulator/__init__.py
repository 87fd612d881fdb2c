# SPDX-License-Identifier: Apache-2.0
"""A TIW API on this machine: the real wire protocol, real signatures, no account.

>>> from tiw_automation.simulator import Simulator
>>> with Simulator() as simulator:
...     simulator.add("lesson", timeline=[{"RECORDING": 5}, {"STOPPED": 2}])
"""

from __future__ import annotations

from .reading import ScriptError
from .server import Simulator

__all__ = ["ScriptError", "Simulator"]
