# SPDX-License-Identifier: Apache-2.0
"""One API call: the official SDK signs, the rest is made safe here.

The actions are those of TIW's API, version 2019-09-19
(https://www.tencentcloud.com/document/product/1176/53478).
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.tiw.v20190919 import tiw_client

from tiw_automation import __version__
from tiw_automation.core.credentials import Credentials
from tiw_automation.core.errors import (
    BadAnswer,
    ConfigurationError,
    ServerError,
    TiwError,
    api_error,
)
from tiw_automation.core.quota import Quota, shared_quota
from tiw_automation.core.records import OnlineRecord, check_sdk_app_id, check_task_id
from tiw_automation.core.settings import Settings
from tiw_automation.core.transport import Answer, Transport


class TiwClient:
    """A client of the TIW API. Thread-safe; one is enough for a process and an account.

    Every argument that is left out comes from the environment, else from its default.

    :param secret_id: SecretId; with ``secret_key``, and ``token`` where the keys are temporary.
    :param profile: not supported by this version.
    :param role_arn: not supported by this version.
    :param sdk_app_id: the application that the methods work on unless told otherwise.
    :param site: ``cn`` or ``intl``; sets host and region.
    :param region: ``ap-guangzhou`` or ``ap-singapore``.
    :param endpoint: a host, host:port or http(s) URL that replaces the site's host.
    :param requests_per_second: the pace of each action, 19 by default; Tencent allows 20.
    :param quota_share: this process's share of that pace, above 0 and at most 1, 1 by default.
    :param ca_file: a bundle of CA certificates to trust.
    :param proxy: the URL of an HTTP proxy.
    :param timeout: the hard deadline of one call in seconds, 10 by default.
    :raises ConfigurationError: an argument or a variable makes no sense.
    :raises CredentialsError: no whole pair of keys was found.
    """

    def __init__(
        self,
        *,
        secret_id: str | None = None,
        secret_key: str | None = None,
        token: str | None = None,
        profile: str | None = None,
        role_arn: str | None = None,
        sdk_app_id: int | str | None = None,
        site: str | None = None,
        region: str | None = None,
        endpoint: str | None = None,
        requests_per_second: float | None = None,
        quota_share: float | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self.settings = Settings.resolve(
            secret_id=secret_id,
            secret_key=secret_key,
            token=token,
            profile=profile,
            role_arn=role_arn,
            sdk_app_id=sdk_app_id,
            site=site,
            region=region,
            endpoint=endpoint,
            requests_per_second=requests_per_second,
            quota_share=quota_share,
            ca_file=ca_file,
            proxy=proxy,
            timeout=timeout,
        )
        self.requests_sent = 0
        self._count_lock = threading.Lock()
        self._transport = Transport(
            self.settings.url, proxy=self.settings.proxy, ca_file=self.settings.ca_file
        )
        self._sdk = _SdkClient(self.settings, self._transport)

    def __repr__(self) -> str:
        return f"TiwClient({self.settings!r})"

    def __enter__(self) -> TiwClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections; a later call opens new ones."""
        self._transport.close()

    def quota(self, action: str) -> Quota:
        """Return the quota that paces ``action`` for this account in this process."""
        settings = self.settings
        return shared_quota(
            settings.credentials.secret_id,
            settings.host,
            action,
            settings.requests_per_second,
            settings.quota_share,
        )

    def call(self, action: str, params: Mapping[str, Any], *, paced: bool = True) -> dict[str, Any]:
        """Call any action of the API once and return its ``Response`` object.

        The deadline counts from the moment the call's turn has come.

        :param params: the action's parameters under the API's own names.
        :param paced: False only for a caller that has taken its turn from :meth:`quota`.
        :raises ApiError: the API refused; the class follows the error code.
        :raises TransportError: no whole answer came within the deadline.
        """
        if not str(action).isidentifier():
            raise ConfigurationError(
                f"An action has to be a name such as StartOnlineRecord, not {action!r}."
            )
        if paced:
            self.quota(action).acquire()
        with self._count_lock:
            self.requests_sent += 1
        try:
            return self._sdk.respond(action, params, self.settings.timeout_s)
        except TiwError as error:
            error.action = action
            raise

    def describe_online_record(
        self, task_id: str, sdk_app_id: int | str | None = None, *, paced: bool = True
    ) -> OnlineRecord:
        """Return a recording as it is now (DescribeOnlineRecord).

        :param task_id: the TaskId that StartOnlineRecord returned.
        :param sdk_app_id: another application than the client's.
        :param paced: as for :meth:`call`.
        :raises RecordingFailure: the recording failed, for good.
        :raises TaskNotFound: there is no such recording in the application.
        :raises ConfigurationError: no usable task id or SdkAppId was given.
        """
        task_id = check_task_id(task_id)
        app_id = self.sdk_app_id(sdk_app_id)
        response = self.call(
            "DescribeOnlineRecord", {"SdkAppId": app_id, "TaskId": task_id}, paced=paced
        )
        return OnlineRecord.from_response(response, sdk_app_id=app_id, task_id=task_id)

    def sdk_app_id(self, given: int | str | None = None) -> int:
        """Return the application to work on: the given one, else the client's.

        :raises ConfigurationError: neither is set, or it is no positive integer.
        """
        if given is not None:
            return check_sdk_app_id(given)
        if self.settings.sdk_app_id is None:
            raise ConfigurationError(
                "No sdk_app_id was given.",
                hint="Give it as an argument or set TIW_SDK_APP_ID; the TIW console shows it.",
            )
        return self.settings.sdk_app_id


class _SdkClient(tiw_client.TiwClient):  # type: ignore[misc]
    """The SDK's client, with the parts that hold its faults replaced.

    Its own transport waits for ever on a server that drips, obeys ``.netrc`` and ignores
    ``NO_PROXY``; its checks lose an error whose Content-Type carries a charset; its signature
    takes the date from a deprecated call.
    """

    def __init__(self, settings: Settings, transport: Transport) -> None:
        profile = ClientProfile(
            httpProfile=HttpProfile(protocol=settings.scheme, endpoint=settings.host),
            # The default is Chinese.
            language="en-US",
            request_client=f"tiw-automation-{__version__}",
        )
        super().__init__(_OnEveryRequest(lambda: settings.credentials), settings.region, profile)
        self.request = _Requests(transport)

    def respond(self, action: str, params: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Call an action and return the ``Response`` object."""
        headers = {"X-TC-TraceId": str(uuid.uuid4())}
        options = {"Deadline": time.monotonic() + timeout_s}
        body = self.call_json(action, dict(params), headers, options)
        response: dict[str, Any] = body["Response"]
        return response

    def _build_req_with_tc3_signature(
        self, action: str, params: Any, req: Any, options: Mapping[str, Any] | None = None
    ) -> None:
        """Sign as the SDK does, with one reading of the clock and headers of this call alone."""
        now = int(time.time())
        date = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")
        secret_id, secret_key, token = self.credential.get_credential_info()
        req.data = json.dumps(params)
        req.deadline = (options or {})["Deadline"]
        req.header = {
            **req.header,
            "Content-Type": "application/json",
            "Host": self._get_endpoint(),
            "X-TC-Action": action,
            "X-TC-Language": self.profile.language,
            "X-TC-Region": self.region,
            "X-TC-RequestClient": self.request_client,
            "X-TC-Timestamp": str(now),
            "X-TC-Version": self._apiVersion,
        }
        if token:
            req.header["X-TC-Token"] = token
        signature = self._get_tc3_signature(params, req, date, self._service, secret_key, None)
        req.header["Authorization"] = (
            f"TC3-HMAC-SHA256 Credential={secret_id}/{date}/{self._service}/tc3_request, "
            f"SignedHeaders=content-type;host, Signature={signature}"
        )

    def _check_status(self, answer: Answer) -> None:
        # The body of a refusal may hold the API's own error, so it is read first.
        return None

    def _check_error(self, answer: Answer) -> None:
        """Raise for everything that is not a ``Response`` without an ``Error``."""
        try:
            response = json.loads(answer.content)["Response"]
            error = response.get("Error")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _not_the_api(answer) from None
        if error is None and answer.status_code == 200:
            return
        if not isinstance(error, Mapping) or not isinstance(error.get("Code"), str):
            raise _not_the_api(answer)
        raise api_error(
            error["Code"], str(error.get("Message") or ""), request_id=response.get("RequestId")
        )


class _OnEveryRequest:
    """Credentials in the form that the SDK asks for them, read anew for each request."""

    def __init__(self, current: Callable[[], Credentials]) -> None:
        self._current = current

    def get_credential_info(self) -> tuple[str, str, str | None]:
        return self._current().get_credential_info()


class _Requests:
    """Stands where the SDK keeps its ``ApiRequest``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def send_request(self, req: Any) -> Answer:
        return self._transport.exchange(
            req.method, req.uri, req.data.encode(), req.header, req.deadline
        )


def _not_the_api(answer: Answer) -> TiwError:
    kind = (answer.headers.get("Content-Type") or "no content type").partition(";")[0]
    found = f"HTTP {answer.status_code}, {kind}, {len(answer.content)} bytes"
    if answer.status_code >= 500:
        return ServerError(
            f"The server answered with an error page ({found}).", code=f"Http{answer.status_code}"
        )
    return BadAnswer(
        f"The answer is not the API's ({found}).",
        hint="Check the endpoint, and whether a proxy stands between.",
    )
