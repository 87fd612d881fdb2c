# SPDX-License-Identifier: Apache-2.0
"""A slot comes in bounded time, whatever the pace file holds."""

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

from tiw_automation.core.quota import share as share_module
from tiw_automation.core.quota.host import HostPace
from tiw_automation.core.quota.pace import LEAST_FACTOR, Pace
from tiw_automation.core.quota.pace_file import (
    MAGIC,
    PROCESSES,
    SIZE,
    STAMPS,
    Contents,
)
from tiw_automation.core.quota.parts import Demand, Part, ProcessRow, SharedSlot, parts
from tiw_automation.core.quota.quota import Quota

NOW = 1000.0
PACE = 19.0
# Each process that the file may name has twenty slots before this one.
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
process_rows = st.lists(
    st.tuples(integers | st.just(os.getppid()), st.integers(0, 2**64 - 1), *[floats] * 6),
    max_size=20,
).map(lambda rows: b"".join(struct.pack("=qQdddddd", *row) for row in rows))
files = st.binary(max_size=200) | st.tuples(headers, stamps, process_rows).map(b"".join)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("pace")))
        patch.setattr(share_module, "_warned", {"other processes of this host"})
        yield


def take(host: HostPace, now: float) -> SharedSlot:
    return host.take(now, Pace(PACE), Demand(waits=3))


@examples()
@given(data=files, length=st.none() | st.integers(0, SIZE))
def test_any_bytes_give_a_slot_in_bounded_time(data: bytes, length: int | None) -> None:
    host = HostPace("id", "host", "A")
    Path(host.path).write_bytes(data if length is None else data[:length])
    now = NOW
    for _ in range(3):
        slot = take(host, now)
        assert now <= slot.time <= now + LONGEST_S
        assert slot.pace > 0
        assert 0 <= slot.part <= 1
        assert 0 <= slot.unconfirmed <= 1
        host.arrived(slot, 0.1)
        host.rejected(now)
        now = slot.time
    # The second round found a valid file.
    found = Contents.read(Path(host.path).read_bytes(), now, PACE)
    assert found.taken >= 3
    assert all(row.is_sound for row in found.rows)
    host.close()


@examples(50)
@given(data=files, at=st.integers(0, 20), length=st.integers(0, SIZE))
def test_the_file_may_change_at_any_moment(data: bytes, at: int, length: int) -> None:
    host = HostPace("id", "host", "A")
    Path(host.path).unlink()
    clock = [NOW]

    def sleep(seconds: float) -> None:
        assert seconds <= LONGEST_S
        clock[0] += seconds

    quota = Quota(PACE, clock=lambda: clock[0], store=host)
    for number in range(25):
        if number == at:
            Path(host.path).write_bytes(data)
            os.truncate(host.path, length)
        slot = quota.acquire(sleep)
        quota.answered(slot, 0.05)
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
    processes = [ProcessRow(1, 1, 0.0, a, b, wanted, pace, 1.0) for a, b, wanted, pace in rows]
    pace = max(row.pace for row in processes)
    found: list[Part] = parts(processes, pace)
    assert sum(part.whole for part in found) <= 1 + 1e-9
    for part, row in zip(found, processes, strict=True):
        assert part.waits >= 0
        assert part.unconfirmed >= 0
        assert part.whole <= row.pace / pace + 1e-9
    # What one process leaves the others may use.
    free = [part.whole < row.pace / pace - 1e-6 for part, row in zip(found, processes, strict=True)]
    wanting = [row.waits > 0 or row.unconfirmed > 0 for row in processes]
    if any(a and b for a, b in zip(free, wanting, strict=True)):
        assert sum(part.whole for part in found) == pytest.approx(1.0)
