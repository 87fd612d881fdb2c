# SPDX-License-Identifier: Apache-2.0
"""What can be waited for: the kinds of tasks, their states and the options of their creation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiw_automation.core._lazy import lazy_names

if TYPE_CHECKING:
    from tiw_automation.core.tasks.kind import python_name as python_name
    from tiw_automation.core.tasks.kinds import find_kind as find_kind
    from tiw_automation.core.tasks.options import Option as Option
    from tiw_automation.core.tasks.start_options import (
        check_room_id as check_room_id,
        start_params as start_params,
    )
    from tiw_automation.core.tasks.until import (
        check_until as check_until,
        ends_wait as ends_wait,
        out_of_reach_error as out_of_reach_error,
        wanted_states as wanted_states,
    )
else:
    __getattr__, __all__ = lazy_names(
        __name__,
        {
            "kind": "python_name",
            "kinds": "find_kind",
            "options": "Option",
            "start_options": "check_room_id start_params",
            "until": "check_until ends_wait out_of_reach_error wanted_states",
        },
    )
