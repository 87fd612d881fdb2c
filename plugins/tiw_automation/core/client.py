# SPDX-License-Identifier: Apache-2.0
"""The API's actions, one method each; what is on the wire is the SDK's and the transport's.

The actions are those of TIW's API, version 2019-09-19
(https://www.tencentcloud.com/document/product/1176/53478).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tiw_automation.core import announcements
from tiw_automation.core.callbacks import (
    CallbackSettings,
    check_callback_key,
    check_callback_url,
)
from tiw_automation.core.errors import (
    AuthFailure,
    ConfigurationError,
    InvalidParameter,
    PermissionDenied,
    RecordingFailure,
    RequestLimitExceeded,
    ResourceInUse,
    SignatureExpired,
    StartUncertain,
    TaskNotFound,
    TiwError,
    UnsupportedOperation,
)
from tiw_automation.core.fields import Fields
from tiw_automation.core.quota import Quota, Ticket, shared_quota
from tiw_automation.core.records import (
    OnlineRecord,
    RecordStatus,
    check_sdk_app_id,
    check_task_id,
)
from tiw_automation.core.retry import Retry, RetryBudget
from tiw_automation.core.running import PAGE_SIZE, RunningTask, check_task_type, read_page
from tiw_automation.core.sdk import TiwSdkClient
from tiw_automation.core.settings import Settings
from tiw_automation.core.start import check_room_id, start_params
from tiw_automation.core.transport import Transport
from tiw_automation.core.user_sig import (
    check_record_user_id,
    make_user_sig,
    new_record_user_id,
)

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_ENDED = (RecordStatus.STOPPED, RecordStatus.FINISHED)
_STARTS = 3


class TiwClient:
    """A client of the TIW API. Thread-safe; one is enough for a process and an account.

    Every argument that is left out comes from the profile, the environment, Tencent's own files
    or the instance, else from its default; :mod:`~tiw_automation.core.credentials` says in which
    order for the keys.

    :param secret_id: SecretId; with ``secret_key``, and ``token`` where the keys are temporary.
    :param profile: a profile of Tencent's command line (``tccli configure``).
    :param role_arn: a CAM role to assume with the keys; it is renewed for as long as it is used.
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
        self._sdk = TiwSdkClient(
            scheme=self.settings.scheme,
            host=self.settings.host,
            region=self.settings.region,
            keys=lambda: self.settings.credentials.current().get_credential_info(),
            transport=self._transport,
        )
        self._retry = Retry(RetryBudget())

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
            settings.credentials.identity,
            settings.host,
            action,
            settings.requests_per_second,
            settings.quota_share,
        )

    def call(
        self,
        action: str,
        params: Mapping[str, Any],
        *,
        ticket: Ticket | None = None,
    ) -> dict[str, Any]:
        """Call any action of the API once and return its ``Response`` object.

        The deadline counts from the moment the call's turn has come. What the API refuses before
        it looks at it is made again once where that helps: signed with the server's time if this
        machine's clock is off, or with the new keys if they have changed.

        :param params: the action's parameters under the API's own names.
        :param ticket: only for a caller that has taken its turn from :meth:`quota`; another turn is
            taken for it where it is not used in time.
        :raises ApiError: the API refused; the class follows the error code.
        :raises TransportError: no whole answer came within the deadline.
        """
        return self._call(action, params, self.settings.timeout_s, ticket)

    def start_online_record(
        self,
        room_id: int | str,
        *,
        record_user_id: str | None = None,
        record_user_sig: str | None = None,
        user_sig_key: str | None = None,
        preset: str | None = None,
        sdk_app_id: int | str | None = None,
        before_each: Callable[[], None] = lambda: None,
        **options: Any,
    ) -> str:
        """Start recording a room and return its TaskId (StartOnlineRecord).

        Safe to repeat with the same ``record_user_id``: while its recording runs, its TaskId is
        returned and no second one is started. That is also how an answer that was lost is found
        again. Tencent starts to record some two seconds later, so a wrong signature or room only
        shows as the recording's failure.

        :param room_id: the room, 1 to 4294967295.
        :param record_user_id: the user that TIW enters the room as, unused by anybody else; one
            is made up by default.
        :param record_user_sig: that user's signature. Or:
        :param user_sig_key: the application's key, to make the signature with.
        :param preset: ``whiteboard_only``, ``mixed_stream`` or ``audio_files``.
        :param before_each: called before each StartOnlineRecord, also a repeated one, takes its
            turn; what it raises ends the start, and no further one is sent.
        :param options: any of :data:`~tiw_automation.core.start.START_OPTIONS`.
        :raises ConfigurationError: an option makes no sense, or there is not exactly one of
            ``record_user_sig`` and ``user_sig_key``; nothing was sent.
        :raises StartUncertain: it is not known whether the recording runs, or its TaskId is not.
        """
        params = self.start_online_record_params(
            room_id,
            record_user_id=record_user_id,
            record_user_sig=record_user_sig,
            user_sig_key=user_sig_key,
            preset=preset,
            sdk_app_id=sdk_app_id,
            **options,
        )
        return self._start(
            params, params["SdkAppId"], params["RoomId"], params["RecordUserId"], before_each
        )

    def start_online_record_params(
        self,
        room_id: int | str,
        *,
        record_user_id: str | None = None,
        record_user_sig: str | None = None,
        user_sig_key: str | None = None,
        preset: str | None = None,
        sdk_app_id: int | str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Return what :meth:`start_online_record` would send, checked; send nothing.

        The arguments are the same, and the user's signature is among what is returned.

        :raises ConfigurationError: an option makes no sense, or there is not exactly one of
            ``record_user_sig`` and ``user_sig_key``.
        """
        room = check_room_id(room_id)
        app_id = self.sdk_app_id(sdk_app_id)
        user = (
            new_record_user_id(room)
            if record_user_id is None
            else check_record_user_id(record_user_id, room)
        )
        return {
            "SdkAppId": app_id,
            "RoomId": room,
            "RecordUserId": user,
            "RecordUserSig": _user_sig(app_id, user, record_user_sig, user_sig_key),
            **start_params(options, preset),
        }

    def find_online_record(
        self, room_id: int | str, record_user_id: str, sdk_app_id: int | str | None = None
    ) -> str | None:
        """Return the TaskId of the recording of a user in a room, if it runs.

        Asks DescribeRunningTasks, which only the Chinese site has, and DescribeOnlineRecord.

        :raises InvalidParameter: this site does not tell what runs.
        :raises PermissionDenied: these keys may not ask.
        """
        room = check_room_id(room_id)
        for task in self.describe_running_tasks(sdk_app_id=sdk_app_id):
            if task.status == "FINISHED" or task.room_id not in (room, None):
                continue
            try:
                record = self.describe_online_record(task.task_id, sdk_app_id)
            except (RecordingFailure, TaskNotFound):
                continue
            if record.record_user_id == record_user_id and record.status not in _ENDED:
                return task.task_id
        return None

    def pause_online_record(self, task_id: str, sdk_app_id: int | str | None = None) -> bool:
        """Pause a recording (PauseOnlineRecord); return whether this call did it.

        A recording that is paused already is no error.

        :raises UnsupportedOperation: it has ended or has not begun.
        """
        return self._change(
            "PauseOnlineRecord", task_id, sdk_app_id, lambda status: status == RecordStatus.PAUSED
        )

    def resume_online_record(self, task_id: str, sdk_app_id: int | str | None = None) -> bool:
        """Go on with a paused recording (ResumeOnlineRecord); return whether this call did it.

        A recording that runs already is no error.

        :raises UnsupportedOperation: it has ended.
        """
        return self._change(
            "ResumeOnlineRecord",
            task_id,
            sdk_app_id,
            lambda status: status == RecordStatus.RECORDING,
        )

    def stop_online_record(self, task_id: str, sdk_app_id: int | str | None = None) -> bool:
        """End a recording (StopOnlineRecord); return whether this call did it.

        A recording that has ended already is no error. Its videos follow minutes later.
        """
        stopped = self._change(
            "StopOnlineRecord", task_id, sdk_app_id, lambda status: status in _ENDED
        )
        announcements.stopped(task_id)
        return stopped

    def describe_online_record(
        self,
        task_id: str,
        sdk_app_id: int | str | None = None,
        *,
        ticket: Ticket | None = None,
    ) -> OnlineRecord:
        """Return a recording as it is now (DescribeOnlineRecord).

        A fault that may pass is tried again within the deadline, with random pauses.

        :param task_id: the TaskId that StartOnlineRecord returned.
        :param sdk_app_id: another application than the client's.
        :param ticket: only for a caller that has taken its turn from :meth:`quota`, as for
            :meth:`call`; it is asked once then, because every repetition needs a turn of its own.
        :raises RecordingFailure: the recording failed, for good.
        :raises TaskNotFound: there is no such recording in the application.
        :raises ConfigurationError: no usable task id or SdkAppId was given.
        """
        task_id = check_task_id(task_id)
        app_id = self.sdk_app_id(sdk_app_id)
        params = {"SdkAppId": app_id, "TaskId": task_id}
        if ticket is None:
            response = self._repeatable("DescribeOnlineRecord", params)
        else:
            response = self.call("DescribeOnlineRecord", params, ticket=ticket)
        return OnlineRecord.from_response(response, sdk_app_id=app_id, task_id=task_id)

    def describe_online_record_callback(
        self, sdk_app_id: int | str | None = None
    ) -> CallbackSettings:
        """Return where the application's callbacks go, and their key."""
        action = "DescribeOnlineRecordCallback"
        response = self._repeatable(action, {"SdkAppId": self.sdk_app_id(sdk_app_id)})
        read = Fields(response, "Response", action=action)
        return CallbackSettings(read.text("Callback") or None, read.text("CallbackKey") or None)

    def set_online_record_callback(
        self, url: str | None, sdk_app_id: int | str | None = None
    ) -> None:
        """Set where the application's callbacks go; None or an empty string turns them off.

        There is one address for each application, which all of its users share.

        :raises ConfigurationError: it is no http:// or https:// URL.
        """
        params = {"SdkAppId": self.sdk_app_id(sdk_app_id), "Callback": check_callback_url(url)}
        self._repeatable("SetOnlineRecordCallback", params)

    def set_online_record_callback_key(
        self, key: str | None, sdk_app_id: int | str | None = None
    ) -> None:
        """Set the key that callbacks are signed with; None or an empty string removes it.

        :raises ConfigurationError: it is longer than 64 characters.
        """
        params = {
            "SdkAppId": self.sdk_app_id(sdk_app_id),
            "CallbackKey": check_callback_key(key),
        }
        self._repeatable("SetOnlineRecordCallbackKey", params)

    def describe_running_tasks(
        self, task_type: str = "OnlineRecord", sdk_app_id: int | str | None = None
    ) -> list[RunningTask]:
        """Return all tasks of a type that run, or ended within three days (DescribeRunningTasks).

        :param task_type: ``OnlineRecord``, ``WhiteboardPush``, ``TranscodeH5``, ``TranscodeJPG``.
        :raises InvalidParameter: this site does not tell; only the Chinese one does.
        """
        kind = check_task_type(task_type)
        app_id = self.sdk_app_id(sdk_app_id)
        found: dict[str, RunningTask] = {}
        offset = 0
        while True:
            # The list changes while it is read, so tasks are told apart by their ids.
            params = {"SdkAppID": app_id, "TaskType": kind, "Offset": offset, "Limit": PAGE_SIZE}
            response = self._repeatable("DescribeRunningTasks", params)
            total, page = read_page(response, sdk_app_id=app_id, task_type=kind)
            known = len(found)
            found.update((task.task_id, task) for task in page)
            offset += PAGE_SIZE
            # Total may be missing, and a page come again: what brings nothing new is the last.
            if len(found) == known or (total is not None and offset >= total):
                return list(found.values())

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

    def _call(
        self,
        action: str,
        params: Mapping[str, Any],
        timeout_s: float,
        ticket: Ticket | None = None,
    ) -> dict[str, Any]:
        if not str(action).isidentifier():
            raise ConfigurationError(
                f"An action has to be a name such as StartOnlineRecord, not {action!r}."
            )
        turn = ticket or Ticket(self.quota(action))
        if ticket is None:
            turn.take()
        self._count()
        credentials = self.settings.credentials
        used = credentials.current()

        def respond() -> dict[str, Any]:
            return self._sdk.respond(
                action,
                params,
                timeout_s,
                before_sending=turn.check,
                before_repeating=lambda: self._take_turn(turn),
            )

        try:
            try:
                return respond()
            except SignatureExpired:
                raise
            except AuthFailure as refusal:
                if not credentials.renew(used):
                    whose = f"The keys are from the {used.source}."
                    refusal.hint = f"{refusal.hint} {whose}" if refusal.hint else whose
                    raise
                logger.info("The keys from the %s have changed.", used.source)
                self._take_turn(turn)
                return respond()
        except TiwError as error:
            error.action = error.action or action
            if isinstance(error, RequestLimitExceeded):
                self.quota(action).rejected()
            raise

    def _take_turn(self, ticket: Ticket) -> None:
        ticket.take()
        self._count()

    def _count(self) -> None:
        with self._count_lock:
            self.requests_sent += 1

    def _repeatable(self, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Call an action that may be carried out twice, and again while its error may pass."""
        return self._retry.call(
            lambda left_s: self._call(action, params, left_s), self.settings.timeout_s
        )

    def _refusable(
        self, action: str, params: Mapping[str, Any], before_each: Callable[[], None]
    ) -> dict[str, Any]:
        """Call an action that must not be repeated blindly, and again where it was throttled.

        What is over the limit was not carried out.
        """

        def attempt(left_s: float) -> dict[str, Any] | TiwError:
            before_each()
            try:
                return self._call(action, params, left_s)
            except RequestLimitExceeded:
                raise
            except TiwError as error:
                return error

        result = self._retry.call(attempt, self.settings.timeout_s)
        if isinstance(result, TiwError):
            raise result
        return result

    def _start(
        self,
        params: Mapping[str, Any],
        app_id: int,
        room: int,
        user: str,
        before_each: Callable[[], None],
    ) -> str:
        """Start, and where the answer is lost find out by the user's name what became of it.

        Repeating is safe: the API refuses a second recording of a user whose first one runs.
        """
        action = "StartOnlineRecord"
        lost: TiwError | None = None
        for number in range(_STARTS):
            if number:
                self._retry.pause(number)
            try:
                response = self._refusable(action, params, before_each)
                task_id = Fields(response, "Response", action=action).text("TaskId")
                if task_id:
                    return task_id
                lost = TiwError("StartOnlineRecord answered without a TaskId.", action=action)
            except ResourceInUse as error:
                if error.code != "ResourceInUse.RecordUserId":
                    raise
                found = self._running(room, user, app_id)
                if found is not None:
                    return found
                raise StartUncertain(
                    f"A recording of {user} in room {room} runs, but its TaskId is not known.",
                    record_user_id=user,
                    action=action,
                    hint=(
                        "Its callback or the console says the TaskId; or start one with another "
                        "record_user_id once this one has ended."
                    ),
                ) from lost or error
            except RequestLimitExceeded:
                if lost is None:
                    raise
            except TiwError as error:
                if not error.retryable:
                    raise
                lost = error
            logger.warning("What became of starting %s is not known yet: %s", user, lost)
            found = self._running(room, user, app_id)
            if found is not None:
                return found
        raise StartUncertain(
            f"Whether a recording of {user} in room {room} was started is not known: {lost}",
            record_user_id=user,
            action=action,
            hint=f"Start it again with record_user_id {user}: that never starts a second one.",
        ) from lost

    def _running(self, room: int, user: str, app_id: int) -> str | None:
        try:
            return self.find_online_record(room, user, app_id)
        except (InvalidParameter, PermissionDenied) as error:
            logger.info("What runs is not told here: %s", error)
        except TiwError as error:
            if not error.retryable and not isinstance(error, RecordingFailure):
                raise
            logger.warning("What runs could not be asked: %s", error)
        return None

    def _change(
        self,
        action: str,
        task_id: str,
        sdk_app_id: int | str | None,
        is_done: Callable[[str | None], bool],
    ) -> bool:
        """Change a recording's state; look at the state where an answer was lost."""
        task_id = check_task_id(task_id)
        app_id = self.sdk_app_id(sdk_app_id)
        params = {"SdkAppId": app_id, "TaskId": task_id}
        lost = False

        def attempt(left_s: float) -> bool:
            nonlocal lost
            try:
                if lost and is_done(self.describe_online_record(task_id, app_id).status):
                    return True
                self._call(action, params, left_s)
            except UnsupportedOperation as refusal:
                stopped = refusal.code == "UnsupportedOperation.TaskHasAlreadyStopped"
                if (stopped and is_done(RecordStatus.STOPPED)) or is_done(
                    self.describe_online_record(task_id, app_id).status
                ):
                    # If an answer was lost, it was ours that did it.
                    return lost
                # What was done takes some two seconds to show.
                refusal.retryable = lost and not stopped
                raise
            except RequestLimitExceeded:
                raise
            except TiwError as error:
                lost = lost or error.retryable
                raise
            return True

        return self._retry.call(attempt, self.settings.timeout_s)


def _user_sig(app_id: int, user: str, signature: str | None, key: str | None) -> str:
    if (signature is None) == (key is None):
        raise ConfigurationError(
            "Exactly one of record_user_sig and user_sig_key is needed, "
            f"{'none' if signature is None else 'both'} given.",
            hint="Give the recording user's signature, or the key to make it with.",
        )
    if key is not None:
        return make_user_sig(app_id, user, key)
    if not signature or any(sign.isspace() for sign in signature):
        raise ConfigurationError("record_user_sig is empty or has blanks.")
    return signature
