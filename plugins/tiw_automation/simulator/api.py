# SPDX-License-Identifier: Apache-2.0
"""What the API answers, apart from how it travels.

A request is looked at in the gateway's order: signature, action and version, region, quota,
parameters. So a wrong key is never told about the rest, and what is refused before the quota
costs none of it.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from .clock import Clock, VirtualClock
from .errors import ApiFault
from .limits import RateLimiter, rejection_message
from .recordings import Recording
from .signature import Account, SignedRequest, verify

VERSION = "2019-09-19"
REGIONS = ("ap-guangzhou", "ap-singapore")
_KNOWN = {"DescribeOnlineRecord": {"SdkAppId": int, "TaskId": str}}


class Api:
    """The recordings of one account, and who asked for them how often.

    :param clock: the real time in UNIX seconds: signatures and quota go by it
    :param virtual: the time that recordings live in
    """

    def __init__(
        self,
        *,
        sdk_app_id: int,
        accounts: Mapping[str, Account],
        limiter: RateLimiter,
        clock: Clock,
        virtual: VirtualClock,
    ) -> None:
        self.sdk_app_id = sdk_app_id
        self.accounts = accounts
        self.limiter = limiter
        self.virtual = virtual
        self.recordings: dict[str, Recording] = {}
        self.requests: Counter[str] = Counter()
        self.by_task: Counter[str] = Counter()
        self.rejects = 0
        self._clock = clock
        self._actions: dict[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
            "DescribeOnlineRecord": self._describe_online_record
        }

    def forget_requests(self) -> None:
        """Begin all counts anew."""
        self.requests.clear()
        self.by_task.clear()
        self.rejects = 0
        self.limiter.forget_max()

    def answer(self, request: SignedRequest, params: object, base_url: str) -> bytes:
        """Return the body that a request is answered with.

        :param params: the request's parameters as they were read, whatever they are
        :param base_url: where the video files are
        """
        response: dict[str, Any]
        try:
            response = self._respond(request, params, base_url)
        except ApiFault as fault:
            response = {"Error": {"Code": fault.code, "Message": fault.message}}
        return json.dumps({"Response": {**response, "RequestId": str(uuid.uuid4())}}).encode()

    def _respond(self, request: SignedRequest, params: object, base_url: str) -> dict[str, Any]:
        headers = request.headers
        now = self._clock()
        authorization = verify(request, self.accounts, now)
        action = headers.get("X-TC-Action", "")
        handler = self._actions.get(action)
        if handler is None:
            raise ApiFault(
                "InvalidAction", f"The request action=`{action}` is invalid or not found."
            )
        version = headers.get("X-TC-Version", "")
        if version != VERSION:
            raise ApiFault(
                "NoSuchVersion",
                f"The specified api version=`{version}` does not exist in service=`tiw`.",
            )
        region = headers.get("X-TC-Region", "")
        if region not in REGIONS:
            raise ApiFault("UnsupportedRegion", f"The region `{region}` is not supported.")
        self.requests[action] += 1
        count = self.limiter.request(authorization.secret_id, action, now)
        if count is not None:
            self.rejects += 1
            language = headers.get("X-TC-Language", "zh-CN")
            raise ApiFault(
                "RequestLimitExceeded", rejection_message(count, self.limiter.limit, language)
            )
        return handler(_checked(action, params), base_url)

    def _describe_online_record(self, params: dict[str, Any], base_url: str) -> dict[str, Any]:
        task_id = params["TaskId"]
        self.by_task[task_id] += 1
        recording = self.recordings.get(task_id)
        owned = params["SdkAppId"] == self.sdk_app_id or any(
            known.sdk_app_id == params["SdkAppId"] for known in self.recordings.values()
        )
        if not owned:
            raise ApiFault(
                "UnauthorizedOperation.SdkAppId",
                "The SdkAppId does not exist or does not match the current Tencent Cloud account.",
            )
        if recording is None or recording.sdk_app_id != params["SdkAppId"]:
            raise ApiFault("InvalidParameter.TaskNotFound", "The task to query does not exist.")
        return recording.describe(self.virtual.now(), base_url)


def _checked(action: str, params: object) -> dict[str, Any]:
    """Return the parameters of an action, each of its type.

    :raises ApiFault: one is missing, unknown or of another type
    """
    if not isinstance(params, dict):
        raise ApiFault("InvalidParameter", "The request body is not a JSON object.")
    known = _KNOWN[action]
    for name in params:
        if name not in known:
            raise ApiFault("UnknownParameter", f"The parameter `{name}` is not recognized.")
    for name, kind in known.items():
        value = params.get(name)
        if value is None:
            raise ApiFault(
                "MissingParameter", f"The request is missing a required parameter `{name}`."
            )
        if isinstance(value, bool) or not isinstance(value, kind):
            raise ApiFault(
                "InvalidParameter.BodyParameterTypeUnmatched",
                f"The value type of parameter `{name}` is not valid.",
            )
    return params
