# SPDX-License-Identifier: Apache-2.0
"""In which order recordings are polled.

What a poll is worth is the delay that it is expected to end: with ``T`` the time from the last
answer to the moment the recording is FINISHED, and ``tau`` the time since that answer, it is
``E[T; T <= tau]``. What it costs is the chance that it finds nothing, because the poll that finds
the end is needed anyway. The recording with the highest quotient of the two is polled next.

Recordings in the same stage and of about the same age share a ring. The one in a ring that was
answered longest ago is always worth the most. So a decision compares the first ones of a fixed
number of rings, however many recordings there are.

How long recordings and their processing last is learned from the answers, starting from a prior.

Some recordings are polled before the one that is worth the most. In this order:

1. the longest unanswered, in one poll of twenty (a safety poll);
2. those with a hint, and those that have just left the list of running tasks, where that usually
   means FINISHED;
3. the earliest that has left that list, where Tencent works through a queue (:mod:`.leavers`);
4. those that could have been polled for a long time.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import Any, Generic, TypeVar

from tiw_automation.core.waiting.durations import (
    Durations,
    Processing,
    processing_durations,
    recording_durations,
)
from tiw_automation.core.waiting.leavers import Leavers

SAFETY_SHARE = 0.05
"""The share of the pace for safety polls: of the longest unanswered, whatever that is worth."""

MOST_ROUNDS = 2.4
"""A recording that could have been polled for so many times N / pace is polled next.

N is the number of recordings at that moment. Several may reach the limit together, so that some
take up to 2.5.
"""

# Up to so many recordings are each polled every poll_interval. Once the processing of one was seen
# to end, those that still record are polled less often: so many times in a short processing time,
# the quantile that this share stays under.
_SHORT = 0.1
_POLLS_IN_PROCESSING = 3
_FEW = 20
# A hint causes no poll within this time of the last one, and two more polls after these times in
# case it came too soon.
_HINT_GAP_S = 0.5
_REPEATS_S = (2.0, 5.0)
# The worth of a ring is computed again when its first place changes, else every few decisions. All
# are computed again after a time without decisions.
_REFRESHED = 6
_FRESH_S = 1.0
_REBUILD_EVENTS = 16
# More than any poll is worth for any other reason.
_OVERDUE = 1e30
# An answer of STOPPED ends no delay but is useful: from then on the age is known.
_NEWS = 1.4
# How much one first answer changes the expectation that a recording is over at its first poll.
_FIRST_ANSWER = 0.02
# The most of those that have left the list that are looked at, the earliest first, for one to poll.
_LOOKED_AT = 128
# The most rests that end, and urgent places that need no poll, in one iteration of the event loop;
# the others follow in the next ones.
_MOVED_AT_ONCE = 500
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
    # Gets safety polls only.
    PARKED = 4


class Place:
    """One recording's place in the order; the items to order derive from it.

    Times are those of the clock that drives the order. ``answered_at`` is when the last answer
    came, or the place was added; ``age`` is how long the recording had been in its stage then;
    ``polled_at`` is when it was last polled. ``due_since`` is how many places had been popped when
    it could be polled again. ``repeats`` is how many more polls the last hint causes. ``listed`` is
    whether the list of running tasks holds the recording; ``has_just_left`` is whether it is urgent
    only because it has left that list.

    A place that is in flight is nowhere (I4). All others are in exactly one of a ring, the urgent
    ones, the resting ones and the parked ones; all but the resting ones are also in the queue for
    safety polls, so each is polled in the end (I3).
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
        "due_since",
        "has_just_left",
        "listed",
        "polled_at",
        "repeats",
        "stage",
        "stop_at",
        "urgent",
    )

    def __init__(self) -> None:
        self.stage: Stage = Stage.UNSEEN
        self.age: float = 0.0
        self.answered_at: float = _NEVER
        self.polled_at: float = _NEVER
        self.due_since: int = 0
        self.listed: bool = False
        self.has_just_left: bool = False
        self.urgent: bool = False
        self.repeats: int = 0
        self.stop_at: float | None = None
        self._where = _Where.NOWHERE
        self._rest = 0
        # Neighbours in a ring and in the queue; None while in neither.
        self._before: Any = None
        self._after: Any = None
        self._older: Any = None
        self._newer: Any = None


class _Ring(Place):
    """Both ends of a ring; its neighbours are its last and its first place."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self._before = self._after = self._older = self._newer = self


@dataclass(slots=True)
class _Answer:
    """An answer to a poll, and the seconds since the one before."""

    stage: Stage
    since: float
    started_ago: float | None
    stopped_ago: float | None


P = TypeVar("P", bound=Place)


class PollOrder(Generic[P]):
    """Decides which place is polled next, in constant time; it has no clock.

    A place is added. When it is its time it is popped, and then answered, put back (the request
    brought no news) or removed. A hint moves a place and decides nothing about its recording
    (I10).

    :param pace: the requests a second of the quota.
    :param recording: how long RECORDING lasts.
    :param processing: how long STOPPED lasts.
    :param learns: False keeps the durations as they were given.
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
        self.recording: Durations = recording_durations() if recording is None else recording
        self.processing: Processing = processing_durations() if processing is None else processing
        self.learns = learns
        self.most_rounds = MOST_ROUNDS
        self._first_active = 1
        self._first_stopped = 1 + len(self.recording.edges)
        count = self._first_stopped + len(self.processing.edges)
        self._rings = [_Ring(number) for number in range(count)]
        # The worth of the first place of each ring; below zero where there is none to poll.
        self._worths = [-1.0] * count
        self._in_rings = 0
        self._next_refreshed = 0
        self._urgent = _Ring(-1)
        # All places that may be polled, the longest unanswered first: each gets a poll (I3).
        self._queue = _Ring(-2)
        self._resting: list[tuple[float, int, P]] = []
        self._rests = 0
        self._stale = 0
        self._size = 0
        self._chosen_at = -math.inf
        self._safety_at = -math.inf
        self._behind_until = -math.inf
        self._over_at_first = 0.5
        self._leavers: Leavers[P] = Leavers()
        self._polls = 0
        self._events_in_tables = 0

    def __len__(self) -> int:
        """The places that were added and not removed."""
        return self._size

    def add(self, place: P, now: float, not_before: float = -math.inf) -> None:
        """Add a recording of which nothing is known; it is not polled before ``not_before``."""
        self._size += 1
        place.answered_at = max(now, not_before)
        self._schedule(place, now, not_before)

    def adopt(self, place: P, now: float, not_before: float) -> None:
        """Add a place that was removed from another order, with what is known of it."""
        self._size += 1
        self._schedule(place, now, not_before)

    def adopt_in_flight(self, place: P) -> None:
        """Add such a place whose request is in flight; its answer follows."""
        self._size += 1

    def bring_forward(self, place: P, now: float, not_before: float) -> None:
        """Let a resting place be polled from ``not_before`` on, where that is earlier."""
        if place._where is not _Where.RESTING:
            return
        if place.polled_at == -math.inf:
            if not_before >= place.answered_at:
                return
            place.answered_at = max(now, not_before)
        self._reschedule(place, now, not_before)

    def remove(self, place: P) -> None:
        """Remove a place, wherever it is."""
        self._size -= 1
        self._leavers.forget(place)
        self._take_out(place)
        self._dequeue(place)

    def answered(
        self,
        place: P,
        now: float,
        stage: Stage,
        *,
        poll_interval: float = 0.0,
        any_change: bool = False,
        started_ago: float | None = None,
        stopped_ago: float | None = None,
    ) -> None:
        """Learn from the answer to a popped place; order it again unless it is FINISHED.

        :param poll_interval: the least seconds until it is polled again.
        :param any_change: whether it is waited for to be in another state than FINISHED.
        :param started_ago: the seconds since the recording began, where the answer has its start.
        :param stopped_ago: the seconds since it stopped.
        """
        since = max(now - place.answered_at, 0.0)
        answer = _Answer(stage, since, started_ago, stopped_ago)
        age = _age(place, answer)
        self._learn(place, answer, age)
        place.has_just_left = False
        if stage is Stage.STOPPED or (place.stop_at is not None and place.stop_at <= now):
            place.stop_at = None
        place.stage, place.age, place.answered_at = stage, age, now
        if stage is not Stage.FINISHED:
            pause = self._pause_s(place, poll_interval, any_change)
            self._schedule(place, now, now + pause)

    def put_back(self, place: P, now: float, not_before: float) -> None:
        """Order a popped place again whose request brought no news."""
        self._schedule(place, now, not_before)

    def hint(self, place: P, now: float, *, again: bool = True) -> None:
        """Poll soon, and by default again a little later: the recording may have finished."""
        if again:
            place.repeats = len(_REPEATS_S)
        place.has_just_left = False
        self._make_urgent(place, now)

    def expect_stop(self, place: P, now: float, at: float) -> None:
        """Expect that the recording stops at ``at``, or know that it did.

        Until then it has safety polls only, and then the polls of one that was seen STOPPED. An
        answer that contradicts ends the expectation.
        """
        if place.stage in (Stage.STOPPED, Stage.FINISHED):
            return
        place.stop_at = at
        if place._where in (_Where.RING, _Where.PARKED):
            self._reschedule(place, now)

    def set_listed(self, place: P, now: float, listed: bool) -> None:
        """Note whether the account's list of running tasks holds the recording.

        While it does, the recording has safety polls only. When it has left the list, it is
        polled soon if that has usually meant FINISHED; if it has usually meant STOPPED, it counts
        as STOPPED from now on.
        """
        if place.listed is listed:
            return
        place.listed = listed
        if not listed:
            self._left_the_list(place, now)
            return
        place.has_just_left = False
        self._leavers.forget(place)
        if place._where is _Where.RING:
            self._reschedule(place, now)

    def _left_the_list(self, place: P, now: float) -> None:
        self._leavers.add(place, now)
        if place.stage is Stage.ACTIVE and (place.stop_at is None or place.stop_at > now):
            place.stop_at = now
        if not place.urgent:
            # pop() decides whether it is polled for this reason: thousands may leave at once.
            place.has_just_left = True
            self._make_urgent(place, now)

    def unlist(self, place: P, now: float) -> None:
        """Forget what the list showed of a recording: it is not read any more."""
        if place.listed:
            place.listed = False
            if place._where is _Where.PARKED:
                self._reschedule(place, now)

    def catch_up(self, now: float) -> None:
        """Poll every place once before any twice: for a while none could be polled."""
        self._behind_until = now
        self._refresh_all(now)

    def next_due(self, now: float) -> float | None:
        """Return from when on :meth:`pop` returns a place, None if there is none to poll."""
        self._end_rests(now)
        if self._in_rings or self._urgent._after is not self._urgent:
            return now
        due = self._resting[0][0] if self._resting else math.inf
        if self._queue._newer is not self._queue:
            due = min(due, max(self._safety_due(self._queue._newer), now))
        return None if due == math.inf else due

    def pop(self, now: float) -> P | None:
        """Remove from the order, and return, the place to poll now; None if there is none."""
        self._end_rests(now)
        place: Any = self._oldest_if_due(now)
        if place is None:
            place = self._next_urgent(now) or self._next_leaver(now) or self._most_worth(now)
            if place is None:
                return None
        ring = place._before
        self._take_out(place)
        self._dequeue(place)
        if type(ring) is _Ring and ring.number >= 0:
            self._worths[ring.number] = self._worth(ring.number, now)
        self._polls += 1
        place.polled_at = now
        place.urgent = False
        popped: P = place
        return popped

    def oldest_unpolled_s(self, now: float) -> float | None:
        """Return for how long the first place of the queue has had no answer."""
        oldest = self._queue._newer
        return None if oldest is self._queue else max(now - oldest.answered_at, 0.0)

    # Which place is next.

    def _oldest_if_due(self, now: float) -> Place | None:
        oldest: Place = self._queue._newer
        if oldest is self._queue or now < self._safety_due(oldest):
            return None
        self._safety_at = now + 1.0 / (SAFETY_SHARE * self.pace)
        return oldest

    def _safety_due(self, oldest: Place) -> float:
        if oldest._where is not _Where.PARKED:
            return self._safety_at
        return max(self._safety_at, oldest.answered_at + self.most_rounds * self._size / self.pace)

    def _next_urgent(self, now: float) -> Place | None:
        """Return the first urgent place; those that have just left the list may not need a poll."""
        for _ in range(_MOVED_AT_ONCE):
            first: P = self._urgent._after
            if first is self._urgent:
                return None
            if not first.has_just_left or self._leavers.is_polled_at_once():
                return first
            first.has_just_left = first.urgent = False
            self._reschedule(first, now)
        return None

    def _next_leaver(self, now: float) -> Place | None:
        """Return the place that has left the list and is polled before all rings, if any."""
        leavers = self._leavers
        if not leavers.pending or not self._in_rings:
            return None
        is_trial = leavers.is_trial()
        if leavers.is_queue:
            return self._last_of_most_worth(now) if is_trial else self._earliest(now)
        earliest = leavers.to_compare() if is_trial else None
        return earliest if earliest is not None and earliest._where is _Where.RING else None

    def _earliest(self, now: float) -> Place | None:
        """Return the earliest in Tencent's queue if it can be polled now.

        While it rests, none behind it is polled: none of them can be FINISHED. One that was
        overtaken, or is in flight, does not delay those behind it.
        """
        for place in islice(self._leavers.pending, _LOOKED_AT):
            if place._where is _Where.RING and now - place.polled_at >= _HINT_GAP_S:
                return place
            if place._where is not _Where.NOWHERE and not self._leavers.was_overtaken(place):
                return None
        return None

    def _last_of_most_worth(self, now: float) -> Place | None:
        """Return the last of the ring whose first place is worth the most.

        In a queue it cannot be FINISHED yet. If it is, there is no queue.
        """
        first = self._most_worth(now)
        # Before it is its ring, and before that the last one.
        last: Place | None = None if first is None else first._before._before
        return last

    def _most_worth(self, now: float) -> Place | None:
        if not self._in_rings:
            return None
        if now - self._chosen_at > _FRESH_S:
            self._refresh_all(now)
        self._chosen_at = now
        self._refresh_some(now)
        worths = self._worths
        best = max(worths)
        if best < 0:
            # All that were behind have been polled, or rest.
            self._behind_until = -math.inf
            self._refresh_all(now)
            best = max(worths)
        first: Place = self._rings[worths.index(best)]._after
        return first

    def _worth(self, number: int, now: float) -> float:
        ring = self._rings[number]
        first: Place = ring._after
        if first is ring or self._is_ahead(first):
            return -1.0
        tau = now - first.answered_at
        if tau <= 0:
            return 0.0
        if self._polls - first.due_since > self.most_rounds * self._size:
            return tau * _OVERDUE
        if number >= self._first_stopped:
            return self.processing.worth(first.age, tau)
        hazard = self.recording.hazard(first.age + tau) - self.recording.hazard(first.age)
        worth = math.expm1(min(hazard, 30.0)) / tau * self.processing.worth_before(tau)
        return worth * _NEWS if number else worth + self._over_at_first * tau

    def _is_ahead(self, place: Place) -> bool:
        return place.answered_at >= self._behind_until > -math.inf

    def _refresh_some(self, now: float) -> None:
        worths = self._worths
        count, number = len(worths), self._next_refreshed
        for _ in range(_REFRESHED):
            if worths[number] >= 0:
                worths[number] = self._worth(number, now)
            number = number + 1 if number + 1 < count else 0
        self._next_refreshed = number

    def _refresh_all(self, now: float) -> None:
        for number in range(len(self._worths)):
            self._worths[number] = self._worth(number, now)

    # Where a place is.

    def _schedule(self, place: P, now: float, not_before: float = -math.inf) -> None:
        """Put a place that is nowhere where it belongs."""
        if not_before > now:
            place._where = _Where.RESTING
            self._dequeue(place)
            self._rest_until(place, not_before)
            return
        self._enqueue(place)
        stop_at = None if place.stage is Stage.UNSEEN else place.stop_at
        if place.urgent:
            place._where = _Where.URGENT
            _link(self._urgent, place)
        elif stop_at is not None and stop_at > now:
            place._where = _Where.PARKED
            self._rest_until(place, stop_at)
        elif place.listed:
            place._where = _Where.PARKED
        else:
            if stop_at is not None:
                _assume_stopped(place, stop_at)
            self._put_in_ring(place, now)

    def _reschedule(self, place: P, now: float, not_before: float = -math.inf) -> None:
        self._take_out(place)
        self._schedule(place, now, not_before)

    def _put_in_ring(self, place: P, now: float) -> None:
        if place.stage is Stage.STOPPED:
            number = self._first_stopped + self.processing.bucket(place.age)
        elif place.stage is Stage.ACTIVE:
            number = self._first_active + self.recording.bucket(place.age)
        else:
            number = 0
        place._where = _Where.RING
        place.due_since = self._polls
        ring = self._rings[number]
        _link(ring, place)
        self._in_rings += 1
        if ring._after is place:
            self._worths[number] = self._worth(number, now)

    def _make_urgent(self, place: P, now: float) -> None:
        place.urgent = True
        if place._where in (_Where.NOWHERE, _Where.URGENT):
            return
        if place._where is _Where.RESTING and place.polled_at == -math.inf:
            return
        self._reschedule(place, now, place.polled_at + _HINT_GAP_S)

    def _end_rests(self, now: float) -> None:
        resting = self._resting
        for _ in range(_MOVED_AT_ONCE):
            if not resting or resting[0][0] > now:
                return
            _, number, place = heapq.heappop(resting)
            if place._rest != number:
                self._stale -= 1
                continue
            place._rest = 0
            self._schedule(place, now)

    def _rest_until(self, place: P, time: float) -> None:
        self._rests += 1
        place._rest = self._rests
        heapq.heappush(self._resting, (time, self._rests, place))

    def _take_out(self, place: Place) -> None:
        """Take a place out of its ring or its rest; it keeps its place in the queue."""
        if place._rest:
            place._rest = 0
            self._stale += 1
            if self._stale > 64 and self._stale > len(self._resting) // 2:
                self._remove_stale()
        if place._after is not None:
            before, after = place._before, place._after
            before._after, after._before = after, before
            place._before = place._after = None
            if place._where is _Where.RING:
                self._in_rings -= 1
                if before is after:
                    self._worths[before.number] = -1.0
        place._where = _Where.NOWHERE

    def _remove_stale(self) -> None:
        self._resting = [entry for entry in self._resting if entry[2]._rest == entry[1]]
        heapq.heapify(self._resting)
        self._stale = 0

    def _enqueue(self, place: Place) -> None:
        if place._newer is None:
            queue = self._queue
            last = queue._older
            last._newer = queue._older = place
            place._older, place._newer = last, queue

    def _dequeue(self, place: Place) -> None:
        if place._newer is not None:
            older, newer = place._older, place._newer
            older._newer, newer._older = newer, older
            place._older = place._newer = None

    def _pause_s(self, place: Place, poll_interval: float, any_change: bool) -> float:
        """Return how long an answered place rests; take the next repeat of its hint."""
        if place.urgent:
            return _HINT_GAP_S
        if not place.repeats:
            return self._rest_s(place, poll_interval, any_change)
        pause = _REPEATS_S[-place.repeats]
        place.repeats -= 1
        place.urgent = True
        return pause

    def _rest_s(self, place: Place, poll_interval: float, any_change: bool) -> float:
        """Return how long a place rests, where the quota allows to poll it at once."""
        if place.stage is not Stage.ACTIVE:
            return poll_interval
        # After this time a poll is worth as much as one of a STOPPED recording after
        # poll_interval. With few waits each is polled more often, because that costs the others
        # nothing: but no more often than is needed to see it STOPPED before it is FINISHED.
        rate = self.recording.rates[self.recording.bucket(place.age)]
        fair: float = (1.5 * poll_interval * poll_interval / rate) ** (1 / 3)
        often = poll_interval * self._size / _FEW
        if self.processing.events and not any_change:
            often = max(often, self.processing.quantile(_SHORT) / _POLLS_IN_PROCESSING)
        return max(poll_interval, min(fair, often))

    # What is learned.

    def _learn(self, place: P, answer: _Answer, age: float) -> None:
        over = 1.0 if answer.stage is Stage.FINISHED else 0.0
        if place.stage is Stage.UNSEEN:
            self._over_at_first += (over - self._over_at_first) * _FIRST_ANSWER
        if place.has_just_left:
            self._leavers.answered_at_once(answer.stage is Stage.FINISHED)
        if answer.stage is Stage.ACTIVE:
            self._leavers.forget(place)
        self._leavers.answered(place, answer.stage is Stage.FINISHED)
        if self.learns:
            self._learn_durations(place, answer, age)

    def _learn_durations(self, place: Place, answer: _Answer, age: float) -> None:
        before, start = _observed_from(place, answer)
        after = answer.stage
        if before is Stage.ACTIVE and after is Stage.ACTIVE:
            self.recording.lasted(start, age)
        elif before is Stage.ACTIVE:
            self._recording_ended(start, answer, age)
        elif before is Stage.STOPPED and after is Stage.STOPPED:
            self.processing.lasted(start, age)
        elif before is Stage.STOPPED and after is Stage.FINISHED and answer.since > 0:
            self.processing.ended_within(start, start + answer.since)
        self._update_tables()

    def _recording_ended(self, start: float, answer: _Answer, age: float) -> None:
        ago = answer.since
        if answer.stopped_ago is not None:
            ago = min(max(answer.stopped_ago, 0.0), answer.since)
        end = start + answer.since - ago
        self.recording.lasted(start, end)
        self.recording.ended(end)
        if answer.stage is Stage.STOPPED:
            self.processing.lasted(0.0, age)
        elif ago > 0:
            self.processing.ended_within(0.0, ago)

    def _update_tables(self) -> None:
        events = self.recording.events + self.processing.events
        # The first ones change the most.
        enough = min(_REBUILD_EVENTS, 1 + self._events_in_tables // 4)
        if events - self._events_in_tables >= enough:
            self._events_in_tables = events
            self.recording.rebuild()
            self.processing.rebuild()


def _age(place: Place, answer: _Answer) -> float:
    """Return how long a recording has been in the stage of an answer.

    The times in an answer are from Tencent's clock, so they are kept within what was observed on
    this machine's.
    """
    if answer.stage is Stage.ACTIVE:
        seen_active = place.stage is Stage.ACTIVE
        return place.age + answer.since if seen_active else max(answer.started_ago or 0.0, 0.0)
    if answer.stage is not Stage.STOPPED:
        return 0.0
    age = max(answer.stopped_ago or 0.0, 0.0)
    if place.stage is Stage.UNSEEN:
        return age
    return min(age, place.age + answer.since if place.stage is Stage.STOPPED else answer.since)


def _observed_from(place: Place, answer: _Answer) -> tuple[Stage, float]:
    """Return the stage, and the age in it, from which on a recording has been observed."""
    stopped_since = answer.stopped_ago is not None and answer.stopped_ago < answer.since
    ran = answer.stage is Stage.ACTIVE or stopped_since
    if place.stage is Stage.UNSEEN and answer.started_ago is not None and ran:
        # It had not stopped when it was added.
        return Stage.ACTIVE, max(answer.started_ago - answer.since, 0.0)
    return place.stage, place.age


def _assume_stopped(place: Place, stop_at: float) -> None:
    """Treat a recording as seen STOPPED then, until an answer contradicts."""
    place.stage, place.age = Stage.STOPPED, max(place.answered_at - stop_at, 0.0)
    place.answered_at = max(place.answered_at, stop_at)


def _link(ring: Place, place: Place) -> None:
    last = ring._before
    last._after = ring._before = place
    place._before, place._after = last, ring
