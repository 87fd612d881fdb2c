# SPDX-License-Identifier: Apache-2.0
"""What one quota uses of a shared pace, and what it does while the store is unusable."""

from __future__ import annotations

import logging
import math
import os

from tiw_automation.core.quota.pace import GUARD_S, LATEST_S, SAME_S, Pace, RoundTrips
from tiw_automation.core.quota.parts import Demand, PartAlone, SharedSlot
from tiw_automation.core.quota.store import Held, NotYet, PaceStore, Unusable
from tiw_automation.core.retry import doubled

logger = logging.getLogger(__name__)

# After this many slots in a row without an answer of the store, a process leaves it alone.
_PATIENCE = 50
# How many requests may wait for their answers; where there are more, the answers are late or lost.
_UNDER_WAY = 64


class PaceShare:
    """What one quota uses of a shared pace; a quota without a store uses nothing of it.

    It does not protect itself: its quota's lock is held during each call.

    :param round_trips: of the quota's requests.
    """

    def __init__(self, store: PaceStore | None, round_trips: RoundTrips) -> None:
        self._store = store
        self._round_trips = round_trips
        self.latest: SharedSlot | None = None
        self.part_alone: PartAlone | None = None
        """What the process may use while the store is unusable; None for all of its own pace."""
        # Slots whose requests have no answer yet, by their times.
        self._under_way: dict[float, SharedSlot] = {}
        # Slots whose arrivals could not be written to the store, each with how late it was.
        self._unreported: list[tuple[SharedSlot, float]] = []
        self._alone_until = -math.inf
        self._times_alone = 0
        self._slots_without = 0
        self._busy_since: float | None = None
        self._shares_checked = False

    def expect(self, slot: float, rate: float) -> None:
        """Note that a slot will be taken at that time, and further ones at that rate."""
        if self._store is not None:
            self._store.expect(slot, rate)

    def is_used(self, now: float) -> bool:
        """Return whether slots come from the store now."""
        return self._store is not None and now >= self._alone_until

    @property
    def is_alone(self) -> bool:
        """Whether there is no store, or it has failed since its last slot."""
        return self._store is None or self._times_alone > 0

    def take(self, slot: float, now: float, pace: Pace, demand: Demand) -> float | None:
        """Take the next shared slot, not before ``slot``, and return its time.

        None means that this request leaves without the store. Call it only while
        :meth:`is_used`.

        :raises Held: the store may be usable soon: try again.
        """
        assert self._store is not None
        try:
            taken = self._store.take(
                slot,
                pace,
                demand,
                self._round_trips.spread_s + GUARD_S,
                [*self._overdue(now), *self._unreported],
            )
        except NotYet:
            raise
        except (Held, Unusable) as error:
            self._failed(error, now)
            return None
        if self._times_alone:
            _note_shared_again(self._store.shared_with)
        self.part_alone = None
        self._slots_without, self._busy_since, self._times_alone = 0, None, 0
        self._unreported.clear()
        self.latest = taken
        if len(self._under_way) >= _UNDER_WAY:
            del self._under_way[next(iter(self._under_way))]
        self._under_way[taken.time] = taken
        self._check_shares(taken, pace)
        return taken.time

    def answered(self, slot: float, late_s: float, assumed_s: float) -> bool:
        """Note by how much the request of a shared slot may have arrived late.

        :param assumed_s: by how much it counts as late so far.
        :returns: whether it is.
        """
        taken = self._under_way.pop(slot, None)
        if taken is not None and abs(late_s - assumed_s) > SAME_S:
            self._report(taken, late_s + GUARD_S)
        return taken is not None

    def remove(self, slot: float) -> None:
        """Note that the request of a slot never left."""
        taken = self._under_way.pop(slot, None)
        if taken is not None:
            self._report(taken, -math.inf)

    def release(self, slot: float) -> bool:
        """Return a slot that was not used; return whether it is a shared one."""
        taken = self._under_way.pop(slot, None)
        if self._store is None or taken is None:
            return False
        self._store.release(taken)
        return True

    def rejected(self, now: float) -> bool:
        """Lower the shared pace; return whether it was lowered."""
        return self._store is not None and self.is_used(now) and self._store.rejected(now)

    def close(self) -> None:
        """Leave the store; the next slot enters it again."""
        if self._store is not None:
            self._store.close()

    def abandon(self) -> None:
        """Stop using the store, in a forked child where it belongs to the parent."""
        if self._store is not None:
            self._store.abandon()
            self._store = None

    def _report(self, slot: SharedSlot, late_s: float) -> None:
        if self._store is not None and not self._store.arrived(slot, late_s):
            self._unreported.append((slot, late_s))

    def _overdue(self, now: float) -> list[tuple[SharedSlot, float]]:
        """Return the slots whose answers are overdue, each with how late it counts by now.

        The last report of a slot is that it is as late as possible: it moves to the unreported
        ones, which stay until they are written to the store.
        """
        found = []
        for slot in list(self._under_way.values()):
            late_s = self._round_trips.overdue_s(now - slot.time)
            if late_s > self._round_trips.spread_s + SAME_S:
                if late_s >= LATEST_S:
                    del self._under_way[slot.time]
                    self._unreported.append((slot, late_s + GUARD_S))
                else:
                    found.append((slot, late_s + GUARD_S))
        return found

    def _failed(self, error: Held | Unusable, now: float) -> None:
        """Go on without the store: for one slot, or for some time.

        :raises Held: it is worth waiting for.
        """
        if self._busy_since is None:
            self._busy_since = now
        assert self._store is not None
        is_new = isinstance(error, Held) or not self._times_alone
        if is_new and now - self._busy_since < self._store.patience_s:
            raise Held from error
        self._slots_without += 1
        if isinstance(error, Unusable):
            self._leave_alone(str(error), now)
        elif self._slots_without >= _PATIENCE:
            self._leave_alone("it does not answer", now)

    def _leave_alone(self, reason: str, now: float) -> None:
        """Leave the store alone for a while, longer each time."""
        store = self._store
        assert store is not None
        _warn_once(store.shared_with, reason)
        self._alone_until = now + doubled(store.alone_s, self._times_alone, store.alone_most_s)
        self.part_alone = store.part_alone
        self._times_alone += 1
        self._slots_without, self._busy_since = 0, None
        self.latest = None
        self._under_way.clear()
        self._unreported.clear()

    def _check_shares(self, slot: SharedSlot, pace: Pace) -> None:
        if slot.shares > 1.0 + 1e-9 and pace.share < 1.0 and not self._shares_checked:
            self._shares_checked = True
            logger.warning(
                "quota_share (TIW_QUOTA_SHARE) of the %d processes adds up to "
                "%g, more than 1. Together they use the largest one; give each host its own share.",
                slot.processes,
                slot.shares,
            )


# The stores that are unusable, by the processes that share them: one warning for all accounts.
_warned: set[str] = set()


def _warn_once(shared_with: str, reason: str) -> None:
    if shared_with not in _warned:
        _warned.add(shared_with)
        logger.warning(
            "The pace is not shared with %s: %s. This process uses its last known part of the "
            "pace, or else requests_per_second x quota_share (TIW_QUOTA_SHARE).",
            shared_with,
            reason.removesuffix("."),
        )


def _note_shared_again(shared_with: str) -> None:
    if shared_with in _warned:
        _warned.remove(shared_with)
        logger.info("The pace is shared with %s again.", shared_with)


os.register_at_fork(after_in_child=_warned.clear)
