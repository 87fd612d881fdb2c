# SPDX-License-Identifier: Apache-2.0
"""Whatever stands in the pace file, a turn comes in bounded time."""

from __future__ import annotations

import math
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzzing import examples
from hypothesis import given, strategies as st

from tiw_automation.core.quota import quota as quota_module
from tiw_automation.core.quota.host import HostPace, Part, Turn, parts
from tiw_automation.core.quota.pace_file import (
    LEAST_FACTOR,
    MAGIC,
    PROCESSES,
    SIZE,
    STAMPS,
    Contents,
    Slot,
)
from tiw_automation.core.quota.quota import Quota

NOW = 1000.0
PACE = 19.0
# Each of the processes that the file may name has twenty turns before this one.
LONGEST_S = 2.0 + (PROCESSES + 2) / (PACE * LEAST_FACTOR) + 7.0

floats = st.floats() | st.sampled_from(
    [math.inf, -math.inf, math.nan, -1.0, 0.0, 1e300, 1e18, NOW - 1, NOW, NOW + 1, NOW + 3600, 0.5]
)
integers = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, 2**22, 2**31, 2**40])
headers = st.tuples(
    st.sampled_from([MAGIC, b"tiwpace1", b"\0" * 8]),
    floats,
    floats,
    floats,
    st.integers(0, 2**64 - 1),
).map(lambda values: struct.pack("=8sdddQ", *values).ljust(64, b"\0"))
stamps = st.lists(floats, min_size=1, max_size=8).map(
    lambda values: struct.pack(f"={STAMPS}d", *(values * STAMPS)[:STAMPS])
)
slots = st.lists(
    st.tuples(integers | st.just(os.getppid()), st.integers(0, 2**64 - 1), *[floats] * 6),
    max_size=20,
).map(lambda rows: b"".join(struct.pack("=qQdddddd", *row) for row in rows))
files = st.binary(max_size=200) | st.tuples(headers, stamps, slots).map(b"".join)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("pace")))
        patch.setattr(quota_module, "_warned", {"quiet"})
        yield


def take(host: HostPace, now: float) -> Turn | None:
    return host.take(now, pace=PACE, share=1.0, limit=20, spread_s=0.0, waits=3)


@examples()
@given(data=files, length=st.none() | st.integers(0, SIZE))
def test_any_bytes_give_a_turn_in_bounded_time(data: bytes, length: int | None) -> None:
    host = HostPace("id", "host", "A")
    Path(host.path).write_bytes(data if length is None else data[:length])
    now = NOW
    for _ in range(3):
        turn = take(host, now)
        assert turn is not None
        assert now <= turn.time <= now + LONGEST_S
        assert turn.pace > 0
        assert 0 <= turn.part <= 1
        assert 0 <= turn.unconfirmed <= 1
        host.arrived(turn, 0.1)
        host.rejected(now)
        now = turn.time
    # The second round found a sound file.
    found = Contents.read(Path(host.path).read_bytes(), now, PACE)
    assert found.taken >= 3
    assert all(slot.is_sound for slot in found.slots)
    host.close()


@examples(50)
@given(data=files, at=st.integers(0, 20), length=st.integers(0, SIZE))
def test_it_may_change_at_any_moment(data: bytes, at: int, length: int) -> None:
    host = HostPace("id", "host", "A")
    Path(host.path).unlink()
    clock = [NOW]

    def sleep(seconds: float) -> None:
        assert seconds <= LONGEST_S
        clock[0] += seconds

    quota = Quota(PACE, clock=lambda: clock[0], host=host)
    for number in range(25):
        if number == at:
            Path(host.path).write_bytes(data)
            os.truncate(host.path, length)
        turn = quota.acquire(sleep)
        quota.answered(turn, 0.05)
    assert clock[0] - NOW <= 2 * LONGEST_S
    quota.close()


weights = st.integers(0, 10**7).map(float)


@examples()
@given(
    rows=st.lists(
        st.tuples(weights, weights, st.floats(0, 1e6), st.floats(1e-6, 1e6)), min_size=1, max_size=9
    )
)
def test_parts_never_add_up_to_more_than_the_pace(
    rows: list[tuple[float, float, float, float]],
) -> None:
    processes = [Slot(1, 1, 0.0, a, b, wanted, pace, 1.0) for a, b, wanted, pace in rows]
    pace = max(slot.pace for slot in processes)
    found: list[Part] = parts(processes, pace)
    assert sum(part.whole for part in found) <= 1 + 1e-9
    for part, slot in zip(found, processes, strict=True):
        assert part.waits >= 0
        assert part.unconfirmed >= 0
        assert part.whole <= slot.pace / pace + 1e-9
    # Whatever one leaves the others may use.
    free = [
        part.whole < slot.pace / pace - 1e-6 for part, slot in zip(found, processes, strict=True)
    ]
    hungry = [slot.waits > 0 or slot.unconfirmed > 0 for slot in processes]
    if any(a and b for a, b in zip(free, hungry, strict=True)):
        assert sum(part.whole for part in found) == pytest.approx(1.0)
