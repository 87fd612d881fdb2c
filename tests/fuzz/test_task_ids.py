# SPDX-License-Identifier: Apache-2.0
"""Arbitrary values as task ids."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fuzzing import examples
from hypothesis import given, strategies as st

from tiw_automation.core import ConfigurationError, check_task_id, check_task_ids

FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:=@+-]{0,127}")
GOOD = st.from_regex(FORM, fullmatch=True)
LONGEST_MESSAGE = 500

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | GOOD,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.sets(st.text()),
    max_leaves=8,
)


@examples()
@given(anything)
def test_a_valid_id_or_an_error(value: Any) -> None:
    for check in (check_task_ids, check_task_id):
        try:
            found = check(value)
        except ConfigurationError as error:
            message = str(error)
        else:
            message = ""
            ids = [found] if isinstance(found, str) else found
            assert ids
            assert all(FORM.fullmatch(task_id) for task_id in ids)
            assert len(set(ids)) == len(ids)
        assert message.isprintable()
        assert len(message) < LONGEST_MESSAGE


@examples()
@given(st.lists(GOOD, min_size=1))
def test_every_spelling_of_a_list_is_the_same_list(ids: list[str]) -> None:
    known = list(dict.fromkeys(ids))
    assert check_task_ids(ids) == known
    assert check_task_ids(tuple(ids)) == known
    assert check_task_ids(",".join(ids)) == known
    assert check_task_ids(" , ".join(ids)) == known


@pytest.mark.parametrize(
    "text",
    [
        "x{{lookup('pipe', 'id')}}",
        "x\x1b[31m",
        "a\nb",
        "../../etc/passwd",
        "-rf",
        "$(id)",
        "\u0661\u0662",
        "a" * 129,
        "a" * 900_000,
        "\ud800",
    ],
)
def test_text_with_a_meaning_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="not a task id") as caught:
        check_task_ids(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < LONGEST_MESSAGE
