# SPDX-License-Identifier: Apache-2.0
"""Arbitrary content in the state that watchers keep between two starts."""

from __future__ import annotations

import importlib.util
import json
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fuzzing import examples
from hypothesis import given, strategies as st

from tiw_automation.airflow.events.announced import StoredState, parse_state
from tiw_automation.core import TiwError, check_task_ids
from tiw_automation.core.events.missing import (
    FIRST_PAUSE_S,
    LAST_PAUSE_S,
    Missing,
    from_json,
    to_json,
)

SOURCE = (
    Path(__file__)
    .parents[2]
    .joinpath(
        "collections/ansible_collections/tiw/automation/extensions/eda/plugins/event_source",
        "online_record.py",
    )
)

TASK_IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:=@+-]{0,20}", fullmatch=True)
SETTINGS = st.text(max_size=40)
MISSING = st.builds(
    Missing,
    settings=SETTINGS,
    ask_at=st.floats(min_value=0, max_value=2**40),
    pause_s=st.floats(min_value=FIRST_PAUSE_S, max_value=LAST_PAUSE_S),
)
# Everything that JSON can hold, what Python's parser accepts beyond it, and surrogates.
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**399, max_value=10**400)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | TASK_IDS
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


def like(*names: str) -> st.SearchStrategy[Any]:
    """Return objects that have the right keys, and arbitrary values."""
    ids = st.lists(TASK_IDS | SCALARS, max_size=5)
    entries = st.dictionaries(TASK_IDS | st.text(max_size=5), st.lists(SCALARS, max_size=3))
    values = ANYTHING | ids | st.dictionaries(SETTINGS, ANYTHING | entries, max_size=3)
    return st.dictionaries(st.sampled_from(names), values)


STATES = ANYTHING | like(
    "settled", "waiting", "missing", "passed_on_as_missing", "sweep_at", "published"
)


def all_ids(found: StoredState) -> list[str]:
    return [*found.settled, *found.waiting, *found.missing, *found.passed_on_as_missing]


@examples()
@given(STATES)
def test_a_trigger_reads_any_state(value: Any) -> None:
    found, odd = parse_state(value)
    for task_id in all_ids(found):
        assert check_task_ids([task_id]) == [task_id]
    assert not set(found.settled) & set(found.waiting)
    assert set(found.missing) | set(found.passed_on_as_missing) <= set(found.waiting)
    assert found.sweep_at is None or 0 < found.sweep_at < time.time() + 366 * 86400
    for each in found.missing.values():
        assert FIRST_PAUSE_S <= each.pause_s <= LAST_PAUSE_S
        # Whatever its times are, it is polled again within a day.
        assert each.is_due(each.settings, time.time() + LAST_PAUSE_S + 1)
    # The state that is then written can be stored and read, and adds nothing.
    again = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert parse_state(again)[0].to_json() == found.to_json()
    assert all(len(words) < 200 for words in odd)


@examples()
@given(
    st.lists(TASK_IDS, unique=True),
    st.lists(TASK_IDS, unique=True),
    st.dictionaries(TASK_IDS, MISSING),
    st.booleans(),
    st.none() | st.floats(min_value=1, max_value=1e9),
    STATES,
)
def test_an_odd_part_leaves_the_others_unchanged(
    settled: list[str],
    waiting: list[str],
    missing: dict[str, Missing],
    published: bool,
    sweep_at: float | None,
    odd: Any,
) -> None:
    waiting = [i for i in dict.fromkeys([*waiting, *missing]) if i not in settled]
    missing = {i: each for i, each in missing.items() if i in waiting}
    whole = StoredState(sorted(settled), waiting, missing, [], sweep_at, published)
    value = whole.to_json()
    assert parse_state(json.loads(json.dumps(value))) == (whole, [])
    for name in ("sweep_at", "missing", "passed_on_as_missing", "unknown"):
        found, _ = parse_state({**value, name: odd})
        assert list(found.settled) == sorted(settled)
        assert list(found.waiting) == waiting


@examples()
@given(ANYTHING | like("SdkAppId 14, tiw.example, key 0"))
def test_any_state_of_missing_recordings_is_read(value: Any) -> None:
    try:
        found = from_json(value)
    except ValueError:
        return
    assert from_json(json.loads(json.dumps(to_json(found), allow_nan=False))) == found


# The event source of Event-Driven Ansible


@pytest.fixture(scope="module")
def source() -> ModuleType:
    spec = importlib.util.spec_from_file_location("event_source_online_record", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FILES = st.binary(max_size=200) | (ANYTHING | like("found", "states")).map(
    lambda value: json.dumps(value).encode()
)


@examples()
@given(content=FILES)
def test_any_state_file_is_read_or_refused(source: ModuleType, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state.json")
        path.write_bytes(content)
        try:
            state = source.StateFile(str(path))
        except TiwError:
            # A file that is not a state file is left unchanged.
            assert path.read_bytes() == content
            return
        state.add(["algebra"])
        assert "algebra" in state.found
        assert "algebra" in source.StateFile(str(path)).found
        # At most one more file, with the damaged content.
        assert len(list(Path(folder).iterdir())) <= 2
