# SPDX-License-Identifier: Apache-2.0
"""The outcomes of many tasks as a list."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterable

from tiw_automation.core.records.outcome import Outcome


async def in_order(
    outcomes: AsyncGenerator[Outcome, None], task_ids: Iterable[str]
) -> list[Outcome]:
    """Return what ``watch`` or ``describe`` yields in the order of the ids, each id once.

    The generator is closed, also where this is cancelled.
    """
    async with contextlib.aclosing(outcomes):
        found = {outcome.task_id: outcome async for outcome in outcomes}
    return [found[task_id] for task_id in dict.fromkeys(task_ids)]
