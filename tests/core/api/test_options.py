# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
from typing import Any

import pytest

from tiw_automation.core import ConfigurationError, TiwClient
from tiw_automation.core.api.options import SECRETS, SETTINGS, read_options

KNOWN: dict[str, type] = {"name": str, "times": float, "count": int, "deep": bool, "ids": list}


def test_the_settings_are_arguments_of_the_client() -> None:
    arguments = set(inspect.signature(TiwClient.__init__).parameters)
    assert set(SETTINGS) <= arguments
    assert not [n for n in arguments if n.startswith("secret_") and n not in SECRETS]


@pytest.mark.parametrize(
    ("name", "given", "found"),
    [
        ("name", "a", "a"),
        ("times", 2, 2.0),
        ("times", "2.5", 2.5),
        ("count", "14", 14),
        ("count", 14, 14),
        ("deep", "yes", True),
        ("deep", False, False),
        ("deep", "False", False),
        ("ids", "a", ["a"]),
        ("ids", ["a", "b"], ["a", "b"]),
        ("ids", [], []),
    ],
)
def test_each_option_gets_its_type(name: str, given: Any, found: Any) -> None:
    read = read_options({name: given}, KNOWN)
    assert read == {name: found}
    assert type(read[name]) is KNOWN[name]


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_option_counts_as_not_given(empty: object) -> None:
    assert read_options(dict.fromkeys(KNOWN, empty), KNOWN) == {}


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("name", 5, "a string"),
        ("times", "often", "a number"),
        ("times", True, "a number"),
        ("times", float("nan"), "a number"),
        ("times", "inf", "a number"),
        pytest.param("times", 10**400, "a number", id="huge"),
        ("count", float("inf"), "a whole number"),
        ("count", 1.5, "a whole number"),
        ("count", "1.5", "a whole number"),
        ("count", [1], "a whole number"),
        ("count", "1_000", "a whole number"),
        ("times", "1_000", "a number"),
        ("times", "\u0663", "a number"),
        ("deep", "perhaps", "true or false"),
        ("deep", 2, "true or false"),
        ("deep", [], "true or false"),
        ("ids", {"a": 1}, "a list"),
        ("ids", 5, "a list"),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, given: Any, wanted: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_options({name: given}, KNOWN)
    assert name in str(caught.value)
    assert wanted in str(caught.value)
    assert repr(given) in str(caught.value)


def test_an_unknown_option_is_named_with_the_nearest_and_all_known() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_options({"tmes": 1}, KNOWN)
    assert "'tmes'. Did you mean times?" in str(caught.value)
    assert "count, deep, ids, name, times" in str(caught.value)


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_of_another_type_is_not_repeated(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_options({name: ["0123456789"]}, {**SETTINGS, "callback_key": str})
    assert name in str(caught.value)
    assert "0123456789" not in str(caught.value)
