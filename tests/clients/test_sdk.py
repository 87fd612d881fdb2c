# SPDX-License-Identifier: Apache-2.0
"""The unmodified official Python SDK: its models, its synchronous and asynchronous clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.tiw.v20190919 import models, tiw_client

from tiw_automation.simulator import Simulator

Call = Callable[[str, dict[str, Any]], dict[str, Any]]

pytestmark = [
    # The SDK signs with a call that Python 3.12 deprecates, and does not close its answers.
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def profile(simulator: Simulator, sign_method: str, http_method: str) -> ClientProfile:
    return ClientProfile(
        signMethod=sign_method,
        httpProfile=HttpProfile(
            protocol="http", endpoint=f"127.0.0.1:{simulator.port}", reqMethod=http_method
        ),
    )


def request_for(action: str, parameters: dict[str, Any]) -> Any:
    request = getattr(models, f"{action}Request")()
    request.from_json_string(json.dumps(parameters))
    return request


def content(answer: Any) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(answer.to_json_string())
    return read


@pytest.fixture(params=["TC3-HMAC-SHA256", "HmacSHA1", "HmacSHA256"])
def sign_method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["POST", "GET"])
def synchronous(simulator: Simulator, sign_method: str, request: pytest.FixtureRequest) -> Call:
    """Return a function that makes a call from the synchronous client."""
    keys = Credential(simulator.secret_id, simulator.secret_key)
    client = tiw_client.TiwClient(
        keys, simulator.region, profile(simulator, sign_method, request.param)
    )
    return lambda action, parameters: content(
        getattr(client, action)(request_for(action, parameters))
    )


def test_the_synchronous_client(synchronous: Call, all_actions: Callable[[Call], None]) -> None:
    all_actions(synchronous)


def test_the_synchronous_client_runs_a_task_of_each_family(
    synchronous: Call, all_families: Callable[[Call], None]
) -> None:
    all_families(synchronous)


@pytest.fixture
def asynchronous(simulator: Simulator) -> Iterator[Callable[[str, str], Call]]:
    """Yield a function that makes a call from an asynchronous client."""
    try:
        from tencentcloud.tiw.v20190919 import tiw_client_async
    except ImportError as error:
        pytest.fail(f"The SDK's asynchronous client needs httpx, which is missing: {error}.")
    keys = Credential(simulator.secret_id, simulator.secret_key)
    clients = []
    with asyncio.Runner() as runner:

        async def make(*way: str) -> Any:
            return tiw_client_async.TiwClient(keys, simulator.region, profile(simulator, *way))

        def connect(*way: str) -> Call:
            client = runner.run(make(*way))
            clients.append(client)

            async def call(action: str, parameters: dict[str, Any]) -> dict[str, Any]:
                return content(await getattr(client, action)(request_for(action, parameters)))

            return lambda action, parameters: runner.run(call(action, parameters))

        yield connect
        for client in clients:
            runner.run(client.close())


@pytest.mark.parametrize(
    ("sign_method", "http_method"),
    [
        ("TC3-HMAC-SHA256", "POST"),
        ("TC3-HMAC-SHA256", "GET"),
        ("HmacSHA1", "POST"),
        ("HmacSHA256", "POST"),
    ],
)
def test_the_asynchronous_client(
    asynchronous: Callable[[str, str], Call],
    all_actions: Callable[[Call], None],
    sign_method: str,
    http_method: str,
) -> None:
    all_actions(asynchronous(sign_method, http_method))


def test_the_asynchronous_client_runs_a_task_of_each_family(
    asynchronous: Callable[[str, str], Call], all_families: Callable[[Call], None]
) -> None:
    all_families(asynchronous("TC3-HMAC-SHA256", "POST"))


@pytest.mark.parametrize("sign_method", ["HmacSHA1", "HmacSHA256"])
def test_the_asynchronous_client_signs_other_booleans_than_it_sends(
    simulator: Simulator, asynchronous: Callable[[str, str], Call], sign_method: str
) -> None:
    """It signs ``True``, httpx sends ``true``: Tencent refuses that, and so does the simulator."""
    call = asynchronous(sign_method, "GET")
    start = {
        "SdkAppId": simulator.sdk_app_id,
        "RoomId": 5,
        "RecordUserId": "tic_record_user_5_1",
        "RecordUserSig": "a+b/c=&d",
        "Extras": ["MIX_STREAM"],
    }
    with pytest.raises(Exception, match=r"AuthFailure\.SignatureFailure"):
        call("StartOnlineRecord", {**start, "AudioFileNeeded": True})
    assert call("StartOnlineRecord", start)["TaskId"]
