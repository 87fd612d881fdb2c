# SPDX-License-Identifier: Apache-2.0
"""Many waits, one quota.

Who does what: :class:`~tiw_automation.core.waiting.watcher.RecordWatcher` is what users call. The
*dispatcher* polls: it takes a due task from the *tracker*, reserves a slot of the quota, sends the
request in a thread, and hands the answer back to the tracker. The tracker holds the state of all
waits and has no clock, thread or socket. The *poll order* decides which task is next, from the
*durations* that it has learned and from those that left the running list, the *leavers*. Each call
reports its own *progress*; :class:`~tiw_automation.core.waiting.first_answer.FirstAnswer` ends a
command whose endpoint never answers; the *running list* only gives hints.

A wait is an ordinary coroutine that awaits an ordinary future. It is a task id and a deadline,
nothing else, so any process can resume it (I9).

These invariants always hold. The fields that keep one name it, and so do the tests.

- I1: no more requests than the quota allows in any second, also at start, after an outage and
  after a restart.
- I2: every wait ends exactly once.
- I3: every task is polled in the end.
- I4: a task has at most one request in flight; all waits for it share the answer.
- I5: the answer to a request that is in flight at the deadline still counts, and the last request
  is aimed at the deadline.
- I6: a task that fails delays no other one.
- I7: a jump of the wall clock changes nothing.
- I8: a cancelled wait leaves nothing behind.
- I9: a restart loses nothing.
- I10: a hint decides nothing.
- I11: an endpoint that is down is probed, and all waits are kept.
- I12: no secret and no URL is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiw_automation.core._lazy import lazy_names

if TYPE_CHECKING:
    from tiw_automation.core.waiting.first_answer import (
        FirstAnswer as FirstAnswer,
        first_answer_s as first_answer_s,
    )
    from tiw_automation.core.waiting.outcomes import (
        in_order as in_order,
        out_of_time as out_of_time,
    )
    from tiw_automation.core.waiting.stats import WatcherStats as WatcherStats
    from tiw_automation.core.waiting.watcher import (
        DEFAULT_POLL_INTERVAL_S as DEFAULT_POLL_INTERVAL_S,
    )
else:
    __getattr__, __all__ = lazy_names(
        __name__,
        {
            "first_answer": "FirstAnswer first_answer_s",
            "outcomes": "in_order out_of_time",
            "stats": "WatcherStats",
            "watcher": "DEFAULT_POLL_INTERVAL_S",
        },
    )
