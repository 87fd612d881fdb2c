# SPDX-License-Identifier: Apache-2.0
"""Temporary keys, from STS and from the metadata of a cloud server."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile

from tiw_automation.simulator import Simulator

Call = Callable[..., dict[str, Any]]
CodeOf = Callable[..., str]

ROLE: dict[str, Any] = {
    "RoleArn": "qcs::cam::uin/100015158414:roleName/lessons",
    "RoleSessionName": "report",
}


def assume(simulator: Simulator, **changes: Any) -> dict[str, Any]:
    profile = ClientProfile(
        httpProfile=HttpProfile(protocol="http", endpoint=f"127.0.0.1:{simulator.port}")
    )
    keys = Credential(simulator.secret_id, simulator.secret_key)
    client = CommonClient("sts", "2018-08-13", keys, "ap-guangzhou", profile=profile)
    answer: dict[str, Any] = client.call_json("AssumeRole", {**ROLE, **changes})["Response"]
    return answer


def keys_of(answer: dict[str, Any]) -> tuple[str, str, str]:
    given = answer.get("Credentials", answer)
    return given["TmpSecretId"], given["TmpSecretKey"], given["Token"]


def test_a_role_is_assumed_until_it_expires(call: Call, code_of: CodeOf) -> None:
    offset = [0.0]
    with Simulator(clock=lambda: time.time() + offset[0]) as simulator:
        simulator.add("t", timeline=[])
        answer = assume(simulator, DurationSeconds=120)
        assert 118 <= answer["ExpiredTime"] - time.time() <= 121
        expiration = datetime.fromisoformat(answer["Expiration"]).timestamp()
        assert expiration == answer["ExpiredTime"]
        keys = keys_of(answer)
        call(simulator, "DescribeOnlineRecord", keys=keys, TaskId="t")
        for method in ("HmacSHA1", "HmacSHA256"):
            call(simulator, "DescribeOnlineRecord", keys=keys, sign_method=method, TaskId="t")
        refused = "AuthFailure.TokenFailure"
        without = (keys[0], keys[1], None)
        assert code_of(simulator, "DescribeOnlineRecord", keys=without, TaskId="t") == refused
        offset[0] = 121
        assert code_of(simulator, "DescribeOnlineRecord", keys=keys, TaskId="t") == refused
        # The account's own keys stay valid.
        call(simulator, "DescribeOnlineRecord", TaskId="t")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"RoleArn": "lessons"}, "InvalidParameter.ParamError"),
        ({"RoleSessionName": "?"}, "InvalidParameter.ParamError"),
        ({"RoleSessionName": None}, "MissingParameter"),
        ({"DurationSeconds": 43201}, "InvalidParameter.OverTimeError"),
        ({"Duration": 1}, "UnknownParameter"),
    ],
)
def test_what_sts_refuses(tiw_simulator: Simulator, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(TencentCloudSDKException) as caught:
        assume(tiw_simulator, **changes)
    assert caught.value.get_code() == code


def test_temporary_keys_share_the_quota_of_their_caller(call: Call, code_of: CodeOf) -> None:
    now = int(time.time())
    with Simulator(limit=2, clock=lambda: now) as simulator:
        simulator.add("t", timeline=[])
        first, second = keys_of(assume(simulator)), keys_of(assume(simulator))
        call(simulator, "DescribeOnlineRecord", TaskId="t")
        call(simulator, "DescribeOnlineRecord", keys=first, TaskId="t")
        code = code_of(simulator, "DescribeOnlineRecord", keys=second, TaskId="t")
        assert code == "RequestLimitExceeded"
        assert simulator.rejects == 1


def metadata(simulator: Simulator, role: str = "") -> str:
    url = f"{simulator.endpoint}/latest/meta-data/cam/security-credentials/{role}"
    with urllib.request.urlopen(url) as answer:
        return str(answer.read().decode())


def test_the_metadata_of_a_server(call: Call, code_of: CodeOf) -> None:
    offset = [0.0]
    clock: Callable[[], float] = lambda: time.time() + offset[0]  # noqa: E731
    with Simulator(metadata_role="lessons", clock=clock) as simulator:
        simulator.add("t", timeline=[])
        assert metadata(simulator) == "lessons"
        first = json.loads(metadata(simulator, "lessons"))
        assert first["Code"] == "Success"
        assert set(first) == {
            *("TmpSecretId", "TmpSecretKey", "Token", "ExpiredTime", "Expiration", "Code")
        }
        call(simulator, "DescribeOnlineRecord", keys=keys_of(first), TaskId="t")
        assert json.loads(metadata(simulator, "lessons")) == first
        offset[0] = 7200 - 300
        renewed = json.loads(metadata(simulator, "lessons"))
        assert renewed["TmpSecretId"] != first["TmpSecretId"]
        with pytest.raises(urllib.error.HTTPError) as caught:
            metadata(simulator, "another")
        caught.value.close()
        assert caught.value.code == 404


def test_without_a_metadata_role_there_is_no_metadata(tiw_simulator: Simulator) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        metadata(tiw_simulator)
    caught.value.close()
    assert caught.value.code == 404
