# SPDX-License-Identifier: Apache-2.0
"""The policies of docs/security.md: valid JSON that names the actions in use."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from page_blocks import blocks_for

from tiw_automation.core import TASK_KINDS
from tiw_automation.simulator.schema import REQUESTS

ROOT = Path(__file__).resolve().parents[2]


def policies() -> list[dict[str, Any]]:
    return [json.loads(block.text) for block in blocks_for(__file__)]


def actions(policy: dict[str, Any]) -> set[str]:
    (statement,) = policy["statement"]
    assert statement["effect"] == "allow"
    return set(statement["action"])


def test_each_policy_has_the_form_of_cam() -> None:
    for policy in policies():
        assert policy["version"] == "2.0"
        (statement,) = policy["statement"]
        for resource in statement["resource"]:
            assert re.fullmatch(r"qcs::(tiw|cam)::uin/\d+:(sdkappid/\d+|roleName/[\w-]+)", resource)


def test_policies_name_every_action_of_the_client_and_only_those() -> None:
    named = set.union(*map(actions, policies())) - {"sts:AssumeRole"}
    kinds = TASK_KINDS.values()
    used = {kind.create_action for kind in kinds} | {kind.describe_action for kind in kinds}
    used |= {kind.stop_action for kind in kinds if kind.stop_action is not None}
    used |= {"PauseOnlineRecord", "ResumeOnlineRecord", "DescribeRunningTasks"}
    used |= {"DescribeTranscodeByUrl", "DescribeOnlineRecordCallback"}
    used |= {"SetOnlineRecordCallback", "SetOnlineRecordCallbackKey"}
    assert named == {f"tiw:{action}" for action in used}
    assert used <= set(REQUESTS)


def test_waiting_needs_one_action() -> None:
    assert actions(policies()[0]) == {"tiw:DescribeOnlineRecord"}


def test_the_security_page_names_the_way_to_report_a_fault() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "Report a vulnerability" in page
    assert "docs/security.md" in page


def test_the_policies_of_the_page_for_beginners_are_those_of_the_security_page() -> None:
    page = (ROOT / "docs/start-account.md").read_text(encoding="utf-8")
    pasted = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    assert len(pasted) == 2
    assert all(policy in policies() for policy in pasted)
