# SPDX-License-Identifier: Apache-2.0
"""A kind of task: what the core must know to create one, to wait for it and to read its result.

All kinds are "create, then describe until it ends"; they differ in names and in what an answer
means. These differences are data: :mod:`~tiw_automation.core.tasks.kinds` is the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tiw_automation.core.errors import ApiError, TaskFailure, TaskNotFound
from tiw_automation.core.formatting import encodable
from tiw_automation.core.records.fields import (
    Fields,
    check_task_id_of_answer,
    not_too_deep,
    request_id,
)
from tiw_automation.core.records.record import OnlineRecord
from tiw_automation.core.records.task import EndRules, TiwTask, noun_of
from tiw_automation.core.tasks.options import Option

# Tencent's own account, in whose buckets files are deleted after some days.
_PUBLIC_BUCKET = re.compile(r"-1259648581\.(?:file|cos\.[a-z0-9-]+)\.myqcloud\.com")
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# The largest float is below it.
_NUMBERS_END = 10**309
# The forms that ids have in the API's examples.
SHORT_ID = "[a-z0-9]{20}"
UUID_ID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_OWN_KEYS = ("Status", "Progress", "RequestId")


@dataclass(frozen=True, eq=False)
class Results:
    """What a kind's answer holds beside its plain fields.

    :param failure: the code and the message of a task that failed.
    :param parsed: fields of ``result`` that are read from text.
    :param unreadable: whether the URLs cannot be read.
    """

    urls: tuple[str, ...] = ()
    thumbnail_urls: tuple[str, ...] = ()
    failure: tuple[str, str] | None = None
    parsed: Mapping[str, Any] = field(default_factory=dict)
    unreadable: bool = False


@dataclass(frozen=True, eq=False)
class TaskUser:
    """The user that TIW enters a room as for a task.

    :param id_option: the option with the user's name.
    :param sig_option: the option with the user's signature.
    :param prefix: how a name that is made up begins.
    """

    id_option: str
    sig_option: str
    prefix: str


@dataclass(frozen=True, eq=False)
class TaskKind:
    """One family of the API.

    :param name: what users type, such as ``transcode``.
    :param states: in their order; a task goes from group to group, and to and fro within one.
        Those of the last group are final.
    :param failed: final states that mean a failure.
    :param processing: states in which only Tencent has work left.
    :param options: of the create action.
    :param id_key: the API's name of the task id.
    :param id_pattern: the form that its ids have in the API's examples; others are valid as well.
    :param failure_codes: errors of the describe action that are the task's own failure; one with a
        dot at its end stands for all codes below it.
    :param caller_codes: those below them that are the caller's mistake.
    :param vague_codes: errors that may mean that the id does not exist, and may mean other things.
    :param result: what a finished task must have; None for nothing.
    :param read_results: returns what an answer holds beside its plain fields.
    :param active_since: the API's name of the time when its work for people began.
    :param processing_since: the API's name of the time when Tencent began to process it.
    :param finished_at: the API's name of the time when it ended.
    :param running_types: its types in the list of running tasks.
    :param callback: the family in the names of the callback actions, such as ``Transcode``.
    :param progress_events: event types of its callbacks that mean no end.
    :param cn_only: whether only the Chinese site has it.
    :param lookup: how a task is found after a lost create: ``url``, ``user`` or None.
    :param user: the user that TIW enters the room as.
    :param stop_action: the action that ends a task.
    :param is_rate_documented: whether Tencent documents the 20 requests a second of the describe
        action; otherwise they are an assumption. ``requests_per_second`` sets the pace of all.
    :param record_kept_s: how long the API answers for an ended task; None where undocumented.
    :param files_kept_s: how long Tencent's public bucket keeps the files; None where there are
        none.
    :param active_mean_s: the first guess of how long the states before processing last.
    :param processing_mean_s: the first guess of how long processing lasts.
    """

    name: str
    create_action: str
    describe_action: str
    states: tuple[tuple[str, ...], ...]
    options: tuple[Option, ...]
    processing_mean_s: float
    active_mean_s: float = 51 * 60.0
    processing: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    id_key: str = "TaskId"
    id_pattern: str = SHORT_ID
    failure_codes: tuple[str, ...] = ()
    caller_codes: tuple[str, ...] = ()
    vague_codes: tuple[str, ...] = ()
    result: str | None = None
    read_results: Callable[[Fields], Results] = lambda read: Results()
    active_since: str | None = None
    processing_since: str | None = None
    finished_at: str | None = None
    running_types: tuple[str, ...] = ()
    callback: str | None = None
    progress_events: tuple[str, ...] = ()
    cn_only: bool = False
    lookup: str | None = None
    user: TaskUser | None = None
    stop_action: str | None = None
    is_rate_documented: bool = False
    record_kept_s: int | None = None
    files_kept_s: int | None = None
    rules: EndRules = field(init=False)
    """How its tasks end."""

    def __post_init__(self) -> None:
        final = frozenset(self.states[-1])
        rules = EndRules(self.name, self.describe_action, final, self.failed, self.result)
        object.__setattr__(self, "rules", rules)

    @property
    def noun(self) -> str:
        """What messages call a task of this kind."""
        return noun_of(self.name)

    @property
    def state_names(self) -> tuple[str, ...]:
        """All states in their order."""
        return tuple(state for group in self.states for state in group)

    def options_at(self, is_intl: bool) -> tuple[Option, ...]:
        """Return the options that a site has."""
        return tuple(option for option in self.options if not (is_intl and option.cn_only))

    def can_become(self, status: str | None, states: frozenset[str]) -> bool:
        """Return whether a task with this status is in one of the states or can become so.

        One with an unknown status can become anything.
        """
        for number, group in enumerate(self.states):
            if status in group:
                later = {state for group in self.states[number:] for state in group}
                return not states.isdisjoint(later)
        return True

    def error_of(self, error: ApiError, task_id: str) -> ApiError:
        """Return an error of the describe action as what it means for the task."""
        if isinstance(error, TaskNotFound) or error.code in self.vague_codes:
            error.hint = " ".join(filter(None, [error.hint, self._not_found_hint(task_id)]))
        elif self._is_own_failure(error.code) and not isinstance(error, TaskFailure):
            return TaskFailure(
                error.message, code=error.code, request_id=error.request_id, action=error.action
            )
        return error

    def _is_own_failure(self, code: str) -> bool:
        if code in self.caller_codes:
            return False
        return any(
            code.startswith(known) if known.endswith(".") else code == known
            for known in self.failure_codes
        )

    def _not_found_hint(self, task_id: str) -> str:
        others = {SHORT_ID, UUID_ID} - {self.id_pattern}
        if any(re.fullmatch(form, task_id) for form in others):
            return (
                f"This does not look like an id of {self.name}. It may be of another kind of task."
            )
        return (
            "The task may not have been started yet, may have been deleted, may belong to another "
            "account or SdkAppId, or may be of another kind of task."
        )

    def read(
        self, response: Mapping[str, Any], *, sdk_app_id: int, task_id: str
    ) -> OnlineRecord | TiwTask:
        """Read the ``Response`` object of the describe action.

        :raises BadAnswer: the answer is about another task, or is not an object.
        """
        if self.name == "online_record":
            return OnlineRecord.from_response(response, sdk_app_id=sdk_app_id, task_id=task_id)
        read = Fields(response, "Response", action=self.describe_action)
        check_task_id_of_answer(read, self.id_key, task_id, self.noun)
        results, raw = self.read_results(read), not_too_deep(response)
        plain = {key: raw[key] for key in raw if key not in (*_OWN_KEYS, self.id_key)}
        reason = read.word("FinishReason")
        unreadable = {"finish_reason"} if "FinishReason" in read.unreadable else set()
        return TiwTask(
            sdk_app_id=sdk_app_id,
            task_kind=self.name,
            task_id=task_id,
            status=read.word("Status"),
            progress=read.integer("Progress"),
            finish_reason=reason,
            urls=results.urls,
            thumbnail_urls=results.thumbnail_urls,
            urls_expire_at=self._urls_expire_at(read, results.urls),
            result={**python_names(plain), **results.parsed},
            request_id=request_id(read),
            active_since=read.time(self.active_since) if self.active_since else None,
            processing_since=read.time(self.processing_since) if self.processing_since else None,
            failure=results.failure,
            raw=raw,
            unreadable=frozenset(unreadable | ({"urls"} if results.unreadable else set())),
        )

    def created(self, task_id: str, response: Mapping[str, Any], sdk_app_id: int) -> TiwTask:
        """Read the answer of the create action.

        :param response: empty where the task was found in another way.
        """
        read = Fields(response, "Response", action=self.create_action)
        parsed = self.read_results(read).parsed
        return TiwTask(
            sdk_app_id,
            self.name,
            task_id,
            result={name: value for name, value in parsed.items() if value is not None},
            request_id=request_id(read),
        )

    def _urls_expire_at(self, read: Fields, urls: Sequence[str]) -> int | None:
        finished = read.time(self.finished_at) if self.finished_at else None
        if finished is None or self.files_kept_s is None or not urls:
            return None
        of_tencent = all(_PUBLIC_BUCKET.search(_host(url)) for url in urls)
        return finished + self.files_kept_s if of_tencent else None


def python_name(api_name: str) -> str:
    """Return a name of the API in Python's case: ``im_sync_time`` for ``IMSyncTime``."""
    return "_".join(_WORDS.split(encodable(api_name))).lower()


def python_names(value: Any) -> Any:
    """Return JSON with the names of its objects in Python's case.

    A number that not every reader of JSON takes (NaN, infinity, hundreds of digits) becomes None.
    """
    if isinstance(value, Mapping):
        return {python_name(key): python_names(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [python_names(inner) for inner in value]
    if isinstance(value, (int, float)) and not abs(value) < _NUMBERS_END:
        return None
    return encodable(value) if isinstance(value, str) else value


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
