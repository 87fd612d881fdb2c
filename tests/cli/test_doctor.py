# SPDX-License-Identifier: Apache-2.0
"""``tiw doctor``: what it finds, what it never does, and what it never shows."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from redis_servers import fake_redis

from tiw_automation.cli.app import tiw
from tiw_automation.cli.checkup import Check, _address, checkup, grouped
from tiw_automation.cli.permissions import read_actions
from tiw_automation.core import Settings
from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parents[2]
# A run with an endpoint that does not answer.
LONGEST_S = 15.0


@pytest.fixture
def account(tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """Return a simulator that the environment points to, on the site that has every action."""
    for name, value in tiw_simulator.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TENCENTCLOUD_REGION", "ap-guangzhou")
    return tiw_simulator


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(tiw, ["doctor", *arguments])


def found(*arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Return the exit code and the checks by name."""
    result = doctor("--output", "json", *arguments)
    data = json.loads(result.stdout)
    assert data["exit_code"] == result.exit_code
    return result.exit_code, {check["name"]: check for check in data["checks"]}


def test_everything_is_checked_where_all_is_well(account: Simulator) -> None:
    code, checks = found()
    assert code == 0
    assert {check["state"] for check in checks.values()} == {"ok", "not checked"}
    names = "versions keys site region endpoint proxy CA SdkAppId connection clock account"
    assert list(checks)[:11] == names.split()
    assert {"callbacks", "pace file", "Redis"} <= checks.keys()
    assert all(
        set(check) == {"name", "state", "found", "advice", "cause"} for check in checks.values()
    )


def test_only_what_reads_is_called(account: Simulator) -> None:
    found()
    assert account.writes == 0
    assert account.requests
    assert all(name.startswith("Describe") for name in account.requests)
    assert set(account.requests.values()) == {1}


def test_probing_tries_to_stop_pause_and_resume_and_changes_nothing(account: Simulator) -> None:
    account.add("lesson", timeline=[{"RECORDING": 3600}])
    _, checks = found("--probe")
    for name in ("PauseOnlineRecord", "ResumeOnlineRecord", "StopOnlineRecord"):
        assert account.requests[name] == 1
        assert checks[f"tiw:{name}"]["state"] == "ok"
    assert account.recordings[0]["status"] == "RECORDING"
    assert checks["tiw:StartOnlineRecord"]["state"] == "not checked"


def test_what_is_never_called_names_the_policy_that_it_needs(account: Simulator) -> None:
    _, checks = found()
    assert checks["tiw:StartOnlineRecord"]["advice"] == (
        "It needs tiw:StartOnlineRecord on qcs::tiw::uin/<account>:sdkappid/1400000001."
    )


def test_the_actions_are_those_of_the_policies_of_the_security_page() -> None:
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    named = set(re.findall(r'"(tiw:\w+)"', page))
    assert {action.check_name for action in read_actions(probe=False)} == named


def test_a_refused_action_is_a_warning_and_reading_recordings_a_fault(account: Simulator) -> None:
    refused = {"code": "UnauthorizedOperation", "message": "not allowed"}
    account.inject("server_error", action="DescribeTranscode", **refused)
    code, checks = found()
    assert code == 0
    assert checks["tiw:DescribeTranscode"]["state"] == "warning"
    assert "tiw:DescribeTranscode on qcs::tiw" in checks["tiw:DescribeTranscode"]["advice"]
    account.inject("server_error", action="DescribeOnlineRecord", **refused)
    code, checks = found()
    assert code == 4
    assert checks["tiw:DescribeOnlineRecord"]["state"] == "fault"
    assert checks["tiw:DescribeWhiteboardPush"]["state"] == "ok"


def test_an_action_that_the_site_lacks_is_no_fault(
    account: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENCENTCLOUD_REGION", "ap-singapore")
    code, checks = found()
    assert code == 0
    assert checks["tiw:DescribeRunningTasks"]["state"] == "not checked"


def test_a_wrong_key_is_refused_and_all_else_is_still_reported(
    account: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", "another-key-of-32-characters-long")
    code, checks = found()
    assert code == 4
    assert checks["account"]["state"] == "fault"
    assert checks["connection"]["state"] == checks["clock"]["state"] == "ok"
    assert checks["pace file"]["state"] == "ok"
    assert checks["tiw:DescribeTranscode"]["state"] == "not checked"


def test_each_fault_costs_only_its_own_line(
    account: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TENCENTCLOUD_SECRET_KEY")
    monkeypatch.setenv("TIW_SDK_APP_ID", "many")
    monkeypatch.setenv("TIW_QUOTA_SHARE", "7")
    code, checks = found("--proxy", "http://a b", "--ca-file", "/nowhere")
    assert code == 4
    faults = [name for name, check in checks.items() if check["state"] == "fault"]
    assert faults == ["keys", "proxy", "CA", "pace", "SdkAppId"]
    assert checks["endpoint"]["state"] == "ok"


def test_without_anything_it_reports_what_is_missing() -> None:
    # This address is free, so that no request leaves this machine.
    code, checks = found("--endpoint", "http://127.0.0.1:9")
    assert code == 4
    assert "No keys were found" in checks["keys"]["found"]
    assert checks["connection"]["cause"] == "unreachable"


def test_the_last_line_names_the_next_step(account: Simulator) -> None:
    assert doctor().stdout.splitlines()[-1].startswith("Next: tiw wait ID")
    last = doctor("--sdk-app-id", "x").stdout.splitlines()[-1]
    assert last == "Next: mend what the line SdkAppId names, and run tiw doctor again."


def test_without_keys_the_next_step_is_a_key_or_the_simulator() -> None:
    last = doctor("--endpoint", "http://127.0.0.1:9").stdout.splitlines()[-1]
    assert "make a key in the console" in last
    assert last.endswith("tiw simulator --example -- tiw wait algebra")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, "none is set: tiw.tencentcloudapi.com with ap-singapore"),
        ({"site": "cn"}, "cn"),
        ({"region": "ap-guangzhou"}, "cn"),
        ({"endpoint": "tiw.intern"}, "neither cn nor intl: an endpoint of your own"),
    ],
)
def test_the_site_does_not_contradict_the_region(given: dict[str, Any], shown: str) -> None:
    settings = Settings.resolve(secret_id="AKIDx", secret_key="key", environ={}, **given)
    assert next(_address(settings)).found == shown


@pytest.mark.parametrize(
    ("given", "state"),
    [({}, "warning"), ({"site": "intl"}, "ok"), ({"region": "ap-guangzhou"}, "ok")],
)
def test_an_undecided_site_is_a_warning(given: dict[str, Any], state: str) -> None:
    settings = Settings.resolve(secret_id="AKIDx", secret_key="key", environ={}, **given)
    checks = {check.name: check for check in _address(settings)}
    assert checks.keys() == {"site", "region", "endpoint"}
    assert checks["site"].state == state
    assert ("--site" in checks["site"].advice) == (state == "warning")


@pytest.mark.parametrize(
    ("variable", "name"), [("REQUESTS_CA_BUNDLE", "CA"), ("HTTPS_PROXY", "proxy")]
)
def test_a_fault_of_the_environment_is_reported_once(
    account: Simulator, monkeypatch: pytest.MonkeyPatch, variable: str, name: str
) -> None:
    monkeypatch.setenv("TIW_ENDPOINT", "https://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv(variable, "/nowhere\\")
    code, checks = found()
    assert code == 4
    assert [one for one, check in checks.items() if check["state"] == "fault"] == [name]
    assert checks["connection"]["state"] == "not checked"
    assert checks["connection"]["found"] == "The faults above come first."


def test_an_endpoint_that_refuses_is_unreachable(
    account: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIW_ENDPOINT", "http://127.0.0.1:9")
    code, checks = found()
    assert code == 5
    assert checks["connection"]["state"] == "fault"
    assert checks["account"]["state"] == "not checked"


def test_an_endpoint_that_does_not_answer_costs_some_seconds(
    account: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("TIW_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        code, _ = found()
    assert code == 5
    assert time.monotonic() - begun < LONGEST_S


def test_actions_that_are_not_answered_cost_some_seconds_together(account: Simulator) -> None:
    for name in ("DescribeTranscode", "DescribeWhiteboardPush", "DescribePPTCheck"):
        account.inject("hang", action=name)
    begun = time.monotonic()
    _, checks = found()
    assert time.monotonic() - begun < LONGEST_S
    assert checks["tiw:DescribeTranscode"]["state"] == "warning"


def test_no_secret_and_no_name_of_a_user_is_shown(
    account: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "home" / "maria"
    bundle = home / "ca.pem"
    bundle.parent.mkdir(parents=True)
    bundle.write_text("nothing")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HTTPS_PROXY", "http://user:sesame@proxy.example.com:3128")
    account.set_callback("https://hooks.example.com/tiw?token=sesame", "k" * 43)
    texts = [
        doctor("--output", form, *more).output
        for form in ("json", "table")
        for more in ([], ["--ca-file", str(bundle)])
    ]
    for text in texts:
        for secret in (account.secret_id, account.secret_key, "sesame", "k" * 43, "maria"):
            assert secret not in text
        assert account.secret_id[:4] in text
    assert "~/ca.pem" in texts[1]


def test_where_the_keys_come_from(
    account: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, checks = found()
    assert checks["keys"]["found"] == "AKID... from the environment (keys)"
    keys = {"secretId": account.secret_id, "secretKey": account.secret_key}
    for name in ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".tccli").mkdir()
    (tmp_path / ".tccli/work.credential").write_text(json.dumps(keys))
    _, checks = found("--profile", "work")
    assert checks["keys"]["found"] == "AKID... from the ~/.tccli/work.credential (keys)"


def test_callbacks(account: Simulator) -> None:
    assert "No address" in found()[1]["callbacks"]["found"]
    account.set_callback("https://hooks.example.com/tiw?token=1")
    check = found()[1]["callbacks"]
    assert (check["state"], check["found"]) == (
        "warning",
        "https://hooks.example.com/tiw, without a key",
    )
    account.set_callback("https://hooks.example.com/tiw", "k" * 43)
    assert found()[1]["callbacks"]["state"] == "ok"
    account.set_callback("http://hooks.example.com/tiw", "k" * 43)
    assert "plain http" in found()[1]["callbacks"]["advice"]


def test_a_clock_that_is_off_is_a_warning(account: Simulator) -> None:
    options = account.settings()
    with Simulator(clock=lambda: time.time() + 200) as ahead:
        checks = {check.name: check for check in checkup({**options, **ahead.settings()})}
    assert checks["clock"].state == "warning"
    assert "behind the server's" in checks["clock"].found


def test_a_pace_folder_that_is_open_to_others_is_a_warning(
    account: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / f"tiw-automation-{os.geteuid()}").mkdir(mode=0o755)
    check = found()[1]["pace file"]
    assert check["state"] == "warning"
    assert "open to other users" in check["found"]


def test_the_redis_of_the_shared_pace(account: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_redis() as port:
        monkeypatch.setenv("TIW_QUOTA_URL", f"redis://127.0.0.1:{port}/0")
        checks = found()[1]
    assert checks["Redis"]["state"] == "ok"
    assert "19 requests a second for all processes" in checks["Redis"]["found"]
    assert checks["pace file"]["found"] == "Not used: TIW_QUOTA_URL is set."


@pytest.mark.parametrize(
    ("url", "state", "words"),
    [
        ("redis://:sesame@127.0.0.1:1/0", "warning", "redis://127.0.0.1:1/0 cannot be used"),
        ("http://:sesame@127.0.0.1", "fault", "TIW_QUOTA_URL"),
    ],
)
def test_a_redis_that_cannot_be_used(
    url: str, state: str, words: str, account: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIW_QUOTA_URL", url)
    result = doctor("--output", "json")
    assert "sesame" not in result.output
    (check,) = [one for one in json.loads(result.stdout)["checks"] if one["name"] == "Redis"]
    assert check["state"] == state
    assert words in check["found"]


def test_actions_with_one_result_are_one_line() -> None:
    checks = [
        Check("tiw:A", "ok", "permitted"),
        Check("tiw:B", "warning", "refused", "It needs tiw:B on x."),
        Check("tiw:C", "ok", "permitted"),
        Check("tiw:D", "warning", "refused", "It needs tiw:D on x."),
    ]
    assert [(check.found, check.advice) for check in grouped(checks)] == [
        ("permitted: A, C", ""),
        ("refused: B, D", "Each needs tiw:<its name> on x."),
    ]


def test_the_key_of_the_simulator_without_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIW_ENDPOINT", raising=False)
    keys = {"TENCENTCLOUD_SECRET_ID": Simulator().secret_id, "TENCENTCLOUD_SECRET_KEY": "k" * 32}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    lines = doctor().stdout.splitlines()
    assert not [line for line in lines if "AssertionError" in line]
    assert lines[-1] == "Next: mend what the line endpoint names, and run tiw doctor again."
