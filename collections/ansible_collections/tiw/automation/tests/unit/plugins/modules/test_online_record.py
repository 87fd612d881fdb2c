# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a start, from the task through Ansible to the core."""

from __future__ import annotations

import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.tiw.automation.plugins.module_utils._start import START_ARGUMENTS
from ansible_collections.tiw.automation.plugins.modules.online_record import _start_options

from tiw_automation.core import START_OPTIONS
from tiw_automation.core.tasks import Option, start_params

COLOUR = "#00ff7F"
SAMPLES: dict[str, t.Any] = {"bool": True, "str": "abc", "list": ["abc"]}
OTHERS = ("room_id", "record_user_id", "record_user_sig", "user_sig_key")


def sample(option: Option) -> t.Any:
    if option.options:
        inner = {one.name: sample(one) for one in option.options}
        return [inner] if option.type == "list" else inner
    if option.choices:
        return [option.choices[0]] if option.type == "list" else option.choices[0]
    if option.pattern is not None:
        return COLOUR
    if option.type == "int":
        return option.least if option.least is not None else option.most or 7
    return SAMPLES[option.type]


def names(options: t.Iterable[Option], spec: dict[str, t.Any]) -> None:
    assert {option.name for option in options} == set(spec)
    for option in options:
        if option.options:
            names(option.options, spec[option.name]["options"])


def through_ansible(given: dict[str, t.Any]) -> dict[str, t.Any]:
    found = ArgumentSpecValidator(START_ARGUMENTS).validate(given)
    assert not found.error_messages
    return _start_options({**dict.fromkeys(OTHERS), **found.validated_parameters})


def test_every_option_of_the_core_may_be_given() -> None:
    names(START_OPTIONS, {n: spec for n, spec in START_ARGUMENTS.items() if n != "preset"})


def test_every_option_reaches_the_core_as_it_was_given() -> None:
    given = {option.name: sample(option) for option in START_OPTIONS}
    sent = start_params(through_ansible(given))
    assert sent == start_params(given)
    assert set(sent) == {option.api_name for option in START_OPTIONS}


def test_an_option_that_is_left_out_is_not_sent() -> None:
    assert through_ansible({}) == {}
    given = {"record_control": {"enabled": True, "stream_controls": [{"stream_id": "a"}]}}
    assert through_ansible(given) == given
