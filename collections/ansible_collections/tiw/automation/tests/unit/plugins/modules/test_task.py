# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of each kind of task, from the task of the playbook through Ansible to the core."""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.tiw.automation.plugins.module_utils._change import without_none
from ansible_collections.tiw.automation.plugins.module_utils._task_options import (
    CREATED_KIND,
    TASK_KIND,
    TASK_OPTIONS,
)

from tiw_automation.core import TASK_KINDS
from tiw_automation.core.tasks import Option
from tiw_automation.core.tasks.kinds import create_params

SAMPLES: dict[str, t.Any] = {"bool": True, "str": "abc", "list": ["abc"]}
# For options with a pattern.
TEXTS = ("http://127.0.0.1/a.pptx", "960x540", "abc", "#00ff7F")
KINDS = [name for name in TASK_KINDS if name != "online_record"]


def sample(option: Option) -> t.Any:
    if option.options:
        inner = {one.name: sample(one) for one in option.options}
        return [inner] if option.type == "list" else inner
    if option.choices:
        return [option.choices[0]] if option.type == "list" else option.choices[0]
    if option.type == "list":
        return [option.least] if option.items == "int" else ["abc"]
    if option.type == "int":
        return option.least if option.least is not None else option.most or 7
    if option.pattern is not None:
        return next(text for text in TEXTS if re.fullmatch(option.pattern, text))
    return SAMPLES[option.type]


def secrets(options: t.Iterable[Option], spec: dict[str, t.Any]) -> t.Iterator[str]:
    """Yield the secret options; each must be masked."""
    for option in options:
        if option.secret:
            assert spec[option.name]["no_log"] is True
            yield option.name
        yield from secrets(option.options, spec[option.name].get("options", {}))


def test_the_kinds_are_those_of_the_core() -> None:
    assert TASK_KIND["choices"] == list(TASK_KINDS)
    assert CREATED_KIND["choices"] == KINDS


@pytest.mark.parametrize("name", KINDS)
def test_every_option_of_a_kind_reaches_the_core_as_it_was_given(name: str) -> None:
    kind = TASK_KINDS[name]
    given = {option.name: sample(option) for option in kind.options}
    found = ArgumentSpecValidator(TASK_OPTIONS).validate(given)
    assert not found.error_messages
    sent = create_params(kind, without_none(found.validated_parameters), is_intl=False)
    assert sent == create_params(kind, given, is_intl=False)
    assert set(sent) == {option.api_name for option in kind.options}


def test_every_secret_is_masked() -> None:
    found = {name: set(secrets(TASK_KINDS[name].options, TASK_OPTIONS)) for name in KINDS}
    assert found["whiteboard_push"] == {"push_user_sig", "private_map_key", "user_sig"}
    assert found["transcode"] == found["ppt_check"] == {"url"}
    assert found["snapshot"] == {"callback_url"}
