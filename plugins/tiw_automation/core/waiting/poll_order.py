# SPDX-License-Identifier: Apache-2.0
"""In which order recordings are asked for.

What a request is worth is the delay that it is expected to end: with ``T`` the time from the last
answer to the moment the recording is FINISHED, and ``tau`` the time since that answer, it is
``E[T; T <= tau]``. What it costs is the chance of asking in vain, because the request that finds
the end is owed anyway; the worth is the quotient. Recordings in the same stage and of about the
same age share a ring, in which whoever was answered longest ago is always worth the most; so a
decision compares the heads of a fixed number of rings, however many recordings there are.

How long recordings and their processing last is learned from the answers, from a prior on.
"""

from __future__ import annotations

import heapq
import math
from enum import IntEnum
from typing import Any, Generic, TypeVar

from tiw_automation.core.waiting.durations import (
    Durations,
    Processing,
    processing_durations,
    recording_durations,
)

SAFETY_SHARE = 0.05
"""The share of the pace that asks whoever has been in line for longest, whatever that is worth."""

# While no more than this many wait, each is asked every poll_interval.
_FEW = 20
# A hint is not asked within this time of the last request, and again where it came too soon.
_HINT_GAP_S = 0.5
_ECHOES_S = (2.0, 5.0)
# A ring's worth is computed anew when its head changes, else every few decisions; after a time
# without any, all are.
_REFRESHED = 6
_FRESH_S = 1.0
_REBUILD_EVENTS = 16
# An answer that says STOPPED ends no delay and yet helps: from then on the age is known.
_NEWS = 1.4
# How much one first answer changes the expectation that a recording is over when it is first asked.
_FIRST_ANSWER = 0.02
# Likewise of one that has left the list of running tasks. Where those are as a rule not over, one
# in so many is still asked at once, to notice when that changes.
_LEAVER_ANSWER = 0.05
_ASKED_LEAVERS = 16
# Rests that end in one turn of the event loop; what is left ends in the next ones.
_RELEASED_AT_ONCE = 500
_NEVER = -math.inf


class Stage(IntEnum):
    """What is known of a recording; PREPARED, RECORDING and PAUSED are one stage, ACTIVE."""

    UNSEEN = 0
    ACTIVE = 1
    STOPPED = 2
    FINISHED = 3


class _Where(IntEnum):
    NOWHERE = 0
    RING = 1
    RESTING = 2
    URGENT = 3
    PARKED = 4


class Place:
    """One recording's place in the order; what is to be ordered derives from it.

    Times are those of the clock that drives the order. ``answered_at`` is when the last answer
    came, or the place was added; ``age`` is how long the recording had been in its stage then;
    ``asked_at`` is when its turn last came. ``listed`` is None while nothing was heard of a
    recording that is asked because it has left the list of running tasks.
    """

    __slots__ = (
        "_after",
        "_before",
        "_newer",
        "_older",
        "_rest",
        "_where",
        "age",
        "answered_at",
        "asked_at",
        "echoes",
        "listed",
        "stage",
        "stop_at",
        "urgent",
    )

    def __init__(self) -> None:
        self.stage = Stage.UNSEEN
        self.age = 0.0
        self.answered_at = _NEVER
        self.asked_at = _NEVER
        self.listed: bool | None = False
        self.urgent = False
        self.echoes = 0
        self.stop_at: float | None = None
        self._where = _Where.NOWHERE
        self._rest = 0
        # Neighbours in a ring and in the line; None while in neither.
        self._before: Any = None
        self._after: Any = None
        self._older: Any = None
        self._newer: Any = None


class _Ring(Place):
    """A ring's two ends in one; its neighbours are its last and its first place."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self._before = self._after = self._older = self._newer = self


P = TypeVar("P", bound=Place)


class PollOrder(Generic[P]):
    """Decides whose turn it is, in constant time; has no clock of its own.

    A place is added; when its turn comes it is popped, and then answered, put back (the request
    brought nothing) or removed. A hint moves a place and decides nothing about its recording.

    :param pace: the requests a second of the quota.
    :param recording: how long RECORDING lasts.
    :param processing: how long STOPPED lasts.
    :param learns: False keeps to the durations as they were given.
    """

    def __init__(
        self,
        *,
        pace: float = 19.0,
        recording: Durations | None = None,
        processing: Processing | None = None,
        learns: bool = True,
    ) -> None:
        self.pace = pace
        self.recording = recording_durations() if recording is None else recording
        self.processing = processing_durations() if processing is None else processing
        self.learns = learns
        self._first_active = 1
        self._first_stopped = 1 + len(self.recording.edges)
        count = self._first_stopped + len(self.processing.edges)
        self._rings = [_Ring(number) for number in range(count)]
        self._worths = [-1.0] * count
        self._in_rings = 0
        self._next_refreshed = 0
        self._urgent = _Ring(-1)
        # Everybody who may be asked, whoever has been in line for longest first.
        self._line = _Ring(-2)
        self._resting: list[tuple[float, int, P]] = []
        self._rests = 0
        self._stale = 0
        self._size = 0
        self._chosen_at = -math.inf
        self._safety_at = -math.inf
        self._behind_until = -math.inf
        self._over_at_first = 0.5
        self._over_when_left = 0.5
        self._leavers = 0
        self._events_in_tables = 0

    def __len__(self) -> int:
        """The places that were added and not removed."""
        return self._size

    def add(self, place: P, now: float, not_before: float = -math.inf) -> None:
        """Take in a recording of which nothing is known; it is not asked before ``not_before``."""
        self._size += 1
        place.answered_at = max(now, not_before)
        self._settle(place, now, not_before)

    def adopt(self, place: P, now: float, not_before: float) -> None:
        """Take in a place that was removed from another order, with what is known of it."""
        self._size += 1
        self._settle(place, now, not_before)

    def expect(self, place: P) -> None:
        """Take in such a place whose request is under way; its answer follows."""
        self._size += 1

    def bring_forward(self, place: P, now: float, not_before: float) -> None:
        """Let a place that rests be asked from ``not_before`` on, where that is earlier."""
        if place._where is not _Where.RESTING:
            return
        if place.asked_at == -math.inf:
            if not_before >= place.answered_at:
                return
            place.answered_at = max(now, not_before)
        self._leave(place)
        self._settle(place, now, not_before)

    def remove(self, place: P) -> None:
        """Forget a place, wherever it is."""
        self._size -= 1
        self._leave(place)
        self._leave_line(place)

    def answered(
        self,
        place: P,
        now: float,
        stage: Stage,
        *,
        poll_interval: float = 0.0,
        started_ago: float | None = None,
        stopped_ago: float | None = None,
    ) -> None:
        """Learn from the answer to a popped place; put it in line again unless it is FINISHED.

        :param poll_interval: the least seconds until it is asked again.
        :param started_ago: how long ago the recording began, where the answer says so.
        :param stopped_ago: how long ago it stopped.
        """
        age = self._news(place, now, stage, started_ago, stopped_ago)
        if place.listed is None:
            place.listed = False
            over = 1.0 if stage is Stage.FINISHED else 0.0
            self._over_when_left += (over - self._over_when_left) * _LEAVER_ANSWER
        if stage is Stage.STOPPED or (place.stop_at is not None and place.stop_at <= now):
            place.stop_at = None
        place.stage, place.age, place.answered_at = stage, age, now
        if stage is Stage.FINISHED:
            return
        if place.urgent:
            pause = _HINT_GAP_S
        elif place.echoes:
            pause = _ECHOES_S[-place.echoes]
            place.echoes -= 1
            place.urgent = True
        else:
            pause = self._rest_s(place, poll_interval)
        self._settle(place, now, now + pause)

    def put_back(self, place: P, now: float, not_before: float) -> None:
        """Put a popped place in line again whose request brought no news."""
        self._settle(place, now, not_before)

    def hint(self, place: P, now: float, *, again: bool = True) -> None:
        """Ask soon, and by default again a little later: the recording may have finished."""
        if again:
            place.echoes = len(_ECHOES_S)
        self._hurry(place, now)

    def expect_stop(self, place: P, now: float, at: float) -> None:
        """Expect that the recording stops at ``at``, or know that it did.

        Until then it has safety turns only, and then the turns of one that was seen STOPPED. An
        answer that says otherwise ends the expectation.
        """
        if place.stage in (Stage.STOPPED, Stage.FINISHED):
            return
        place.stop_at = at
        if place._where in (_Where.RING, _Where.PARKED):
            self._leave(place)
            self._settle(place, now, -math.inf)

    def set_listed(self, place: P, now: float, listed: bool) -> None:
        """Say whether the account's list of running tasks holds the recording.

        While it does, it has safety turns only. Once it no longer does it is asked soon, if that
        has meant FINISHED as a rule; if it has meant STOPPED, it counts as STOPPED from now on.
        """
        if bool(place.listed) is listed:
            return
        if listed:
            place.listed = True
            if place._where is _Where.RING:
                self._leave(place)
                self._settle(place, now, -math.inf)
            return
        self._leavers += 1
        if self._over_when_left >= 0.5 or self._leavers % _ASKED_LEAVERS == 0:
            place.listed = None
            self._hurry(place, now)
        else:
            self.unlist(place, now)
            self.expect_stop(place, now, now)

    def unlist(self, place: P, now: float) -> None:
        """Forget what the list said of a recording: it is read no more."""
        if place.listed:
            place.listed = False
            if place._where is _Where.PARKED:
                self._leave(place)
                self._settle(place, now, -math.inf)

    def catch_up(self, now: float) -> None:
        """Ask everybody once before anybody twice: for a while nobody could be asked."""
        self._behind_until = now
        self._refresh_all(now)

    def next_due(self, now: float) -> float | None:
        """Return the time from which :meth:`pop` finds somebody, or None: nobody is in line."""
        self._release(now)
        if self._in_rings or self._urgent._after is not self._urgent:
            return now
        due = self._resting[0][0] if self._resting else math.inf
        oldest = self._line._newer
        if oldest is not self._line and oldest._where is _Where.PARKED:
            due = min(due, max(self._safety_at, now))
        return None if due == math.inf else due

    def pop(self, now: float) -> P | None:
        """Take out the place whose turn it is, or return None."""
        self._release(now)
        place: Any = self._oldest_if_due(now)
        if place is None:
            first = self._urgent._after
            place = self._most_worth(now) if first is self._urgent else first
            if place is None:
                return None
        ring = place._before
        self._leave(place)
        self._leave_line(place)
        if type(ring) is _Ring and ring.number >= 0:
            self._worths[ring.number] = self._worth(ring.number, now)
        place.asked_at = now
        place.urgent = False
        popped: P = place
        return popped

    def oldest_unpolled_s(self, now: float) -> float | None:
        """Return for how long the place at the head of the line has had no answer."""
        oldest = self._line._newer
        return None if oldest is self._line else max(now - oldest.answered_at, 0.0)

    # Whose turn it is.

    def _oldest_if_due(self, now: float) -> Place | None:
        if now < self._safety_at:
            return None
        oldest: Place = self._line._newer
        if oldest is self._line:
            return None
        self._safety_at = now + 1.0 / (SAFETY_SHARE * self.pace)
        return oldest

    def _most_worth(self, now: float) -> Place | None:
        if not self._in_rings:
            return None
        worths = self._worths
        count = len(worths)
        if now - self._chosen_at > _FRESH_S:
            self._refresh_all(now)
        self._chosen_at = now
        number = self._next_refreshed
        for _ in range(_REFRESHED):
            if worths[number] >= 0:
                worths[number] = self._worth(number, now)
            number = number + 1 if number + 1 < count else 0
        self._next_refreshed = number
        best = max(worths)
        if best < 0:
            # Everybody who was behind has been asked, or rests.
            self._behind_until = -math.inf
            self._refresh_all(now)
            best = max(worths)
        head: Place = self._rings[worths.index(best)]._after
        return head

    def _worth(self, number: int, now: float) -> float:
        ring = self._rings[number]
        head: Place = ring._after
        if head is ring or self._ahead(head):
            return -1.0
        tau = now - head.answered_at
        if tau <= 0:
            return 0.0
        if number >= self._first_stopped:
            return self.processing.worth(head.age, tau)
        hazard = self.recording.hazard(head.age + tau) - self.recording.hazard(head.age)
        worth = math.expm1(min(hazard, 30.0)) / tau * self.processing.worth_before(tau)
        return worth * _NEWS if number else worth + self._over_at_first * tau

    def _ahead(self, place: Place) -> bool:
        return place.answered_at >= self._behind_until > -math.inf

    def _refresh_all(self, now: float) -> None:
        for number in range(len(self._worths)):
            self._worths[number] = self._worth(number, now)

    # Where a place is.

    def _settle(self, place: P, now: float, not_before: float) -> None:
        stop_at = place.stop_at
        if not_before > now:
            place._where = _Where.RESTING
            self._leave_line(place)
            self._wake_at(place, not_before)
            return
        self._line_up(place)
        if place.urgent:
            place._where = _Where.URGENT
            _link(self._urgent, place)
            return
        if place.stage is Stage.UNSEEN:
            stop_at = None
        if place.listed or (stop_at is not None and stop_at > now):
            place._where = _Where.PARKED
            if stop_at is not None and stop_at > now:
                self._wake_at(place, stop_at)
            return
        if stop_at is not None:
            # Taken as seen STOPPED then, until an answer says otherwise.
            place.stage, place.age = Stage.STOPPED, max(place.answered_at - stop_at, 0.0)
            place.answered_at = max(place.answered_at, stop_at)
        if place.stage is Stage.STOPPED:
            number = self._first_stopped + self.processing.bucket(place.age)
        elif place.stage is Stage.ACTIVE:
            number = self._first_active + self.recording.bucket(place.age)
        else:
            number = 0
        place._where = _Where.RING
        ring = self._rings[number]
        _link(ring, place)
        self._in_rings += 1
        if ring._after is place:
            self._worths[number] = self._worth(number, now)

    def _hurry(self, place: P, now: float) -> None:
        place.urgent = True
        if place._where in (_Where.NOWHERE, _Where.URGENT):
            return
        if place._where is _Where.RESTING and place.asked_at == -math.inf:
            return
        self._leave(place)
        self._settle(place, now, place.asked_at + _HINT_GAP_S)

    def _release(self, now: float) -> None:
        resting = self._resting
        for _ in range(_RELEASED_AT_ONCE):
            if not resting or resting[0][0] > now:
                return
            _, number, place = heapq.heappop(resting)
            if place._rest != number:
                self._stale -= 1
                continue
            place._rest = 0
            self._settle(place, now, -math.inf)

    def _wake_at(self, place: P, time: float) -> None:
        self._rests += 1
        place._rest = self._rests
        heapq.heappush(self._resting, (time, self._rests, place))

    def _leave(self, place: Place) -> None:
        """Take a place out of its ring or its rest; it keeps its place in the line."""
        if place._rest:
            place._rest = 0
            self._stale += 1
            if self._stale > 64 and self._stale > len(self._resting) // 2:
                self._resting = [entry for entry in self._resting if entry[2]._rest == entry[1]]
                heapq.heapify(self._resting)
                self._stale = 0
        if place._after is not None:
            before, after = place._before, place._after
            before._after, after._before = after, before
            place._before = place._after = None
            if place._where is _Where.RING:
                self._in_rings -= 1
                if before is after:
                    self._worths[before.number] = -1.0
        place._where = _Where.NOWHERE

    def _line_up(self, place: Place) -> None:
        if place._newer is None:
            line = self._line
            last = line._older
            last._newer = line._older = place
            place._older, place._newer = last, line

    def _leave_line(self, place: Place) -> None:
        if place._newer is not None:
            older, newer = place._older, place._newer
            older._newer, newer._older = newer, older
            place._older = place._newer = None

    def _rest_s(self, place: Place, poll_interval: float) -> float:
        """Return how long a place rests where the quota would let it be asked at once."""
        if place.stage is not Stage.ACTIVE:
            return poll_interval
        # The time after which a request is worth as much as one for a STOPPED recording after
        # poll_interval; but with few waits each is asked more often, because it costs nobody.
        rate = self.recording.rates[self.recording.bucket(place.age)]
        fair: float = (1.5 * poll_interval * poll_interval / rate) ** (1 / 3)
        return max(poll_interval, min(fair, poll_interval * self._size / _FEW))

    # What is learned.

    def _news(
        self,
        place: Place,
        now: float,
        stage: Stage,
        started_ago: float | None,
        stopped_ago: float | None,
    ) -> float:
        """Learn from an answer; return the recording's age in its stage.

        The ages come from two clocks, Tencent's and this machine's, so what they say is kept
        within what was seen here.
        """
        since = max(now - place.answered_at, 0.0)
        before = place.stage
        if before is Stage.UNSEEN:
            over = 1.0 if stage is Stage.FINISHED else 0.0
            self._over_at_first += (over - self._over_at_first) * _FIRST_ANSWER
        most = place.age + since if before is stage else since
        if stage is Stage.STOPPED:
            age = max(stopped_ago or 0.0, 0.0)
            if before is not Stage.UNSEEN:
                age = min(age, most)
        elif stage is Stage.ACTIVE:
            age = place.age + since if before is Stage.ACTIVE else max(started_ago or 0.0, 0.0)
        else:
            age = 0.0
        if self.learns:
            self._count(place, since, stage, age, started_ago, stopped_ago)
        return age

    def _count(
        self,
        place: Place,
        since: float,
        stage: Stage,
        age: float,
        started_ago: float | None,
        stopped_ago: float | None,
    ) -> None:
        recording, processing = self.recording, self.processing
        before, start = place.stage, place.age
        ran = stage is Stage.ACTIVE or (stopped_ago is not None and stopped_ago < since)
        if before is Stage.UNSEEN and started_ago is not None and ran:
            # It had not stopped when it was added, so it has been under observation since.
            before, start = Stage.ACTIVE, max(started_ago - since, 0.0)
        if before is Stage.ACTIVE:
            if stage is Stage.ACTIVE:
                recording.lasted(start, age)
            else:
                ago = since if stopped_ago is None else min(max(stopped_ago, 0.0), since)
                end = start + since - ago
                recording.lasted(start, end)
                recording.ended(end)
                if stage is Stage.STOPPED:
                    processing.lasted(0.0, age)
                elif ago > 0:
                    processing.ended_within(0.0, ago)
        elif before is Stage.STOPPED and stage is not Stage.ACTIVE:
            if stage is Stage.STOPPED:
                processing.lasted(start, age)
            elif since > 0:
                processing.ended_within(start, start + since)
        events = recording.events + processing.events
        if events - self._events_in_tables >= _REBUILD_EVENTS:
            self._events_in_tables = events
            recording.rebuild()
            processing.rebuild()


def _link(ring: Place, place: Place) -> None:
    last = ring._before
    last._after = ring._before = place
    place._before, place._after = last, ring
