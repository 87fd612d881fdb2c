# SPDX-License-Identifier: Apache-2.0
"""A TIW API on this machine: the real wire protocol, real signatures, no account.

>>> from tiw_automation.simulator import Simulator
>>> with Simulator() as simulator:
...     simulator.add("lesson", timeline=[{"RECORDING": 5}, {"STOPPED": 2}])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .reading import ScriptError
    from .server import Simulator

__all__ = ["ScriptError", "Simulator"]


def __getattr__(name: str) -> Any:
    # The command tiw-simulator starts without the packages that the server needs, and names them.
    if name == "Simulator":
        from .server import Simulator

        return Simulator
    if name == "ScriptError":
        from .reading import ScriptError

        return ScriptError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
