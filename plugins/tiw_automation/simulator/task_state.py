# SPDX-License-Identifier: Apache-2.0
"""One task of another family than recordings, as a pure function of the virtual time.

A :class:`Family` describes what its tasks have in common, as data; ``families.py`` is the table.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote

from .errors import ApiFault
from .recordings import Event, Recording

STARTED, PROGRESS, ENDED = "started", "progress", "ended"
"""When an event of a task is posted."""
DEFAULT_PAGES = 3
_PROGRESS_EVENTS = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class EventKind:
    """An event that a family posts.

    :param moment: ``STARTED``, ``PROGRESS`` or ``ENDED``
    :param keys: which fields of the answer it has; empty for all
    """

    name: str
    moment: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """What all tasks of a family have in common.

    :param statuses: in their order; the last one is final
    :param queued_s: how long a task has its first status, virtual seconds
    :param duration_s: how long a task lasts in all, virtual seconds
    :param answer: returns what Describe answers, for a task, the virtual time and the URL that
        leads to the task's files
    :param files: returns the files of a finished task, by their names
    :param options: the create action's parameters of a task that a script adds
    :param callback: what the names of its callback's actions contain; ``None`` for a family
        without a callback of the application
    :param by_url: the action that finds its newest task by its Url; on the Chinese site only
    :param failures: the codes with which Describe reports that a task failed; empty for any code
    :param fails_in_result: whether Describe reports the code inside of its result
    :param not_found: the code for a task that does not exist
    :param app_not_found: the code with which a create action refuses an unknown application
    :param listed_as: its types in the running list; with two, the second is for static documents
    :param user_key: the parameter with the user of a task, of whom there may be one at a time
    :param auto_stop_s: after how long a room must be idle to end a task, virtual seconds
    :param source_key: the parameter with the recording that a task needs
    :param files_kept_s: how long the files exist after the end, virtual seconds
    :param record_kept_s: how long Describe knows a task after its end, virtual seconds
    """

    name: str
    create: str
    describe: str
    statuses: tuple[str, ...]
    answer: Callable[[Task, float, str], dict[str, Any]]
    options: Mapping[str, Any]
    stop: str | None = None
    callback: str | None = None
    by_url: str | None = None
    id_key: str = "TaskId"
    events: tuple[EventKind, ...] = ()
    files: Callable[[Task], Mapping[str, bytes]] = lambda task: {}
    failures: tuple[str, ...] = ()
    fails_in_result: bool = False
    not_found: str = "InvalidParameter.TaskNotFound"
    app_not_found: str = "InvalidParameter.SdkAppIdNotFound"
    listed_as: tuple[str, ...] = ()
    user_key: str | None = None
    auto_stop_s: float | None = None
    source_key: str | None = None
    is_cn_only: bool = False
    cn_only_options: tuple[str, ...] = ()
    queued_s: float = 2.0
    duration_s: float = 10.0
    files_kept_s: float = 0.0
    record_kept_s: float = math.inf


@dataclass(frozen=True)
class Task:
    """One task.

    :param created: virtual UNIX seconds
    :param options: the parameters of its create action, checked
    :param pages: of its document, or the pictures of its snapshot
    :param queued_s: how long it has its first status, virtual seconds; else as its family
    :param duration_s: how long it lasts in all, virtual seconds; else as its family; infinite
        until it is stopped
    :param failure: the error with which it ends
    :param fields: by the API's names; they replace those of the answer once it has ended
    :param backup_id: the task that was started together with it
    :param recording: what its videos are made of
    :param is_started: whether a request created it, not a script
    """

    family: Family
    sdk_app_id: int
    task_id: str
    created: float
    options: Mapping[str, Any]
    pages: int = DEFAULT_PAGES
    queued_s: float | None = None
    duration_s: float | None = None
    failure: ApiFault | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    finish_reason: str = "AUTO"
    backup_id: str | None = None
    recording: Recording | None = None
    is_started: bool = False

    @property
    def family_name(self) -> str:
        """The name of its family."""
        return self.family.name

    @cached_property
    def started_at(self) -> float:
        """When its first status ends, virtual UNIX seconds."""
        seconds = self.family.queued_s if self.queued_s is None else self.queued_s
        return min(self.created + seconds, self._planned_end)

    @cached_property
    def ended_at(self) -> float:
        """When it ends, virtual UNIX seconds; infinite if nothing ends it."""
        # A task without an end of its own fails as soon as it is prepared.
        is_endless = math.isinf(self._planned_end)
        return self.started_at if is_endless and self.failure is not None else self._planned_end

    @cached_property
    def _planned_end(self) -> float:
        return self.created + (
            self.family.duration_s if self.duration_s is None else self.duration_s
        )

    def is_over(self, now: float) -> bool:
        """Whether it has ended at the virtual time ``now``, UNIX seconds."""
        return now >= self.ended_at

    def status(self, now: float) -> str:
        """Return the API's status at the virtual time ``now``."""
        if self.is_over(now):
            return self.family.statuses[-1]
        return self.family.statuses[0 if now < self.started_at else -2]

    def progress(self, now: float) -> int:
        """Return the progress at the virtual time ``now``, in percent."""
        if self.is_over(now):
            return 100
        if now < self.started_at:
            return 0
        return int(100 * (now - self.started_at) / (self.ended_at - self.started_at))

    @property
    def is_static(self) -> bool:
        """Whether its document becomes pictures."""
        is_slides = self.title.lower().endswith((".ppt", ".pptx"))
        return bool(self.options.get("IsStaticPPT")) or not is_slides

    @property
    def title(self) -> str:
        """The name of its document."""
        path = re.split("[?#]", self.options.get("Url", ""))[0]
        return unquote(path.rpartition("/")[2])

    @property
    def listed_as(self) -> str | None:
        """Its type in the running list."""
        types = self.family.listed_as
        return types[-1 if self.is_static else 0] if types else None

    @property
    def callback_url(self) -> str | None:
        """Its own callback address; ``None`` where the application has one for its family."""
        return None if self.family.callback else self.options.get("CallbackURL", "")

    def stop(self, now: float) -> Task:
        """Return it as it is after its stop action at the virtual time ``now``.

        :raises ApiFault: it has stopped already
        """
        if self.is_over(now):
            raise ApiFault(
                "UnsupportedOperation.TaskHasAlreadyStopped", "The task has already stopped."
            )
        return replace(self, duration_s=now - self.created, finish_reason="USER_CALL")

    def room_idle(self, now: float, idle: bool) -> Task:
        """Return it as it is after its room became silent, or active again."""
        if self.is_over(now):
            return self
        seconds = self.options.get("AutoStopTimeout", self.family.auto_stop_s)
        end = max(now, self.started_at) + seconds - self.created
        return replace(self, duration_s=end if idle else math.inf)

    def files_url(self, base_url: str) -> str:
        """Return the URL that leads to its files, with a slash at its end."""
        task = quote(self.task_id, safe="")
        return f"{base_url}/files/{self.family.name}/{self.sdk_app_id}/{task}/"

    def file(self, name: str, now: float) -> bytes | None:
        """Return the content of a file, if it exists at the virtual time ``now``."""
        kept = self.has_result(now) and now < self.ended_at + self.family.files_kept_s
        return self.files.get(name) if kept else None

    @cached_property
    def files(self) -> Mapping[str, bytes]:
        """Its files once it has succeeded, by their names."""
        return self.family.files(self)

    def has_result(self, now: float) -> bool:
        """Whether it has succeeded at the virtual time ``now``."""
        return self.is_over(now) and self.failure is None

    def answer(self, now: float, base_url: str) -> dict[str, Any]:
        """Return what Describe answers at the virtual time ``now``, without a RequestId.

        :param base_url: where the files are, e.g. ``http://127.0.0.1:8787``
        """
        answer = self.family.answer(self, now, self.files_url(base_url))
        return {**answer, **self.fields} if self.is_over(now) else answer

    def describe(self, now: float, base_url: str) -> dict[str, Any]:
        """Return the same; a task that failed raises its :class:`ApiFault`."""
        if self.failure is not None and self.is_over(now) and not self.family.fails_in_result:
            raise ApiFault(self.failure.code, self.failure.message)
        return self.answer(now, base_url)

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """The events that Tencent posts, in order."""
        start, end = self.started_at, self.ended_at
        # A task that ends in its first status has neither a start nor progress.
        began = [start] if start < end else []
        steps = [start + share * (end - start) for share in _PROGRESS_EVENTS for _ in began]
        moments = {STARTED: began, PROGRESS: steps, ENDED: [end]}
        return tuple(
            Event(kind.name, at)
            for kind in self.family.events
            for at in moments[kind.moment]
            if math.isfinite(at)
        )

    def event_data(self, event: Event, base_url: str) -> dict[str, Any]:
        """Return the ``EventData`` of the callback of ``event``."""
        keys = next(kind.keys for kind in self.family.events if kind.name == event.kind)
        answer = self.answer(event.at, base_url)
        data = {key: answer[key] for key in keys or answer}
        failure = None if self.family.fails_in_result else self.failure
        if failure is not None and self.is_over(event.at):
            data["Error"] = {"Code": failure.code, "Message": failure.message}
        return data

    def facts(self, now: float) -> dict[str, Any]:
        """Return its state at the virtual time ``now``, as JSON."""
        failed = self.failure is not None and self.is_over(now)
        later = [at for at in (self.started_at, self.ended_at) if now < at < math.inf]
        return {
            "family": self.family.name,
            "sdk_app_id": self.sdk_app_id,
            "task_id": self.task_id,
            "status": "FAILED" if failed else self.status(now),
            "progress": self.progress(now),
            "is_started": self.is_started,
            "created": self.created,
            "next_state_in_s": min(later) - now if later else None,
        }


AnyTask = Recording | Task
