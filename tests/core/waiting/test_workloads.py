# SPDX-License-Identifier: Apache-2.0
"""The order on the workloads of the simulation, with few waits; the benchmark runs them whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture(scope="module")
def simulation() -> Iterator[Any]:
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import simulation

        yield simulation
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in set(sys.modules) - before:
            if str(BENCHMARKS) in (getattr(sys.modules[name], "__file__", "") or ""):
                del sys.modules[name]


def mean(simulation: Any, load: str, name: str, count: int) -> float:
    found: float = simulation.simulate((load, name, count, 1)).mean
    return found


def test_recordings_of_a_queue_are_found_in_its_order(
    simulation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["workloads"], "HOURS", 1)
    load = "timetable, a queue of 15/s"
    ours = mean(simulation, load, simulation.TO_STOPPED, 1000)
    assert ours <= 0.5 * mean(simulation, load, simulation.ROUND_ROBIN, 1000)


def test_where_each_takes_its_own_time_the_list_does_no_harm(simulation: Any) -> None:
    ours = mean(simulation, "timetable", simulation.TO_STOPPED, 1000)
    assert ours <= 0.92 * mean(simulation, "timetable", simulation.ROUND_ROBIN, 1000)


@pytest.mark.parametrize(
    ("load", "count", "most"),
    [
        ("few", 3, 0.3),
        ("few, processed in 40 s", 3, 0.6),
        ("few, processed in 1 to 4 s", 1, 1.01),
    ],
)
def test_few_recordings_are_found_as_soon_with_fewer_requests(
    simulation: Any, load: str, count: int, most: float
) -> None:
    ours, timer = (
        simulation.simulate((load, name, count, 1))
        for name in (simulation.OURS_5_S, simulation.EVERY_5_S)
    )
    assert ours.mean <= 1.1 * timer.mean
    assert ours.requests <= most * timer.requests
