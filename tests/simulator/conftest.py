# SPDX-License-Identifier: Apache-2.0
"""One call by the unmodified SDK, with any parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.tiw.v20190919 import tiw_client

from tiw_automation.simulator import Simulator

Call = Callable[..., dict[str, Any]]
CodeOf = Callable[..., str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "simulator":
            # The SDK signs with a call that Python 3.12 deprecates, and does not close its answers.
            for ignored in (
                "ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning",
                "ignore::pytest.PytestUnraisableExceptionWarning",
                "ignore::ResourceWarning",
            ):
                item.add_marker(pytest.mark.filterwarnings(ignored))


def _call(
    simulator: Simulator,
    action: str,
    *,
    keys: tuple[str, str, str | None] | None = None,
    sign_method: str = "TC3-HMAC-SHA256",
    http_method: str = "POST",
    region: str | None = None,
    **parameters: Any,
) -> dict[str, Any]:
    profile = ClientProfile(
        signMethod=sign_method,
        language="en-US",
        httpProfile=HttpProfile(
            protocol="http", endpoint=f"127.0.0.1:{simulator.port}", reqMethod=http_method
        ),
    )
    credential = Credential(*(keys or (simulator.secret_id, simulator.secret_key)))
    client = tiw_client.TiwClient(credential, region or simulator.region, profile)
    name = "SdkAppID" if action == "DescribeRunningTasks" else "SdkAppId"
    answer = client.call_json(action, {name: simulator.sdk_app_id, **parameters})
    response: dict[str, Any] = answer["Response"]
    return response


@pytest.fixture
def call() -> Call:
    """Return a function that makes one call and returns what is in ``Response``."""
    return _call


@pytest.fixture
def code_of() -> CodeOf:
    """Return a function that makes one call, which must be refused, and returns its code."""

    def code(simulator: Simulator, action: str, **given: Any) -> str:
        with pytest.raises(TencentCloudSDKException) as caught:
            _call(simulator, action, **given)
        assert caught.value.get_request_id()
        return str(caught.value.get_code())

    return code
