# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An event source for ansible-rulebook: recordings of the Interactive Whiteboard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tiw_automation.core import Outcome

try:
    from tiw_automation.core import (
        Acceptance,
        ConfigurationError,
        TiwClient,
        check_task_id,
        check_task_ids,
    )
    from tiw_automation.core.api import (
        SETTINGS,
        RunningListUnavailable,
        check_lists_running,
        read_options,
    )
    from tiw_automation.core.checks import did_you_mean
    from tiw_automation.core.events import RecordFeed, to_event
    from tiw_automation.core.formatting import escaped
except ImportError as error:
    IMPORT_ERROR: ImportError | None = error
else:
    IMPORT_ERROR = None

DOCUMENTATION = r"""
---
short_description: Make events of recordings of Tencent Cloud's Interactive Whiteboard.
description:
  - Watches recordings of Tencent Cloud's Interactive Whiteboard (TIW). It makes an event of each end, and
    with O(emit=transitions) of each change of state.
  - The recordings are given, or found in the list of running tasks (C(DescribeRunningTasks)), which only
    the Chinese site has.
  - A passing fault (network, throttling, an error of the server) loses no event. It delays the recording
    that it concerns. A refusal that only a person can correct (keys, permissions) ends the source if the
    API has never answered; later it is an error in the log, and the request is repeated every five minutes.
  - Every event is published at least once, each time with the same C(event_id), which is also in
    C(meta.uuid). A restart publishes the recordings in O(task_ids) again, and continues with the found ones
    if there is a O(state_file). The id of the end of a recording is the same in the source and the filter.
  - An event has C(type) (V(finish) or V(transition)), C(event_id), C(sdk_app_id), C(task_id), C(status),
    C(verdict) (V(finished), V(failed), V(missing) or V(pending)), C(message) and C(record). The record has
    the form that M(tiw.automation.online_record_info) returns, with no query string in a URL.
  - Needs C(tiw-automation) in the Python that runs C(ansible-rulebook).
options:
  task_ids:
    description:
      - The ids of the recordings to watch, as a list, one id, or a text of ids with commas between them.
    type: list
    elements: str
  discover:
    description:
      - Whether to watch every recording in the list of running tasks. A recording that begins and
        ends within one O(poll_interval) may be missed.
      - The international site has no such list, so this is an error there. Give O(task_ids), or use
        Tencent's callbacks, see the filter C(tiw.automation.online_record_callback).
    type: bool
    default: false
  emit:
    description:
      - The events to make. V(finishes) are the ends of recordings, which may have finished, failed
        or not exist; V(transitions) are also all changes of state before the end.
    type: str
    choices: [finishes, transitions]
    default: finishes
  poll_interval:
    description:
      - The least number of seconds between two requests for one recording, and between two for the
        list. With many recordings O(requests_per_second) increases it.
    type: float
    default: 10
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
  stop_when_done:
    description:
      - Whether the source, and with it the rulebook, ends when every given or found recording has
        ended. With O(discover) it ends at once if no recording runs.
    type: bool
    default: false
  state_file:
    description:
      - A file for the found recordings that have not ended. A restart continues with them, also if
        they have ended meanwhile and left the list.
      - With O(emit=transitions) it also holds how often each recording was in which state. Without the
        file a restart counts from zero, so a second pause may get the event id of the first.
      - It holds ids and states, no secrets. Only one source may use it.
      - A damaged file, such as a full disk or a crash leaves, is renamed to C(.damaged) with a warning,
        and the source begins with an empty state. Any other file that no source has written is an
        error and stays unchanged.
    type: str
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
      - The SdkAppId of the application that the recordings belong to. In the environment
        E(TIW_SDK_APP_ID).
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
- name: All recordings of an application on the Chinese site
  tiw.automation.online_record:
    discover: true
    site: cn
    sdk_app_id: 1400000001
    secret_id: "{{ secret_id }}"
    secret_key: "{{ secret_key }}"
    state_file: /var/lib/eda/tiw-recordings.json

- name: Every change of state of two recordings, until both have ended
  tiw.automation.online_record:
    task_ids:
      - ghucnligqtgtvk2624mb
      - ghucnligqtgtvk2624mc
    emit: transitions
    stop_when_done: true
"""

logger = logging.getLogger("tiw.automation.online_record")

CORE = "tiw-automation>=0.2.0"
OWN_OPTIONS: dict[str, type] = {
    "task_ids": list,
    "discover": bool,
    "emit": str,
    "poll_interval": float,
    "accept_finish_reasons": list,
    "require_videos": bool,
    "stop_when_done": bool,
    "state_file": str,
}
EMIT = ("finishes", "transitions")
DEFAULT_POLL_INTERVAL_S = 10.0
OTHER_WAYS = (
    "Give task_ids instead of discover, or use Tencent's callbacks: the filter "
    "tiw.automation.online_record_callback."
)
# ansible-rulebook itself passes these to every source.
NOT_OURS = ("eda_feedback_queue",)
# Enough for a hundred thousand recordings with the longest ids.
LARGEST_STATE_BYTES = 32 * 2**20
# Every file that StateFile has written begins so.
BEGINNING = '{"found": ['


class StateFile:
    """What a restart needs, in a file that outlives this process.

    :param path: the file, or None to keep the state in this process alone.
    :raises ConfigurationError: the file cannot be read or written, or is not a state file.
    """

    def __init__(self, path: str | None) -> None:
        """Read the file."""
        self._path = None if path is None else Path(path)
        self._found: dict[str, None] = {}
        # Each recording's latest status, and how often it was in which.
        self._states: dict[str, tuple[str, dict[str, int]]] = {}
        if self._path is None:
            return
        try:
            # The target of a link is written, not the link.
            self._path = self._path.expanduser().resolve()
            if self._path.exists():
                self._read(self._path)
            self._write()
        except (OSError, RuntimeError, ValueError) as error:
            message = f"state_file: {str(self._path)!r} cannot be used ({escaped(error)})."
            hint = "Give a file that this user may write, or one that this source has written."
            raise ConfigurationError(message, hint=hint) from None

    @property
    def found(self) -> list[str]:
        """The found recordings whose end is not delivered yet."""
        return list(self._found)

    def add(self, task_ids: Iterable[str]) -> None:
        """Add found recordings."""
        new = [task_id for task_id in task_ids if task_id not in self._found]
        if new:
            self._found.update(dict.fromkeys(new))
            self._try_to_write()

    def count(self, task_id: str, status: str) -> int:
        """Return how often a recording was in a status that it has now, this time included."""
        latest, times = self._states.get(task_id, ("", {}))
        if latest != status:
            times = {**times, status: times.get(status, 0) + 1}
            self._states[task_id] = (status, times)
        return times[status]

    def delivered(self, event: Mapping[str, Any]) -> None:
        """Note that the rule engine has an event."""
        if event["type"] == "finish":
            self._found.pop(event["task_id"], None)
            self._states.pop(event["task_id"], None)
        self._try_to_write()

    def _read(self, path: Path) -> None:
        """Read the file. A damaged file is moved away, and an odd entry is left out.

        :raises ValueError: it is another file, which must not be overwritten.
        """
        text = _text(path)
        try:
            kept = json.loads(text) if text else {"found": [], "states": {}}
        except (ValueError, RecursionError):
            # A crash leaves the beginning of a file, or zeros.
            if not text.startswith((BEGINNING, "\0")):
                raise
            damaged = path.with_name(f"{path.name}.damaged")
            path.replace(damaged)
            logger.warning("The state_file %s is damaged. It was moved to %s.", path, damaged)
            return
        if not _is_state(kept):
            message = "it is not the file of an event source"
            raise ValueError(message)
        self._found = dict.fromkeys(filter(_is_task_id, kept["found"]))
        states = {i: _status_counts(entry) for i, entry in kept["states"].items() if _is_task_id(i)}
        self._states = {task_id: entry for task_id, entry in states.items() if entry is not None}
        odd = len(kept["found"]) - len(self._found) + len(kept["states"]) - len(self._states)
        if odd:
            logger.warning("The state_file %s holds %d odd entries: they are left out.", path, odd)

    def _try_to_write(self) -> None:
        try:
            self._write()
        except OSError as error:
            logger.warning("The state_file cannot be written: %s", error)

    def _write(self) -> None:
        if self._path is None:
            return
        new = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        # A killed process or another user may have left one.
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"found": list(self._found), "states": self._states}, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)


def _text(path: Path) -> str:
    """Return the content of a state file.

    :raises ValueError: it is not a regular file, or too large.
    """
    # To read a pipe or a device may never end.
    if not path.is_file():
        message = "it is not a regular file"
        raise ValueError(message)
    with path.open("rb") as file:
        content = file.read(LARGEST_STATE_BYTES + 1)
    if len(content) > LARGEST_STATE_BYTES:
        message = f"it has more than {LARGEST_STATE_BYTES} bytes"
        raise ValueError(message)
    return content.decode("utf-8", "replace")


def _is_state(kept: object) -> bool:
    """Return whether a source wrote this, also a later version of it."""
    return (
        isinstance(kept, dict)
        and isinstance(kept.get("found"), list)
        and isinstance(kept.get("states"), dict)
    )


def _is_task_id(value: object) -> bool:
    try:
        check_task_id(value)
    except ValueError:
        return False
    return True


def _status_counts(kept: object) -> tuple[str, dict[str, int]] | None:
    """Return a recording's latest status and how often it was in which; None if that is odd."""
    try:
        status, times = cast("Any", kept)
        counts = {str(name): int(number) for name, number in times.items()}
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None
    if not isinstance(status, str) or not all(0 < number < 2**31 for number in counts.values()):
        return None
    return status, {status: 1, **counts}


class Options:
    """The options of the source, checked.

    :raises ConfigurationError: an option is invalid; nothing was sent.
    """

    def __init__(self, args: object) -> None:
        """Read the options."""
        if not isinstance(args, dict):
            # The message does not repeat it: it may hold a secret.
            message = f"The options must be a mapping, not a {type(args).__name__}."
            raise ConfigurationError(message, hint="Write each as name: value.")
        given = {name: value for name, value in args.items() if name not in NOT_OURS}
        options = read_options(given, {**OWN_OPTIONS, **SETTINGS})
        self.settings = {name: options[name] for name in SETTINGS if name in options}
        # These two are read as given: a text may hold several.
        self.task_ids = check_task_ids(given["task_ids"]) if "task_ids" in options else []
        reasons = given["accept_finish_reasons"] if "accept_finish_reasons" in options else None
        self.acceptance = Acceptance.of(reasons, options.get("require_videos", True))
        self.discover: bool = options.get("discover", False)
        self.emit: str = options.get("emit", EMIT[0])
        self.poll_interval: float = options.get("poll_interval", DEFAULT_POLL_INTERVAL_S)
        self.stop_when_done: bool = options.get("stop_when_done", False)
        self.state_file: str | None = options.get("state_file")
        self._check()

    def _check(self) -> None:
        if not self.task_ids and not self.discover:
            message = "There is no recording to watch: task_ids is empty and discover is false."
            hint = "Give task_ids, or set discover to true (on the Chinese site)."
            raise ConfigurationError(message, hint=hint)
        if self.emit not in EMIT:
            message = f"emit is invalid: {self.emit!r}.{did_you_mean(self.emit, EMIT)}"
            raise ConfigurationError(message, hint=f"Use one of {', '.join(EMIT)}.")
        if self.poll_interval <= 0:
            message = f"poll_interval must be above zero, not {self.poll_interval:g}."
            hint = f"It is in seconds; the default is {DEFAULT_POLL_INTERVAL_S:g}."
            raise ConfigurationError(message, hint=hint)


class RecordSource:
    """Makes events of the recordings of an application and puts them on a queue.

    :param queue: the queue of the rule engine; while it is full, events wait here and the API is
        still asked.
    :param args: the options of the source.
    :raises ConfigurationError: an option is invalid; nothing was sent.
    """

    def __init__(self, queue: asyncio.Queue[Any], args: Mapping[str, Any]) -> None:
        """Check the options."""
        self._options = Options(args)
        self._given = dict.fromkeys(self._options.task_ids)
        self._queue = queue
        self._outbox: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        # The id of each recording's latest event.
        self._latest: dict[str, str] = {}
        # The recordings whose end is not in the rule engine's queue yet.
        self._ending: set[str] = set()
        self._state = StateFile(None)
        # Invalid ids in the list of running tasks: each is logged once.
        self._odd: set[str] = set()

    async def run(self) -> None:
        """Put events on the queue until there can be no more, or without end."""
        await self._check()
        self._state = await asyncio.to_thread(StateFile, self._options.state_file)
        feed = RecordFeed(
            self._connect,
            sdk_app_id=self._options.settings.get("sdk_app_id"),
            poll_interval=self._options.poll_interval,
            discover=self._options.discover,
            other_ways=OTHER_WAYS,
            acceptance=self._options.acceptance,
            on_change=self._changed,
            on_end=self._ended,
        )
        watching = asyncio.create_task(self._watch(feed))
        watching.add_done_callback(lambda _: self._outbox.put_nowait(None))
        try:
            while (event := await self._outbox.get()) is not None:
                await self._deliver(event)
            watching.result()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _deliver(self, event: dict[str, Any]) -> None:
        # Rules may change the event once it is on the queue.
        delivered = {name: event[name] for name in ("task_id", "type")}
        await self._queue.put(event)
        # Not earlier: a restart repeats an event that the rule engine does not have.
        self._state.delivered(delivered)
        if delivered["type"] == "finish":
            self._ending.discard(delivered["task_id"])

    async def _check(self) -> None:
        """Report invalid settings before the first request."""
        with await self._connect() as client:
            client.sdk_app_id()
            if self._options.discover:
                try:
                    check_lists_running(client.settings.host)
                except ValueError as error:
                    raise self._refused(error) from None

    async def _watch(self, feed: RecordFeed) -> None:
        changes = feed.changes()
        async with contextlib.aclosing(changes):
            async for _nothing in changes:
                self._raise_if_refused(feed)
                self._follow(feed)
                for task_id in [i for i in self._latest if i not in feed.waiting]:
                    del self._latest[task_id]
                is_listed = feed.listed or not self._options.discover
                if self._options.stop_when_done and is_listed and not feed.waiting:
                    return

    def _follow(self, feed: RecordFeed) -> None:
        """Let the feed watch the recordings that were given or found and have not ended."""
        self._odd &= feed.running
        new = [i for i in feed.running if self._is_valid(i) and feed.end(i) is None]
        self._state.add(new)
        wanted = [*self._given, *self._state.found, *new]
        # In time the feed forgets what has ended, and would ask for it once more.
        feed.follow([i for i in wanted if i not in self._ending])

    def _is_valid(self, task_id: str) -> bool:
        """Return whether an id of the list may be in an event.

        A rule may pass it on as a variable, and Ansible treats variables as templates.
        """
        try:
            check_task_id(task_id)
        except ValueError as error:
            if task_id not in self._odd:
                self._odd.add(task_id)
                logger.warning("An entry of the list of running tasks is ignored: %s", error)
            return False
        return True

    def _raise_if_refused(self, feed: RecordFeed) -> None:
        """Raise a refusal that only a person can mend, unless the API has answered before."""
        refusal = feed.refusal
        if isinstance(refusal, RunningListUnavailable):
            raise self._refused(refusal)
        if refusal is not None and not feed.answered:
            raise refusal

    def _refused(self, error: Exception) -> Exception:
        return RunningListUnavailable(getattr(error, "message", str(error)), hint=OTHER_WAYS)

    async def _connect(self) -> TiwClient:
        # It reads files, and may request temporary keys.
        return await asyncio.to_thread(TiwClient, **self._options.settings)

    def _changed(self, outcome: Outcome) -> None:
        # An error on the way is logged; it is not a change of the recording.
        is_wanted = self._options.emit == "transitions" and outcome.verdict == "pending"
        if is_wanted and outcome.error is None and outcome.record and outcome.record.status:
            self._publish(outcome, self._state.count(outcome.task_id, outcome.record.status))

    def _ended(self, outcome: Outcome) -> None:
        self._given.pop(outcome.task_id, None)
        self._ending.add(outcome.task_id)
        self._publish(outcome, 1)

    def _publish(self, outcome: Outcome, time: int) -> None:
        event = to_event(outcome, time=time)
        if self._latest.get(outcome.task_id) == event["event_id"]:
            return
        self._latest[outcome.task_id] = event["event_id"]
        event["meta"] = {"uuid": event["event_id"]}
        self._outbox.put_nowait(event)


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


async def main(queue: asyncio.Queue[Any], args: dict[str, Any]) -> None:
    """Make events of recordings."""
    check_core()
    await RecordSource(queue, args).run()


if __name__ == "__main__":
    # python online_record.py '{"task_ids": ["ghucnligqtgtvk2624mb"], "stop_when_done": true}'

    class Printer(asyncio.Queue[Any]):
        """A queue that prints each event as a line of JSON."""

        async def put(self, item: dict[str, Any]) -> None:
            """Print the event."""
            sys.stdout.write(json.dumps(item) + "\n")
            sys.stdout.flush()

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        asyncio.run(main(Printer(), json.loads(sys.argv[1] if sys.argv[1:] else "{}")))
    except KeyboardInterrupt:
        sys.exit(130)
    except (RuntimeError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
