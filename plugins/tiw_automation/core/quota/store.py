# SPDX-License-Identifier: Apache-2.0
"""What a store of a shared pace must offer.

There are two: :class:`~tiw_automation.core.quota.host.HostPace`, a file for the processes of a
host, and :class:`~tiw_automation.core.quota.redis.RedisPace`, for the processes of many hosts. All
times are those of the caller's monotonic clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tiw_automation.core.quota.pace import Pace
from tiw_automation.core.quota.parts import Demand, PartAlone, SharedSlot


class Unusable(Exception):
    """The store cannot be used; the text gives the reason."""


class Held(Exception):
    """The store has no answer now, and may have one soon."""


class NotYet(Held):
    """The store works, and grants no slot yet."""


class PaceStore(Protocol):
    """The pace of one account, host name and action, which several processes share."""

    patience_s: float
    """How long a process waits for a store that does not answer, before it goes on without it."""
    alone_s: float
    """How long an unusable store is left alone at first, then twice as long each time."""
    alone_most_s: float
    """The longest such time."""

    @property
    def part_alone(self) -> PartAlone | None:
        """What this process may use while the store is unusable; None for all of its own pace."""

    @property
    def shared_with(self) -> str:
        """The processes that share the pace, for messages."""

    def expect(self, slot: float, rate: float) -> None:
        """Note that a slot will be taken at that time, and further ones at that rate."""

    def take(
        self,
        now: float,
        pace: Pace,
        demand: Demand,
        spread_s: float = 0.0,
        arrived: Sequence[tuple[SharedSlot, float]] = (),
    ) -> SharedSlot:
        """Take the next slot.

        :param now: the earliest time of the slot.
        :param pace: this process's own.
        :param demand: what this process waits for; a process that waits for nothing counts as one
            that waits for one recording.
        :param spread_s: by how much the request may arrive late, until :meth:`arrived` is called.
        :param arrived: earlier slots, each with the arguments of :meth:`arrived`.
        :raises Held: try again soon.
        :raises Unusable: the store cannot be used.
        """

    def arrived(self, slot: SharedSlot, late_s: float) -> bool:
        """Note by how much the request of a slot arrived late, at most; ``-inf`` if it never left.

        :returns: whether it was noted.
        """

    def release(self, slot: SharedSlot) -> None:
        """Return a slot that was not used, if no later one was taken."""

    def rejected(self, now: float) -> bool:
        """Lower the pace of all processes: the server has refused a request.

        :returns: whether it is lowered.
        """

    def close(self) -> None:
        """Give up this process's part; the next slot takes part again."""

    def abandon(self) -> None:
        """Stop using the store, in a forked child where it belongs to the parent."""
