# SPDX-License-Identifier: Apache-2.0
"""The official SDK, with its faulty parts replaced.

The SDK signs and encodes. Its own transport waits without limit for a server that sends byte by
byte, obeys ``.netrc`` and ignores ``NO_PROXY``; its checks lose an error whose Content-Type has a
charset; its signature takes the date from a deprecated call, by a clock that nothing corrects.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from tencentcloud.common.abstract_client import AbstractClient
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.tiw.v20190919 import tiw_client

from tiw_automation import __version__
from tiw_automation.core.api.error_codes import api_error
from tiw_automation.core.api.transport import Answer, Transport
from tiw_automation.core.errors import (
    ApiError,
    BadAnswer,
    ConfigurationError,
    RequestLimitExceeded,
    ServerError,
    SignatureExpired,
    TiwError,
)
from tiw_automation.core.formatting import escaped
from tiw_automation.core.headers import http_date, retry_after_s

logger = logging.getLogger(__name__)

Keys = Callable[[float], tuple[str, str, str | None]]
"""Returns SecretId, SecretKey and token; called for every request, so that they may change.

Its argument is how long it may take, in seconds.
"""

# With less than this, the clock is not why the signature was refused; Date has whole seconds.
_LEAST_SKEW_S = 60.0
# Tencent's own answers have six levels; the code that reads them later recurses.
_DEEPEST = 64
_MOST_DIGITS = 1000
_LONGEST_TYPE = 200


class SdkClient(AbstractClient):  # type: ignore[misc]
    """A client of the SDK whose calls always end, and raise only errors of this package.

    :param keys: None for an action that is not signed.
    :param clock: this machine's time in UNIX seconds.
    """

    def __init__(
        self,
        *,
        scheme: str,
        host: str,
        region: str,
        keys: Keys | None,
        transport: Transport,
        clock: Callable[[], float] = time.time,
    ) -> None:
        profile = ClientProfile(
            httpProfile=HttpProfile(protocol=scheme, endpoint=host),
            # The default is Chinese.
            language="en-US",
            request_client=f"tiw-automation-{__version__}",
        )
        super().__init__(
            SimpleNamespace(get_credential_info=keys) if keys else None, region, profile
        )
        self.request: _Requests = _Requests(transport)
        self.clock = clock
        self.clock_offset_s: float = 0.0
        self.answered_at: float | None = None
        """The server's clock at the last answer, in UNIX seconds, if the answer showed it."""

    def server_time(self) -> float:
        """Return the server's time as far as it is known, in UNIX seconds."""
        return self.clock() + self.clock_offset_s

    def respond(
        self,
        action: str,
        params: Mapping[str, Any],
        timeout_s: float,
        *,
        before_sending: Callable[[], None] | None = None,
        before_repeating: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Call an action and return the ``Response`` object.

        If the signature is refused because of its time, the clock is corrected by the server's
        and the call is repeated once: a request that is refused for this was not carried out.

        :param timeout_s: the time limit of the whole call, in seconds.
        :param before_sending: called each time a request is about to leave.
        :param before_repeating: called before the repetition.
        :raises TiwError: the API refused, or no complete answer arrived.
        """
        deadline = time.monotonic() + timeout_s
        signed_with = self.clock_offset_s
        try:
            return self._once(action, params, deadline, before_sending, signed_with)
        except SignatureExpired as refusal:
            if not self._correct_clock(refusal, signed_with):
                raise
        before_repeating()
        return self._once(action, params, deadline, before_sending, self.clock_offset_s)

    def _once(
        self,
        action: str,
        params: Mapping[str, Any],
        deadline: float,
        before_sending: Callable[[], None] | None,
        clock_offset_s: float,
    ) -> dict[str, Any]:
        headers = {"X-TC-TraceId": str(uuid.uuid4())}
        options = {
            "Deadline": deadline,
            "BeforeSending": before_sending,
            "ClockOffset": clock_offset_s,
        }
        # call_json() would parse the answer again, and more strictly.
        return self._response_of(self._call(action, dict(params), options, headers))

    def _correct_clock(self, refusal: SignatureExpired, signed_with: float) -> bool:
        """Correct the clock by the server's; return whether the request was signed with another.

        :param signed_with: the clock's offset when the request was signed; another thread may
            have corrected it since.
        """
        if refusal.server_time is None:
            return False
        skew = refusal.server_time - self.clock()
        refusal.hint = f"This machine's clock is {_in_words(skew)} the server's; set it (NTP)."
        if abs(skew - signed_with) < _LEAST_SKEW_S:
            return False
        if abs(skew - self.clock_offset_s) >= _LEAST_SKEW_S:
            self.clock_offset_s = skew
            logger.warning(
                "This machine's clock is %s the server's. Requests are signed with the server's "
                "time; set the clock (NTP).",
                _in_words(skew),
            )
        return True

    def _build_req_with_tc3_signature(
        self, action: str, params: Any, req: Any, options: Mapping[str, Any] | None = None
    ) -> None:
        """Sign as the SDK does, but read the clock once and set the headers of this call only."""
        given = options or {}
        now = int(self.clock() + given["ClockOffset"])
        date = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")
        try:
            req.data = json.dumps(params)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"The parameters of {action} cannot be written as JSON: {error}."
            ) from None
        req.deadline = given["Deadline"]
        req.before_sending = given["BeforeSending"]
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
        if self.credential is None:
            req.header["Authorization"] = "SKIP"
            return
        left_s = req.deadline - time.monotonic()
        secret_id, secret_key, token = self.credential.get_credential_info(left_s)
        if token:
            req.header["X-TC-Token"] = token
        signature = self._get_tc3_signature(params, req, date, self._service, secret_key, None)
        req.header["Authorization"] = (
            f"TC3-HMAC-SHA256 Credential={secret_id}/{date}/{self._service}/tc3_request, "
            f"SignedHeaders=content-type;host, Signature={signature}"
        )

    def _check_status(self, answer: Answer) -> None:
        # The body of an HTTP error may hold the API's own error, so it is read first.
        return None

    def _check_error(self, answer: Answer) -> None:
        self._response_of(answer)

    def _response_of(self, answer: Answer) -> dict[str, Any]:
        """Return the ``Response`` of an answer.

        :raises TiwError: it holds an ``Error``, or the answer is not the API's.
        """
        self.answered_at = answered_at = http_date(answer.headers.get("Date") or "")
        try:
            response = _parsed(answer.content)["Response"]
            error = response.get("Error")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise _not_the_api(answer) from None
        if _is_deep(response):
            raise _not_the_api(answer)
        # Some services send {} for a missing value.
        if error in (None, {}, [], "") and answer.status_code == 200:
            return response  # type: ignore[no-any-return]
        if not isinstance(error, Mapping) or not isinstance(error.get("Code"), str):
            raise _not_the_api(answer)
        refusal = _refusal(answer, response)
        if isinstance(refusal, SignatureExpired):
            refusal.server_time = answered_at
        raise refusal


class TiwSdkClient(SdkClient, tiw_client.TiwClient):  # type: ignore[misc]
    """TIW's own."""


class StsSdkClient(SdkClient):
    """The Security Token Service (https://www.tencentcloud.com/document/product/1150/49452)."""

    _apiVersion = "2018-08-13"
    _endpoint = "sts.tencentcloudapi.com"
    _service = "sts"


class _Requests:
    """Takes the place of the SDK's ``ApiRequest``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def send_request(self, req: Any) -> Answer:
        return self._transport.exchange(
            req.method, req.uri, req.data.encode(), req.header, req.deadline, req.before_sending
        )


def _parsed(content: bytes) -> Any:
    """Return an answer's JSON; an unusual text or number in it does not cost the whole answer."""
    try:
        return json.loads(content, parse_int=_number)
    except UnicodeDecodeError:
        # A text that was cut within a character, or has another encoding.
        return json.loads(content.decode(errors="replace"), parse_int=_number)


def _number(digits: str) -> int | float:
    # Python refuses to parse thousands of digits, and with them the whole answer.
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _in_words(skew_s: float) -> str:
    return f"{abs(skew_s):.0f} s {'behind' if skew_s > 0 else 'ahead of'}"


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        inner: list[object] = []
        for part in level:
            if isinstance(part, dict):
                inner += part.values()
            elif isinstance(part, list):
                inner += part
        level = [part for part in inner if isinstance(part, (dict, list))]
        if not level:
            return False
    return True


def _refusal(answer: Answer, response: Mapping[str, Any]) -> ApiError:
    error, request_id = response["Error"], response.get("RequestId")
    refusal = api_error(
        error["Code"],
        str(error.get("Message") or ""),
        request_id=str(request_id) if request_id else None,
    )
    if answer.status_code == 429 and not isinstance(refusal, RequestLimitExceeded):
        refusal = _too_many(refusal.message, code=refusal.code, request_id=refusal.request_id)
    refusal.retry_after_s = retry_after_s(answer.headers)
    refusal.names_task = bool(response.get("TaskId"))
    return refusal


def _not_the_api(answer: Answer) -> TiwError:
    kind = (answer.headers.get("Content-Type") or "no content type").partition(";")[0]
    kind = escaped(kind, _LONGEST_TYPE)
    found = f"HTTP {answer.status_code}, {kind}, {len(answer.content)} bytes"
    error: TiwError
    if answer.status_code == 429:
        error = _too_many(f"The server reports too many requests ({found}).")
    elif answer.status_code >= 500:
        error = ServerError(
            f"The server answered with an error page ({found}).", code=f"Http{answer.status_code}"
        )
    else:
        error = BadAnswer(
            f"The answer is not the API's ({found}).",
            hint="Check the endpoint, and whether there is a proxy on the way.",
        )
    error.retry_after_s = retry_after_s(answer.headers)
    return error


def _too_many(message: str, **details: Any) -> RequestLimitExceeded:
    return RequestLimitExceeded(message, **{"code": "Http429", **details})
