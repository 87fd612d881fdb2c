# SPDX-License-Identifier: Apache-2.0
"""The gateway: how a request is answered.

A request is checked in this order, and the first mistake is the answer: size; signature; action,
version and region; requests per second; parameters; SdkAppId; task. So a client with a wrong key
learns nothing else, and what is refused before the quota costs none of it.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from typing import Any

from . import sts
from .clock import Clock
from .errors import ApiFault, missing
from .faults import Fault
from .limits import RateLimiter, rejection_message
from .oddity import oddly
from .parameters import Schema, check
from .schema import INTERNATIONAL, REQUESTS
from .signature import Account, SignedRequest, verify, verify_v1
from .sts import TemporaryKeys
from .tasks import Recorder
from .wire import Call

VERSION = "2019-09-19"
CN_REGION = "ap-guangzhou"
REGIONS = ("ap-singapore", CN_REGION)
"""The regions of the international and of the Chinese site."""


class Api:
    """Answers requests; safe to use from several threads.

    :param accounts: the valid keys, by SecretId
    :param recorder: used under :attr:`lock` only
    :param keys: used under :attr:`lock` only
    :param limit: requests per clock second, SecretId and action; 0 rejects nothing
    :param clock: the server's own time, UNIX seconds
    """

    def __init__(
        self,
        *,
        accounts: dict[str, Account],
        recorder: Recorder,
        keys: TemporaryKeys,
        limit: int,
        clock: Clock,
    ) -> None:
        self.lock: threading.RLock = threading.RLock()
        self.odd = False
        """Whether answers have an odd form: see :mod:`.oddity`."""
        # The same requests get the same answers in every run.
        self._dice = random.Random(0)
        self._accounts = accounts
        self._recorder = recorder
        self._keys = keys
        self._clock = clock
        self._limiter = RateLimiter(limit)
        self._counts = _Counts()

    def answer(self, request: SignedRequest, call: Call, fault: Fault | None = None) -> bytes:
        """Return the JSON of the answer to ``request``.

        :param call: the same request, parsed
        :param fault: what strikes it
        """
        with self.lock:
            try:
                response = self._respond(request, call, fault)
            except ApiFault as refused:
                self._counts.errors[refused.code] += 1
                error = {"Code": refused.code, "Message": refused.message}
                response = json.dumps({"Error": error})
        edit = None if fault is None else fault.kind.edit
        if edit is not None or self.odd:
            edited = json.loads(response)
            if self.odd:
                with self.lock:
                    edited = oddly(edited, self._dice)
            if edit is not None:
                edit(edited)
            response = json.dumps(edited)
        comma = ", " if len(response) > 2 else ""
        return f'{{"Response": {response[:-1]}{comma}"RequestId": "{_request_id()}"}}}}'.encode()

    def stats(self) -> dict[str, Any]:
        """Return all counts since the start or :meth:`reset_stats`, as JSON."""
        with self.lock:
            counts = self._counts
            return {
                "requests": dict(counts.by_action),
                "rejects": counts.rejects,
                "max_in_window": self._limiter.max_in_window,
                "by_task": dict(counts.by_task),
                "by_user_agent": dict(counts.by_user_agent),
                "by_request_client": dict(counts.by_request_client),
                "errors": dict(counts.errors),
                "started": self._recorder.started,
                "writes": self._recorder.writes,
            }

    def reset_stats(self) -> None:
        """Reset all counts."""
        with self.lock:
            self._counts = _Counts()
            self._limiter.forget_max()
            self._recorder.started = self._recorder.writes = 0

    def _respond(self, request: SignedRequest, call: Call, fault: Fault | None) -> str:
        call.check_size()
        now = self._clock()
        secret_id = ""
        if call.action == sts.WEB_IDENTITY and request.headers.get("Authorization") == "SKIP":
            pass
        elif call.v1 is None:
            secret_id = verify(request, self._accounts, now)
        else:
            secret_id = verify_v1(request, call.v1, self._accounts, now)
        schema = _check_common(call)
        counts = self._counts
        counts.request(call, request)
        owner = self._accounts[secret_id].owner or secret_id if secret_id else ""
        count = self._limiter.request(owner, call.action, now)
        if count is not None:
            counts.rejects += 1
            message = rejection_message(count, self._limiter.limit, call.language)
            raise ApiFault("RequestLimitExceeded", message)
        task_id = call.task_id()
        if task_id is not None:
            counts.by_task[task_id] += 1
        if fault is not None and not fault.kind.executes:
            if fault.kind.refuse is not None:
                raise fault.kind.refuse(fault, call.language)
            return "{}"
        parameters = check(call.parameters(), schema, is_flat=call.is_flat)
        if call.action == "AssumeRole":
            return json.dumps(self._keys.assume_role(parameters, secret_id))
        if call.action == sts.WEB_IDENTITY:
            return json.dumps(self._keys.assume_role_with_web_identity(parameters))
        return self._recorder.execute(call.action, parameters)


def _check_common(call: Call) -> Schema:
    """Return the parameters that the action has on the call's site."""
    if not (call.action and call.version and call.region):
        name = "Region" if call.version else "Version"
        name = name if call.action else "Action"
        raise missing(name if call.v1 is not None else f"X-TC-{name}")
    is_sts = call.action in sts.ACTIONS
    schema = (REQUESTS if call.region == CN_REGION else INTERNATIONAL).get(call.action)
    if schema is None:
        raise ApiFault(
            "InvalidAction", f"The request action=`{call.action}` is invalid or not found."
        )
    if call.version != (sts.VERSION if is_sts else VERSION):
        service = "sts" if is_sts else "tiw"
        raise ApiFault(
            "NoSuchVersion",
            f"The specified api version=`{call.version}` does not exist in service=`{service}`.",
        )
    if not is_sts and call.region not in REGIONS:
        raise ApiFault("UnsupportedRegion", f"The region `{call.region}` is not supported.")
    return schema


# Not the shared generator: a test that seeds that one would get the same ids again.
_ids = random.Random()


def _request_id() -> str:
    # A random UUID, at a fourth of the cost of Python's own.
    text = f"{_ids.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"


class _Counts:
    def __init__(self) -> None:
        self.rejects = 0
        self.by_action: Counter[str] = Counter()
        self.by_task: Counter[str] = Counter()
        self.by_user_agent: Counter[str] = Counter()
        self.by_request_client: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def request(self, call: Call, request: SignedRequest) -> None:
        self.by_action[call.action] += 1
        self.by_user_agent[request.headers.get("User-Agent", "")] += 1
        self.by_request_client[call.request_client] += 1
