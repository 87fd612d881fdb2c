# SPDX-License-Identifier: Apache-2.0
"""The API's actions, one method each; the SDK and the transport do what happens on the wire.

The actions are those of TIW's API, version 2019-09-19
(https://www.tencentcloud.com/document/product/1176/53478).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from tiw_automation.core import hints
from tiw_automation.core._lazy import LazyModule
from tiw_automation.core.api.attempt import Attempt
from tiw_automation.core.api.known_ids import KnownIds
from tiw_automation.core.api.sdk import TiwSdkClient
from tiw_automation.core.api.settings import Settings
from tiw_automation.core.api.sites import SITES, site_of
from tiw_automation.core.api.transport import Transport
from tiw_automation.core.api.user_sig import (
    check_record_user_id,
    given_or_made_sig,
    new_record_user_id,
)
from tiw_automation.core.checks import allow_task_id, check_sdk_app_id, check_task_id
from tiw_automation.core.errors import (
    ApiError,
    BadAnswer,
    ConfigurationError,
    RequestLimitExceeded,
    TaskFailure,
    TaskNotFound,
    TiwError,
    TransportError,
)
from tiw_automation.core.formatting import escaped, shown
from tiw_automation.core.locks import ProcessLock
from tiw_automation.core.quota.quota import Quota, Slot, shared_quota
from tiw_automation.core.records.fields import Fields
from tiw_automation.core.records.record import OnlineRecord
from tiw_automation.core.records.task import TiwTask
from tiw_automation.core.retry import Retry, RetryBudget
from tiw_automation.core.tasks.kind import TaskKind
from tiw_automation.core.tasks.kinds import ONLINE_RECORD, check_site, create_params, find_kind
from tiw_automation.core.tasks.start_options import check_room_id, start_params

if TYPE_CHECKING:
    from tiw_automation.core.api import callback_settings, changes, create_attempt, running_tasks
else:
    callback_settings, changes, create_attempt, running_tasks = (
        LazyModule(f"tiw_automation.core.api.{name}")
        for name in ("callback_settings", "changes", "create_attempt", "running_tasks")
    )

logger = logging.getLogger(__name__)


class TiwClient:
    """A client of the TIW API. Thread-safe; one is enough for a process and an account.

    An argument that is left out is read from the profile, the environment, Tencent's own files
    or the instance, else it has its default. The order is in docs/python.md, under Settings.

    :param secret_id: SecretId; with ``secret_key``, and ``token`` where the keys are temporary.
    :param profile: a profile of Tencent's command line (``tccli configure``).
    :param role_arn: a CAM role to assume with the keys; it is renewed for as long as it is used.
    :param sdk_app_id: the application of every call that names no other.
    :param site: ``cn`` or ``intl``; sets host and region.
    :param region: ``ap-guangzhou`` or ``ap-singapore``.
    :param endpoint: a host, host:port or http(s) URL that replaces the site's host.
    :param allow_http: whether an ``http://`` endpoint may be on another machine, False by default:
        requests and answers can be read on the way.
    :param requests_per_second: the pace of each action, 19 by default; Tencent allows 20.
    :param quota_share: this host's share of that pace, above 0 and at most 1, 1 by default.
    :param quota_url: the Redis or Valkey server where many hosts share the pace; by default the
        processes of this host share it. Needs the extra ``redis``.
    :param ca_file: a bundle of CA certificates to trust, or a folder of them (openssl rehash).
    :param proxy: the URL of an HTTP proxy; by default the environment's.
    :param timeout: the hard deadline of one call in seconds, 10 by default.
    :raises ConfigurationError: an argument or a variable is invalid.
    :raises CredentialsError: no complete pair of keys was found.
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
        allow_http: bool | None = None,
        requests_per_second: float | None = None,
        quota_share: float | None = None,
        quota_url: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self.settings: Settings = Settings.resolve(
            secret_id=secret_id,
            secret_key=secret_key,
            token=token,
            profile=profile,
            role_arn=role_arn,
            sdk_app_id=sdk_app_id,
            site=site,
            region=region,
            endpoint=endpoint,
            allow_http=allow_http,
            requests_per_second=requests_per_second,
            quota_share=quota_share,
            quota_url=quota_url,
            ca_file=ca_file,
            proxy=proxy,
            timeout=timeout,
        )
        self.requests_sent: int = 0
        self._known = KnownIds()
        self._count_lock = ProcessLock()
        self._transport = Transport(
            self.settings.url, proxy=self.settings.proxy, ca_file=self.settings.ca_file
        )
        self._sdk = TiwSdkClient(
            scheme=self.settings.scheme,
            host=self.settings.host,
            region=self.settings.region,
            keys=lambda left_s: self.settings.credentials.current(left_s).get_credential_info(),
            transport=self._transport,
        )
        self._retry = Retry(RetryBudget())

    def __repr__(self) -> str:
        return f"TiwClient({self.settings!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections; a later call opens new ones."""
        self._transport.close()

    @property
    def account(self) -> tuple[str, str]:
        """Whose quota the calls use: an account, and the host that counts its calls."""
        return self.settings.credentials.identity, self.settings.host

    def quota(self, action: str) -> Quota:
        """Return the quota that paces ``action`` for this account in this process."""
        settings = self.settings
        return shared_quota(
            *self.account,
            action,
            settings.requests_per_second,
            settings.quota_share,
            settings.quota_url,
        )

    def call(
        self,
        action: str,
        params: Mapping[str, Any],
        *,
        slot: Slot | None = None,
    ) -> dict[str, Any]:
        """Call any action of the API once and return its ``Response`` object.

        The deadline counts from the moment of the call's slot. A request that the API refuses for
        its signature or keys is sent again once where that helps: signed with the server's time if
        this machine's clock is wrong, or with the new keys if they have changed.

        :param params: the action's parameters under the API's own names.
        :param slot: only for a caller that has reserved a slot of :meth:`quota`; another one is
            reserved where it is not used in time.
        :raises ApiError: the API refused; the class follows the error code.
        :raises TransportError: no complete answer came within the deadline.
        """
        return self._attempt(action, params, slot).result(self.settings.timeout_s)

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
        returned and no second recording is started. After a lost answer the recording is searched
        for by its user, and the request is repeated only where no recording can have been started;
        docs/python.md has the rules. Tencent starts to record some two seconds later, so a wrong
        signature or room only shows as the recording's failure.

        :param room_id: the room, 1 to 4294967295.
        :param record_user_id: the user that TIW enters the room as, which nothing else uses; one
            is made up by default.
        :param record_user_sig: that user's signature. Or:
        :param user_sig_key: the application's key, to make the signature with.
        :param preset: ``whiteboard_only``, ``mixed_stream`` or ``audio_files``.
        :param before_each: called before each StartOnlineRecord, repeated ones included, reserves
            its slot; an error that it raises ends the start, and no further request is sent. Where
            an earlier one may have been carried out, that error's ``__cause__`` is a
            StartUncertain.
        :param options: any of :data:`~tiw_automation.core.START_OPTIONS`.
        :raises ConfigurationError: an option is invalid, or not exactly one of
            ``record_user_sig`` and ``user_sig_key`` was given; nothing was sent.
        :raises StartUncertain: it is not known whether the recording runs, or its TaskId is not.
            Its ``record_user_id`` is the user, also one that was made up.
        :raises TiwError: nothing was started.
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
        app_id, room, user = params["SdkAppId"], params["RoomId"], params["RecordUserId"]
        start = _start_of(ONLINE_RECORD, user, room, is_made_up=record_user_id is None)
        search = self._user_search(ONLINE_RECORD, room, app_id)
        return self._create(start, params, search, before_each).result()

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
        """Return the parameters that :meth:`start_online_record` would send; send nothing.

        The arguments are the same. The result holds the user's signature, which is a secret.

        :raises ConfigurationError: an option is invalid, or not exactly one of
            ``record_user_sig`` and ``user_sig_key`` was given.
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
            "RecordUserSig": given_or_made_sig(app_id, user, record_user_sig, user_sig_key),
            **start_params(options, preset),
        }

    def find_online_record(
        self, room_id: int | str, record_user_id: str, sdk_app_id: int | str | None = None
    ) -> str | None:
        """Return the TaskId of the recording of a user in a room, if it runs.

        Calls DescribeRunningTasks, which only the Chinese site has, and DescribeOnlineRecord. A
        recording of the room that cannot be read is a warning, and the search goes on.

        :raises InvalidParameter: this site has no list of running tasks.
        :raises PermissionDenied: these keys may not read it.
        :raises TiwError: the list could not be read, or the keys or the network failed.
        """
        return self._find_running(ONLINE_RECORD, room_id, record_user_id, sdk_app_id)

    def find_whiteboard_push(
        self, room_id: int | str, push_user_id: str, sdk_app_id: int | str | None = None
    ) -> str | None:
        """Return the TaskId of the whiteboard push of a user in a room, if it runs.

        As :meth:`find_online_record`, with DescribeWhiteboardPush.
        """
        kind = find_kind("whiteboard_push")
        return self._find_running(kind, room_id, push_user_id, sdk_app_id)

    def _find_running(
        self, kind: TaskKind, room_id: int | str, user: str, sdk_app_id: int | str | None
    ) -> str | None:
        room = check_room_id(room_id)
        app_id = self.sdk_app_id(sdk_app_id)
        for task_id, seen in self._listed_in_room(kind, room, app_id, skip=kind.states[-1]):
            if isinstance(seen, TiwError):
                _warn_unread(task_id, seen)
                continue
            candidate = _candidate(kind, seen)
            if candidate.user == user:
                self._known.add(task_id)
                if not candidate.has_ended:
                    allow_task_id(task_id)
                    return task_id
        return None

    def pause_online_record(self, task_id: str, sdk_app_id: int | str | None = None) -> bool:
        """Pause a recording (PauseOnlineRecord); return whether this call did it.

        A recording that is paused already is not an error.

        :raises UnsupportedOperation: it has ended or has not begun.
        :raises ChangeUncertain: it may have been carried out.
        """
        return self._change(changes.PAUSE, task_id, sdk_app_id)

    def resume_online_record(self, task_id: str, sdk_app_id: int | str | None = None) -> bool:
        """Resume a paused recording (ResumeOnlineRecord); return whether this call did it.

        A recording that runs already is not an error.

        :raises UnsupportedOperation: it has ended.
        :raises ChangeUncertain: it may have been carried out.
        """
        return self._change(changes.RESUME, task_id, sdk_app_id)

    def stop_online_record(self, task_id: str, sdk_app_id: int | str | None = None) -> bool:
        """Stop a recording (StopOnlineRecord); return whether this call did it.

        A recording that has ended already is not an error. Its videos follow minutes later.

        :raises ChangeUncertain: it may have been carried out.
        """
        stopped = self._change(changes.STOP, task_id, sdk_app_id)
        hints.stopped(task_id)
        return stopped

    def describe_online_record(
        self,
        task_id: str,
        sdk_app_id: int | str | None = None,
        *,
        slot: Slot | None = None,
    ) -> OnlineRecord:
        """Return a recording as it is now (DescribeOnlineRecord).

        The call is repeated while its error may pass, within the deadline, with random pauses.

        :param task_id: the TaskId that StartOnlineRecord returned.
        :param sdk_app_id: another application than the client's.
        :param slot: only for a caller that has reserved a slot of :meth:`quota`, as for
            :meth:`call`. The call is then made once, because each repetition needs a slot.
        :raises RecordingFailure: the recording failed permanently.
        :raises TaskNotFound: the application has no such recording.
        :raises ConfigurationError: no usable task id or SdkAppId was given.
        """
        return self.describe_task("online_record", task_id, sdk_app_id, slot=slot)

    def create_task(
        self,
        task_kind: str,
        *,
        user_sig_key: str | None = None,
        sdk_app_id: int | str | None = None,
        before_each: Callable[[], None] = lambda: None,
        **options: Any,
    ) -> TiwTask:
        """Create a task of any kind and return it with its task id; its status is not known yet.

        After a lost answer the task is searched for where the API has a look-up: a whiteboard push
        by its user, a transcode by its URL. A create that may have been carried out is never
        repeated blindly. A second task that the answer names, a push's backup, is in ``result``.

        :param task_kind: a name of :data:`~tiw_automation.core.TASK_KINDS`.
        :param user_sig_key: the application's key, to make a push user's signature with.
        :param before_each: as for :meth:`start_online_record`, which creates recordings.
        :param options: those of the kind's create action, in Python's case; for a push,
            ``push_user_id`` is made up by default.
        :raises ConfigurationError: the kind, an option or its value is invalid; nothing was sent.
        :raises StartUncertain: it is not known whether the task was created.
        :raises TiwError: nothing was created.
        """
        kind = find_kind(task_kind)
        if kind is ONLINE_RECORD:
            task_id = self.start_online_record(
                user_sig_key=user_sig_key,
                sdk_app_id=sdk_app_id,
                before_each=before_each,
                **options,
            )
            return TiwTask(self.sdk_app_id(sdk_app_id), kind.name, task_id)
        params = self.create_task_params(
            task_kind, user_sig_key=user_sig_key, sdk_app_id=sdk_app_id, **options
        )
        return self._create_task(kind, params, options, before_each)

    def create_task_params(
        self,
        task_kind: str,
        *,
        user_sig_key: str | None = None,
        sdk_app_id: int | str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Return the parameters that :meth:`create_task` would send; send nothing.

        The arguments are the same. The result may hold a user's signature, which is a secret.

        :raises ConfigurationError: the kind, an option or its value is invalid.
        """
        kind = find_kind(task_kind)
        app_id = self.sdk_app_id(sdk_app_id)
        if kind is ONLINE_RECORD:
            return self.start_online_record_params(
                user_sig_key=user_sig_key, sdk_app_id=app_id, **options
            )
        if kind.user is not None:
            id_option, sig_option = kind.user.id_option, kind.user.sig_option
            room = check_room_id(options.get("room_id"))
            user = options.get(id_option) or new_record_user_id(room, kind.user.prefix)
            given = options.get(sig_option)
            sig = given_or_made_sig(app_id, user, given, user_sig_key, sig_option)
            options = {**options, id_option: user, sig_option: sig}
        elif user_sig_key is not None:
            raise ConfigurationError(f"A {kind.noun.lower()} has no user, and so no user_sig_key.")
        return {"SdkAppId": app_id, **create_params(kind, options, is_intl=self._is_intl)}

    @overload
    def describe_task(  # type: ignore[overload-overlap]
        self,
        task_kind: Literal["online_record"],
        task_id: str,
        sdk_app_id: int | str | None = None,
        *,
        slot: Slot | None = None,
    ) -> OnlineRecord: ...
    @overload
    def describe_task(
        self,
        task_kind: str,
        task_id: str,
        sdk_app_id: int | str | None = None,
        *,
        slot: Slot | None = None,
    ) -> TiwTask: ...
    def describe_task(
        self,
        task_kind: str,
        task_id: str,
        sdk_app_id: int | str | None = None,
        *,
        slot: Slot | None = None,
    ) -> OnlineRecord | TiwTask:
        """Return a task of any kind as it is now.

        :param task_kind: a name of :data:`~tiw_automation.core.TASK_KINDS`.
        :param slot: as for :meth:`describe_online_record`.
        :raises TaskFailure: the task failed permanently.
        :raises TaskNotFound: the application has no such task of this kind.
        :raises ConfigurationError: the kind, the task id or the SdkAppId is invalid.
        """
        kind = find_kind(task_kind)
        return self._describe(kind, check_task_id(task_id), self.sdk_app_id(sdk_app_id), slot)

    def _describe(
        self, kind: TaskKind, task_id: str, app_id: int, slot: Slot | None = None
    ) -> OnlineRecord | TiwTask:
        check_site(kind, is_intl=self._is_intl)
        params = {"SdkAppId": app_id, kind.id_key: task_id}
        try:
            if slot is None:
                response = self._repeatable(kind.describe_action, params)
            else:
                response = self.call(kind.describe_action, params, slot=slot)
        except ApiError as error:
            meant = kind.error_of(error, task_id)
            if meant is error:
                raise
            raise meant from error
        return kind.read(response, sdk_app_id=app_id, task_id=task_id)

    def stop_whiteboard_push(self, task_id: str, sdk_app_id: int | str | None = None) -> bool:
        """Stop a whiteboard push (StopWhiteboardPush); return whether this call did it.

        A push that has ended already is not an error.

        :raises ChangeUncertain: it may have been carried out.
        """
        stopped = self._change(changes.STOP_PUSH, task_id, sdk_app_id)
        hints.hint_all(task_id)
        return stopped

    def find_transcode(self, url: str, sdk_app_id: int | str | None = None) -> TiwTask | None:
        """Return the newest transcode of a URL of the last day (DescribeTranscodeByUrl), if any.

        Only its task id, status and progress are known. Only the Chinese site has this action.

        :raises InvalidParameter: this site has no such look-up.
        """
        app_id, action = self.sdk_app_id(sdk_app_id), "DescribeTranscodeByUrl"
        try:
            response = self._repeatable(action, {"SdkAppId": app_id, "Url": url})
        except TaskNotFound:
            return None
        read = Fields(response, "Response", action=action)
        task_id = (read.text("TaskId") or "").strip()
        if not task_id:
            return None
        status, progress = read.word("Status"), read.integer("Progress")
        return TiwTask(app_id, "transcode", task_id, status, progress)

    def describe_online_record_callback(
        self, sdk_app_id: int | str | None = None
    ) -> callback_settings.CallbackSettings:
        """Return the address of the application's callbacks, and their key."""
        action = "DescribeOnlineRecordCallback"
        response = self._repeatable(action, {"SdkAppId": self.sdk_app_id(sdk_app_id)})
        read = Fields(response, "Response", action=action)
        return callback_settings.CallbackSettings(
            read.text("Callback") or None, read.text("CallbackKey") or None
        )

    def set_online_record_callback(
        self, url: str | None, sdk_app_id: int | str | None = None
    ) -> None:
        """Set the address of the application's callbacks; None or an empty string removes it.

        There is one address for each application, which all of its users share.

        An address over plain http that is not this machine's is a warning.

        :raises ConfigurationError: it is not an http:// or https:// URL.
        """
        url = callback_settings.check_callback_url(url)
        if callback_settings.is_plain_http(url):
            logger.warning(callback_settings.PLAIN_HTTP)
        params = {"SdkAppId": self.sdk_app_id(sdk_app_id), "Callback": url}
        self._repeatable("SetOnlineRecordCallback", params)

    def set_online_record_callback_key(
        self, key: str | None, sdk_app_id: int | str | None = None
    ) -> None:
        """Set the key that callbacks are signed with; None or an empty string removes it.

        :raises ConfigurationError: it has fewer than 16 characters, or more than 64.
        """
        params = {
            "SdkAppId": self.sdk_app_id(sdk_app_id),
            "CallbackKey": callback_settings.check_callback_key(key),
        }
        self._repeatable("SetOnlineRecordCallbackKey", params)

    def describe_running_tasks(
        self, task_type: str = "OnlineRecord", sdk_app_id: int | str | None = None
    ) -> list[running_tasks.RunningTask]:
        """Return the listed tasks of a type: created within three days (DescribeRunningTasks).

        :param task_type: ``OnlineRecord``, ``WhiteboardPush``, ``TranscodeH5``, ``TranscodeJPG``.
        :raises InvalidParameter: this site has no such list; only the Chinese one has it.
        """
        checked = running_tasks.check_task_type(task_type)
        return self._running_tasks(checked, self.sdk_app_id(sdk_app_id))[0]

    def _running_tasks(
        self, task_type: str, app_id: int
    ) -> tuple[list[running_tasks.RunningTask], bool]:
        """Return the tasks of the running list, and whether it holds others that were not read."""
        return running_tasks.read_list(
            lambda params: self._repeatable(running_tasks.ACTION, params),
            sdk_app_id=app_id,
            task_type=task_type,
        )

    def sdk_app_id(self, given: int | str | None = None) -> int:
        """Return the application to work on: the given one, else the client's.

        :raises ConfigurationError: neither is set, or it is not a positive integer.
        """
        if given is not None:
            return check_sdk_app_id(given)
        if self.settings.sdk_app_id is None:
            raise ConfigurationError(
                "No sdk_app_id was given.",
                hint="Set sdk_app_id or TIW_SDK_APP_ID; the TIW console shows it.",
            )
        return self.settings.sdk_app_id

    @property
    def _is_intl(self) -> bool:
        """Whether the host is the international site's; one that is not Tencent's is not."""
        return site_of(self.settings.host) is SITES["intl"]

    def _attempt(self, action: str, params: Mapping[str, Any], slot: Slot | None = None) -> Attempt:
        _check_call(action, params)
        return Attempt(
            action,
            params,
            sdk=self._sdk,
            credentials=self.settings.credentials,
            quota=lambda: self.quota(action),
            count=self._count,
            slot=slot,
        )

    def _count(self) -> None:
        with self._count_lock:
            self.requests_sent += 1

    def _repeatable(self, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Call an action that may be carried out twice; repeat it while its error may pass."""
        return self._retry.call(
            lambda left_s: self._attempt(action, params).result(left_s), self.settings.timeout_s
        )

    def _create(
        self,
        start: create_attempt.Start,
        params: Mapping[str, Any],
        search: Callable[[], Iterable[create_attempt.Seen]] | None,
        before_each: Callable[[], None],
    ) -> create_attempt.CreateAttempt:
        return create_attempt.CreateAttempt(
            start,
            before_each=before_each,
            new_attempt=lambda: self._attempt(start.action, params),
            search=search,
            retry=self._retry,
            timeout_s=self.settings.timeout_s,
            clock=self._sdk.server_time,
            known=self._known.snapshot(),
            note=self._known.add,
        )

    def _create_task(
        self,
        kind: TaskKind,
        params: Mapping[str, Any],
        options: Mapping[str, Any],
        before_each: Callable[[], None],
    ) -> TiwTask:
        app_id = params["SdkAppId"]
        search: Callable[[], Iterable[create_attempt.Seen]] | None = None
        if kind.user is not None:
            user, room = params["PushUserId"], params["RoomId"]
            is_made_up = not options.get(kind.user.id_option)
            start = _start_of(kind, user, room, is_made_up=is_made_up)
            search = self._user_search(kind, room, app_id)
        else:
            start = create_attempt.Start(
                kind.create_action, kind.noun, kind.noun.lower(), id_key=kind.id_key
            )
            if kind.lookup == "url":
                start = replace(start, user=params["Url"])
                search = self._url_search(params["Url"], app_id)
        attempt = self._create(start, params, search, before_each)
        return kind.created(attempt.result(), attempt.response, app_id)

    def _user_search(
        self, kind: TaskKind, room: int, app_id: int
    ) -> Callable[[], Iterable[create_attempt.Seen]]:
        """Return the search for a task by its user, over the list of running tasks."""

        def search() -> Iterable[create_attempt.Seen]:
            for task_id, seen in self._listed_in_room(kind, room, app_id):
                yield task_id, seen if isinstance(seen, TiwError) else _candidate(kind, seen)

        return search

    def _url_search(
        self, url: str, app_id: int
    ) -> Callable[[], Iterable[create_attempt.Seen]] | None:
        """Return the look-up of the transcode of a URL that is created after this call.

        None where the site, the keys or a fault allow no look-up.
        """
        try:
            before = self.find_transcode(url, app_id)
        except TiwError as error:
            logger.info("Transcodes cannot be looked up by their URL: %s", escaped(error))
            return None

        def search() -> Iterable[create_attempt.Seen]:
            found = self.find_transcode(url, app_id)
            if found is not None and (before is None or found.task_id != before.task_id):
                yield found.task_id, create_attempt.Candidate(url)

        return search

    def _listed_in_room(
        self, kind: TaskKind, room: int, app_id: int, skip: Collection[str] = ()
    ) -> Iterator[tuple[str, OnlineRecord | TiwTask | TiwError]]:
        """Describe each task of a room that the running list names.

        An error that concerns one task is yielded in its place. A task of the list that cannot be
        read is an error too, without a task id.

        :param skip: the states, as the list shows them, of tasks that are left out.
        :raises TiwError: the list cannot be read, or an error concerns the account or the network.
        """
        tasks, hidden = self._running_tasks(kind.running_types[0], app_id)
        if hidden:
            message = "The list of running tasks names a task that cannot be read."
            yield "", BadAnswer(message, action=running_tasks.ACTION)
        for task in tasks:
            if task.room_id not in (room, None) or task.status in skip:
                continue
            try:
                yield task.task_id, self._describe(kind, task.task_id, app_id)
            except TiwError as error:
                if _concerns_all(error):
                    raise
                yield task.task_id, error

    def _change(self, change: changes.Change, task_id: str, sdk_app_id: int | str | None) -> bool:
        task_id = check_task_id(task_id)
        app_id = self.sdk_app_id(sdk_app_id)
        kind = find_kind(change.task_kind)
        self._known.add(task_id)
        return changes.ChangeAttempt(
            change,
            task_id,
            new_attempt=lambda: self._attempt(
                change.action, {"SdkAppId": app_id, "TaskId": task_id}
            ),
            status=lambda: self._describe(kind, task_id, app_id).status,
            retry=self._retry,
            timeout_s=self.settings.timeout_s,
        ).result()


def _check_call(action: object, params: object) -> None:
    if not isinstance(action, str) or not (action.isascii() and action.isidentifier()):
        raise ConfigurationError(
            f"An action must be a name such as StartOnlineRecord, not {shown(action)}."
        )
    if not isinstance(params, Mapping):
        raise ConfigurationError(
            f"The parameters of {action} must be a mapping, not {shown(params)}."
        )


def _start_of(kind: TaskKind, user: str, room: int, *, is_made_up: bool) -> create_attempt.Start:
    noun, option = kind.noun.lower(), kind.user.id_option if kind.user else ""
    return create_attempt.Start(
        kind.create_action,
        kind.noun,
        f"{noun} of {user} in room {room}",
        user=user,
        is_guarded=True,
        is_made_up=is_made_up,
        advice=(
            f"Look in the TIW console. Or start it again with {option} {user}: while a {noun} of "
            "that user runs, that never starts a second one."
        ),
        id_key=kind.id_key,
    )


def _candidate(kind: TaskKind, seen: OnlineRecord | TiwTask) -> create_attempt.Candidate:
    has_ended = seen.status in ("STOPPED", *kind.states[-1])
    if isinstance(seen, OnlineRecord):
        return create_attempt.Candidate(seen.record_user_id, has_ended, seen.record_start_time)
    user = seen.result.get(kind.user.id_option) if kind.user else None
    return create_attempt.Candidate(
        user if isinstance(user, str) else None, has_ended, seen.active_since
    )


def _warn_unread(task_id: str, error: TiwError) -> None:
    """Log a recording whose user is not known because it could not be read."""
    if not isinstance(error, (TaskFailure, TaskNotFound)):
        logger.warning(
            "The user of recording %s could not be read: %s", escaped(task_id), escaped(error)
        )


def _concerns_all(error: TiwError) -> bool:
    """Return whether every other recording would get the same error."""
    of_network = isinstance(error, TransportError) and not isinstance(error, BadAnswer)
    return error.concerns_account or of_network or isinstance(error, RequestLimitExceeded)
