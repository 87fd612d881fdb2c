# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An event filter for ansible-rulebook: Tencent's callbacks, verified and confirmed."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiw_automation.core import Callback, Outcome

try:
    from tiw_automation.core import (
        Acceptance,
        CallbackError,
        ConfigurationError,
        TiwClient,
        Verdict,
        WaitTimeout,
        check_task_id,
        parse_callback,
    )
    from tiw_automation.core.api import SETTINGS, read_options, warn_if_weak
    from tiw_automation.core.checks import check_sdk_app_id
    from tiw_automation.core.events import (
        TRANSITION,
        CallbackConfirmer,
        event_id,
        hint_waits,
        to_event,
    )
except ImportError as error:
    IMPORT_ERROR: ImportError | None = error
else:
    IMPORT_ERROR = None

DOCUMENTATION = r"""
---
short_description: Make events of Tencent's callbacks, verified by signature and confirmed by the API.
description:
  - Works behind C(eda.builtin.webhook), to which Tencent posts the callbacks of recordings of the
    Interactive Whiteboard (TIW). It makes an event of each, in the form of the source
    C(tiw.automation.online_record). The end of a recording has the same C(event_id) in both.
  - It checks the signature and its expiry first. The signature covers neither the body nor the recording,
    so it asks the API for the recording (C(DescribeOnlineRecord)). The event holds the answer of the API.
    Only C(callback.event_type), a plain word, and C(callback.timestamp) are as posted.
  - A callback is dropped, with a line in the log, if it is forged, expired, malformed, of another
    application, of a recording that does not exist, or published already. The answer is 200, so that an
    unauthenticated sender learns nothing.
  - A filter blocks the whole rulebook while it works. So it waits for the API for O(confirm_timeout) at
    most, and for at most a fifth of the time in total. If there is no answer by then, the post is answered
    with 503 and the recording is polled in the background, for 15 minutes at most. Tencent posts again
    after 5 seconds, up to five times, and a later post finds the answer. An answer that comes after
    Tencent has given up becomes an event with the next post of any recording.
  - While other waits need the quota, callbacks use a tenth of it at most.
  - C(ansible-rulebook) fills in no variables in the options of a filter. Put secrets into the environment.
  - Needs C(tiw-automation) in the Python that runs C(ansible-rulebook).
options:
  callback_key:
    description:
      - The key that signs the callbacks, as set by M(tiw.automation.online_record_callback). In the
        environment E(TIW_CALLBACK_KEY). Without a key every post is refused.
      - A key of fewer than 16 characters causes a warning, because it can be found by trial.
    type: str
  confirm_timeout:
    description:
      - How many seconds one post may block the rulebook. With V(0) it never blocks, and each callback
        needs a second post.
    type: float
    default: 1
  accept_finish_reasons:
    description:
      - The finish reasons that are accepted. With another reason the verdict of a recording is
        V(failed).
      - By default every reason except V(EXCEPTION) is accepted, also an unknown one.
    type: list
    elements: str
  require_videos:
    description:
      - Whether a finished recording without a video counts as failed.
    type: bool
    default: true
  secret_id:
    description:
      - The SecretId of a Tencent Cloud API key.
      - Id, key and token are taken together from the first place that has id or key. The options
        come first, then the environment variables E(TENCENTCLOUD_SECRET_ID),
        E(TENCENTCLOUD_SECRET_KEY) and E(TENCENTCLOUD_TOKEN).
    type: str
  secret_key:
    description:
      - The SecretKey that belongs to O(secret_id).
    type: str
  token:
    description:
      - The token of temporary keys.
    type: str
  profile:
    description:
      - A profile of Tencent Cloud's command line. In the environment E(TENCENTCLOUD_PROFILE) or
        E(TCCLI_PROFILE).
    type: str
  role_arn:
    description:
      - The CAM role to assume with the keys. In the environment E(TENCENTCLOUD_ROLE_ARN).
    type: str
  sdk_app_id:
    description:
      - The SdkAppId of the application whose callbacks are accepted; without it those of all
        applications of the account. In the environment E(TIW_SDK_APP_ID).
    type: int
  site:
    description:
      - The site of the account. V(cn) is Tencent Cloud China, V(intl) Tencent Cloud International.
    type: str
    choices: [cn, intl]
  region:
    description:
      - The region, V(ap-guangzhou) or V(ap-singapore). In the environment E(TENCENTCLOUD_REGION).
    type: str
  endpoint:
    description:
      - A host, C(host:port) or C(http(s)://) URL to which requests go instead of the host of the
        O(site). In the environment E(TIW_ENDPOINT).
    type: str
  allow_http:
    description:
      - Whether an C(http://) O(endpoint) may be another machine. Set it only if you control the
        network between them; requests and answers can be read there.
      - In the environment E(TIW_ALLOW_HTTP).
    type: bool
  requests_per_second:
    description:
      - The pace in requests a second, V(19) by default.
    type: float
  timeout:
    description:
      - The hard deadline of one request in seconds, V(10) by default.
    type: float
  ca_file:
    description:
      - The path of a bundle of CA certificates to trust.
    type: str
  proxy:
    description:
      - The URL of an HTTP proxy, such as V(http://proxy.example.com:3128).
    type: str
  quota_url:
    description:
      - The URL of a Redis or Valkey server where several hosts share the account's pace. In the
        environment E(TIW_QUOTA_URL).
    type: str
"""

EXAMPLES = r"""
- name: Callbacks, with the keys and TIW_CALLBACK_KEY in the environment
  eda.builtin.webhook:
    host: 127.0.0.1
    port: 5000
  filters:
    - tiw.automation.online_record_callback:
        site: intl
        sdk_app_id: 1400000001
"""

logger = logging.getLogger("tiw.automation.online_record_callback")

CORE = "tiw-automation>=0.2.0"
OWN_OPTIONS: dict[str, type] = {
    "callback_key": str,
    "confirm_timeout": float,
    "accept_finish_reasons": list,
    "require_videos": bool,
}
KEY_VARIABLE = "TIW_CALLBACK_KEY"
DEFAULT_CONFIRM_TIMEOUT_S = 1.0
# The sender of a known signature can post without limit.
MOST_REMEMBERED = 10_000
# The search for keys may take two seconds, in which no rule runs.
MISTAKE_S = 10.0


class NotYetError(Exception):
    """The API has not confirmed a callback yet: it must be posted again."""


class Options:
    """The options of the filter, checked.

    :raises ConfigurationError: an option is invalid.
    """

    def __init__(self, args: Mapping[str, Any]) -> None:
        """Read the options, and the key from the environment if it is not given."""
        for name, value in args.items():
            if isinstance(value, str) and "{{" in value:
                message = f"{name}: ansible-rulebook fills in no variables in a filter's options."
                raise ConfigurationError(message, hint="Set it in the environment.")
        options = read_options(args, {**OWN_OPTIONS, **SETTINGS})
        self.settings = {name: options[name] for name in SETTINGS if name in options}
        self.key: str = options.get("callback_key") or os.environ.get(KEY_VARIABLE, "")
        if not self.key:
            message = "There is no callback_key, so callbacks cannot be verified."
            hint = f"Set it, or {KEY_VARIABLE} in the environment of ansible-rulebook."
            raise ConfigurationError(message, hint=hint)
        warn_if_weak(self.key)
        self.confirm_timeout_s: float = options.get("confirm_timeout", DEFAULT_CONFIRM_TIMEOUT_S)
        if self.confirm_timeout_s < 0:
            message = f"confirm_timeout must be zero or more, not {self.confirm_timeout_s:g}."
            raise ConfigurationError(message, hint="It is in seconds.")
        # Read as given: a text may hold several.
        reasons = args["accept_finish_reasons"] if "accept_finish_reasons" in options else None
        self.acceptance = Acceptance.of(reasons, options.get("require_videos", True))


class CallbackGate:
    """Makes one event of each confirmed callback.

    :param args: the options of the filter.
    :raises ConfigurationError: an option is invalid.
    """

    def __init__(self, args: Mapping[str, Any]) -> None:
        """Check the options, and find the account."""
        self._options = Options(args)
        client = TiwClient(**self._options.settings)
        self._own_app = client.settings.sdk_app_id
        self._confirmer = CallbackConfirmer(client, acceptance=self._options.acceptance)
        # The ids of the latest events.
        self._published: OrderedDict[str, None] = OrderedDict()

    def admit(self, event: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the event of a post, and those of callbacks that Tencent has given up.

        :raises NotYetError: the post must come again.
        """
        try:
            callback = parse_callback(_payload(event), self._options.key)
            finish_id = self._finish_id(callback)
        except (CallbackError, ConfigurationError) as error:
            logger.warning("A post was dropped: %.400s", error)
            return []
        # From here on an error is not the sender's.
        hint_waits(callback)
        if not callback.concerns_recording:
            logger.info("A post was dropped: %.80s is no event of recordings.", callback.event_type)
            return []
        made = []
        if not (callback.is_finished and self._is_published(finish_id)):
            outcome = self._confirmer.ask(callback, self._options.confirm_timeout_s)
            if outcome is None:
                message = f"Recording {callback.task_id} is being asked for."
                raise NotYetError(message)
            made.append(self._to_event(callback, outcome, event))
        made += [self._to_event(*late, event) for late in self._confirmer.unclaimed()]
        return [one for one in made if one is not None]

    def _finish_id(self, callback: Callback) -> str:
        """Return the event id of the end of the recording.

        :raises CallbackError: the callback is of another application.
        :raises ConfigurationError: the application or the task id is invalid.
        """
        if self._own_app is not None and callback.sdk_app_id != self._own_app:
            message = f"It is of SdkAppId {callback.sdk_app_id}, not {self._own_app}."
            raise CallbackError(message)
        return event_id(check_sdk_app_id(callback.sdk_app_id), check_task_id(callback.task_id))

    def _to_event(
        self,
        callback: Callback,
        outcome: Outcome,
        event: Mapping[str, Any],
    ) -> dict[str, Any] | None:
        """Return the event of a callback, or None to drop it.

        :raises NotYetError: the API did not answer.
        """
        if outcome.verdict is Verdict.UNKNOWN:
            if outcome.error is not None and not outcome.error.retryable:
                logger.error("The API refuses to confirm callbacks: %s", outcome.error)
            raise NotYetError(outcome.message)
        if not _is_confirmed(outcome):
            logger.warning(
                "A post was dropped: the API does not confirm %.80r of %.80r. %.400s",
                str(callback.event_type),
                callback.task_id,
                outcome.message,
            )
            return None
        made = to_event(outcome)
        if made["type"] == TRANSITION:
            # One id for each event that was posted, however often it was.
            name = f"{made['event_id']}/{callback.event_type!s}/{callback.timestamp}"
            made["event_id"] = str(uuid5(NAMESPACE_URL, name))
        if self._is_published(made["event_id"]):
            return None
        self._remember(made["event_id"])
        made["callback"] = {
            "event_type": str(callback.event_type),
            "timestamp": callback.timestamp,
        }
        # Not the headers: a proxy may have added secrets.
        meta = {name: value for name, value in event["meta"].items() if name != "headers"}
        made["meta"] = {**meta, "uuid": made["event_id"]}
        return made

    def _is_published(self, event_id: str) -> bool:
        if event_id not in self._published:
            return False
        logger.info("A post was dropped: event %s was published already.", event_id)
        return True

    def _remember(self, event_id: str) -> None:
        self._published[event_id] = None
        if len(self._published) > MOST_REMEMBERED:
            self._published.popitem(last=False)


def _payload(event: Mapping[str, Any]) -> Mapping[str, Any]:
    payload = event.get("payload")
    if not isinstance(payload, dict):
        message = "It is not a JSON object."
        raise CallbackError(message)
    return payload


def _is_confirmed(outcome: Outcome) -> bool:
    """Return whether the API knows the recording, and in time confirmed what was posted."""
    if outcome.verdict is Verdict.MISSING or isinstance(outcome.error, WaitTimeout):
        return False
    return outcome.is_final or outcome.record is not None


def check_core() -> None:
    """Check that the core can be imported.

    :raises RuntimeError: it cannot; the message names the command that installs it.
    """
    if IMPORT_ERROR is not None:
        message = (
            f"tiw-automation cannot be imported by {sys.executable}, which runs ansible-rulebook "
            f"({IMPORT_ERROR}). Run: {sys.executable} -m pip install --upgrade '{CORE}'"
        )
        raise RuntimeError(message)


# ansible-rulebook calls main for each event, and nothing before.
_gates: dict[str, CallbackGate] = {}
# The error of invalid options, and when they are checked again.
_mistakes: dict[str, tuple[str, float]] = {}


def main(event: dict[str, Any], **args: object) -> dict[str, Any] | list[dict[str, Any]]:
    """Return the event of a post; a list if there are several, or none."""
    if "endpoint" not in (event.get("meta") or {}):
        # Only the webhook can make its sender post again.
        logger.error("tiw.automation.online_record_callback works behind eda.builtin.webhook only.")
        return []
    key = repr(sorted(args.items()))
    try:
        check_core()
        made = _gate(key, args).admit(event)
    except NotYetError as reason:
        logger.info("A post must come again: %s", reason)
    except (RuntimeError, ValueError) as error:
        logger.log(logging.ERROR, "No callback is let through: %s", error)
    except Exception:
        logger.exception("A callback could not be processed.")
    else:
        return made[0] if len(made) == 1 else made
    raise _post_again()


def _gate(key: str, args: Mapping[str, Any]) -> CallbackGate:
    """Return the gate of these options.

    :raises ConfigurationError: an option is invalid.
    """
    if key in _gates:
        return _gates[key]
    mistake, until = _mistakes.get(key, ("", 0.0))
    if time.monotonic() < until:
        raise ConfigurationError(mistake)
    try:
        _gates[key] = CallbackGate(args)
    except ConfigurationError as error:
        _mistakes[key] = str(error), time.monotonic() + MISTAKE_S
        raise
    return _gates[key]


def _post_again() -> Exception:
    """Return the error that makes the webhook answer 503, upon which Tencent posts again."""
    return web.HTTPServiceUnavailable(text="again")
