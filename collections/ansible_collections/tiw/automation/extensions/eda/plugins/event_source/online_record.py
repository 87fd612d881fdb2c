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
    from tiw_automation.core.events import RecordFeed, to_event
    from tiw_automation.core.formatting import escaped
except ImportError as error:
    IMPORT_ERROR: ImportError | None = error
else:
    IMPORT_ERROR = None

DOCUMENTATION = r"""
---
short_description: Recordings of Tencent Cloud's Interactive Whiteboard, as they change and end.
description:
  - Watches recordings of Tencent Cloud's Interactive Whiteboard (TIW) and makes an event when one has
    ended, and if asked for also whenever one changes its state.
  - Which recordings is given, or found in the list of running tasks (C(DescribeRunningTasks)), which
    only the Chinese site has.
  - A fault on the way (network, throttling, an error of the server) ends nothing and loses nothing, it
    delays the recording that met it. A refusal that only a person can lift (keys, permissions) ends the
    source as long as the API has never answered; later it is an error in the log, and asked again
    every five minutes.
  - Every event is told at least once, and has the same C(event_id), in C(meta.uuid) as well, each time.
    A restart tells of the recordings in O(task_ids) anew, and goes on with the found ones where there is
    a O(state_file). A recording ends once, so the id of its end is the same whoever tells it.
  - An event has C(type) (V(finish) or V(transition)), C(event_id), C(sdk_app_id), C(task_id), C(status),
    C(verdict) (V(finished), V(failed), V(missing) or V(pending)), C(message) and C(record), the record as
    M(tiw.automation.online_record_info) returns it, without a query string in any URL.
  - Needs C(tiw-automation) in the Python that runs C(ansible-rulebook).
options:
  task_ids:
    description:
      - The ids of the recordings to watch, a list, one id, or a text with commas between several.
    type: list
    elements: str
  discover:
    description:
      - Whether to watch every recording that the list of running tasks names. One that begins and
        ends within one O(poll_interval) is never on it.
      - The international site has no such list, and refuses. Give O(task_ids) there, or let
        Tencent's callbacks tell, see the filter C(tiw.automation.online_record_callback).
    type: bool
    default: false
  emit:
    description:
      - What to make events of. V(finishes) are the ends of recordings, good ones, failed ones, and
        ids that do not exist; V(transitions) are those and each change of state before.
    type: str
    choices: [finishes, transitions]
    default: finishes
  poll_interval:
    description:
      - The least seconds between two requests for one recording, and between two for the list. With
        many recordings O(requests_per_second) makes it longer.
    type: float
    default: 10
  accept_finish_reasons:
    description:
      - The reasons for its end with which a finished recording counts as good. With any other its
        verdict is V(failed).
      - If it is not given, every reason but V(EXCEPTION) is good, also one that is not known here.
    type: list
    elements: str
  require_videos:
    description:
      - Whether a recording that has finished without a video counts as failed.
    type: bool
    default: true
  stop_when_done:
    description:
      - Whether the source ends, and with it the rulebook, once every recording that was given or
        found has ended. With O(discover) it ends at once where nothing runs.
    type: bool
    default: false
  state_file:
    description:
      - A file to keep the found recordings in that have not ended yet, so that a restart goes on with
        those that end meanwhile and are no longer listed.
      - With O(emit=transitions) it also holds how often each recording was in which state. Without it
        that is counted anew after a restart, so that a second pause may get the id of the first.
      - It holds ids and states, nothing secret, and belongs to one source alone.
      - A file that a full disk or a broken machine has left cut or empty is set aside, as
        C(.damaged), with a warning, and the source begins anew. Any other file that this source has
        not written is an error, and stays as it is.
    type: str
  secret_id:
    description:
      - The SecretId of a Tencent Cloud API key.
      - Id, key and token come whole from the first place that holds either half of the pair, the
        options first, then the environment variables E(TENCENTCLOUD_SECRET_ID),
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
      - A host, C(host:port) or C(http(s)://) URL to send the requests to instead of the host of the
        O(site). In the environment E(TIW_ENDPOINT).
    type: str
  allow_http:
    description:
      - Whether a C(http://) O(endpoint) may be another machine than this one, where the network in
        between is your own. What is sent and answered there can be read on the way.
      - In the environment E(TIW_ALLOW_HTTP).
    type: bool
  requests_per_second:
    description:
      - The pace of the requests, V(19) if not given.
    type: float
  timeout:
    description:
      - The hard deadline of one request in seconds, V(10) if not given.
    type: float
  ca_file:
    description:
      - The path of a bundle of CA certificates to trust.
    type: str
  proxy:
    description:
      - The URL of an HTTP proxy, such as V(http://proxy.example.com:3128).
    type: str
"""

EXAMPLES = r"""
- name: Whatever is recorded in an application of the Chinese site
  tiw.automation.online_record:
    discover: true
    site: cn
    sdk_app_id: 1400000001
    secret_id: "{{ secret_id }}"
    secret_key: "{{ secret_key }}"
    state_file: /var/lib/eda/tiw-recordings.json

- name: Every change of two recordings, until both have ended
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
    "Give task_ids instead of discover, or let Tencent's callbacks tell: the filter "
    "tiw.automation.online_record_callback."
)
# What ansible-rulebook itself hands to every source.
NOT_OURS = ("eda_feedback_queue",)
# A hundred thousand recordings with the longest ids.
LARGEST_STATE_BYTES = 32 * 2**20
# How every file that State has written begins.
BEGINNING = '{"found": ['


class State:
    """What a restart goes on with, in a file that outlives this process.

    :param path: the file, or None to keep it in this process alone.
    :raises ConfigurationError: the file cannot be read or written, or is another one.
    """

    def __init__(self, path: str | None) -> None:
        """Read what is there."""
        self._path = None if path is None else Path(path)
        self._found: dict[str, None] = {}
        # Of each recording the last state, and for which time it was in which.
        self._states: dict[str, tuple[str, dict[str, int]]] = {}
        if self._path is None:
            return
        try:
            # What a link points to is written, not the link.
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
        """The found recordings whose end was not told."""
        return list(self._found)

    def add(self, task_ids: Iterable[str]) -> None:
        """Keep found recordings."""
        new = [task_id for task_id in task_ids if task_id not in self._found]
        if new:
            self._found.update(dict.fromkeys(new))
            self._try_to_write()

    def time(self, task_id: str, status: str) -> int:
        """Return for which time a recording is in a state that it has just been seen in."""
        last, times = self._states.get(task_id, ("", {}))
        if last != status:
            times = {**times, status: times.get(status, 0) + 1}
            self._states[task_id] = (status, times)
        return times[status]

    def told(self, event: Mapping[str, Any]) -> None:
        """Keep that the rule engine has an event."""
        task_id = event["task_id"]
        if event["type"] == "finish":
            self._found.pop(task_id, None)
            self._states.pop(task_id, None)
        self._try_to_write()

    def _read(self, path: Path) -> None:
        """Take in the file; what is odd in it costs only itself.

        :raises ValueError: it is another file, which must not be written over.
        """
        text = _text(path)
        try:
            kept = json.loads(text) if text else {"found": [], "states": {}}
        except (ValueError, RecursionError):
            # What a crash leaves of a file is its beginning, or zeros.
            if not text.startswith((BEGINNING, "\0")):
                raise
            aside = path.with_name(f"{path.name}.damaged")
            path.replace(aside)
            logger.warning("The state_file %s is damaged. It was moved to %s.", path, aside)
            return
        if not _is_ours(kept):
            message = "it is not the file of an event source"
            raise ValueError(message)
        odd = 0
        for task_id in kept["found"]:
            try:
                self._found[check_task_id(task_id)] = None
            except ValueError:
                odd += 1
        for task_id, state in kept["states"].items():
            try:
                self._states[check_task_id(task_id)] = _state(state)
            except (ValueError, TypeError, AttributeError, OverflowError):
                odd += 1
        if odd:
            logger.warning("The state_file %s holds %d odd entries: they are left out.", path, odd)

    def _try_to_write(self) -> None:
        try:
            self._write()
        except OSError as error:
            logger.warning("What is watched cannot be kept in the state_file: %s", error)

    def _write(self) -> None:
        if self._path is None:
            return
        new = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        # One that a killed process has left, or that somebody else has put there.
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"found": list(self._found), "states": self._states}, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)


def _text(path: Path) -> str:
    """Return what a state file holds.

    :raises ValueError: it is not a file, or too large for one.
    """
    # A pipe would be waited for, and a device read for ever.
    if not path.is_file():
        message = "it is not a regular file"
        raise ValueError(message)
    with path.open("rb") as file:
        content = file.read(LARGEST_STATE_BYTES + 1)
    if len(content) > LARGEST_STATE_BYTES:
        message = f"it has more than {LARGEST_STATE_BYTES} bytes"
        raise ValueError(message)
    return content.decode("utf-8", "replace")


def _is_ours(kept: object) -> bool:
    """Return whether what a file holds is what a source has written, also a later version of it."""
    return (
        isinstance(kept, dict)
        and isinstance(kept.get("found"), list)
        and isinstance(kept.get("states"), dict)
    )


def _state(kept: object) -> tuple[str, dict[str, int]]:
    """Return a recording's last state, and for which time it was in which, from the file.

    :raises ValueError, TypeError, AttributeError, OverflowError: it is odd.
    """
    status, times = cast("Any", kept)
    known = {str(name): int(number) for name, number in times.items()}
    if not isinstance(status, str) or not all(0 < number < 2**31 for number in known.values()):
        message = "a status without a count"
        raise ValueError(message)
    return status, {status: 1, **known}


class RecordSource:
    """Turns the recordings of an application into events on a queue.

    :param queue: of the rule engine; full, it holds up nothing but itself.
    :param args: the options of the source.
    :raises ConfigurationError: an option makes no sense; nothing was sent.
    """

    def __init__(self, queue: asyncio.Queue[Any], args: Mapping[str, Any]) -> None:
        """Check the options."""
        if not isinstance(args, dict):
            # Not repeated: a secret may be among them.
            message = f"The options have to be a mapping, not a {type(args).__name__}."
            raise ConfigurationError(message, hint="Write each as name: value.")
        given = {name: value for name, value in args.items() if name not in NOT_OURS}
        options = read_options(given, {**OWN_OPTIONS, **SETTINGS})
        self._queue = queue
        self._settings = {name: options[name] for name in SETTINGS if name in options}
        # What is empty here is a list that came out empty, which is a mistake.
        # As it was given: a text may hold several.
        given_ids = check_task_ids(given["task_ids"]) if "task_ids" in options else []
        self._given = dict.fromkeys(given_ids)
        self._discover: bool = options.get("discover", False)
        if not self._given and not self._discover:
            message = "It is not said which recordings to watch."
            hint = "Give their task_ids, or set discover to true (on the Chinese site)."
            raise ConfigurationError(message, hint=hint)
        emit = options.get("emit", EMIT[0])
        if emit not in EMIT:
            message = f"emit: {emit!r} is nothing to make events of."
            raise ConfigurationError(message, hint=f"Use one of {', '.join(EMIT)}.")
        self._transitions = emit == "transitions"
        self._poll_interval: float = options.get("poll_interval", DEFAULT_POLL_INTERVAL_S)
        if self._poll_interval <= 0:
            message = f"poll_interval has to be above zero, not {self._poll_interval:g}."
            hint = f"It is in seconds; the default is {DEFAULT_POLL_INTERVAL_S:g}."
            raise ConfigurationError(message, hint=hint)
        # As they were given: a text may hold several.
        reasons = given["accept_finish_reasons"] if "accept_finish_reasons" in options else None
        self._acceptance = Acceptance.of(reasons, options.get("require_videos", True))
        self._stop_when_done: bool = options.get("stop_when_done", False)
        self._state_file: str | None = options.get("state_file")
        self._outbox: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._last: dict[str, str] = {}
        # Those whose end waits for room in the rule engine.
        self._ending: set[str] = set()
        self._state = State(None)
        # Ids of the list that are not ids, each named once.
        self._odd: set[str] = set()

    async def run(self) -> None:
        """Put events on the queue until there can be none any more, or for ever."""
        await self._check()
        self._state = await asyncio.to_thread(State, self._state_file)
        feed = RecordFeed(
            self._connect,
            sdk_app_id=self._settings.get("sdk_app_id"),
            poll_interval=self._poll_interval,
            discover=self._discover,
            other_ways=OTHER_WAYS,
            acceptance=self._acceptance,
            on_change=self._changed,
            on_end=self._ended,
        )
        watching = asyncio.create_task(self._watch(feed))
        watching.add_done_callback(lambda _: self._outbox.put_nowait(None))
        try:
            while (event := await self._outbox.get()) is not None:
                told = {name: event[name] for name in ("task_id", "type")}
                await self._queue.put(event)
                # Not before: until the rule engine has it, a restart tells it again.
                self._state.told(told)
                if told["type"] == "finish":
                    self._ending.discard(told["task_id"])
            watching.result()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _check(self) -> None:
        """Find out what is wrong with the settings before anything is waited for."""
        with await self._connect() as client:
            client.sdk_app_id()
            if self._discover:
                try:
                    check_lists_running(client.settings.host)
                except ValueError as error:
                    raise self._refused(error) from None

    async def _watch(self, feed: RecordFeed) -> None:
        changes = feed.changes()
        async with contextlib.aclosing(changes):
            async for _nothing in changes:
                self._raise_if_hopeless(feed)
                self._odd &= feed.running
                new = [i for i in feed.running if self._is_id(i) and feed.end(i) is None]
                self._state.add(new)
                wanted = [*self._given, *self._state.found, *new]
                # The feed forgets in time what has ended, and would ask for it once more.
                feed.follow([i for i in wanted if i not in self._ending])
                for task_id in [i for i in self._last if i not in feed.waiting]:
                    del self._last[task_id]
                known = feed.listed or not self._discover
                if self._stop_when_done and known and not feed.waiting:
                    return

    def _is_id(self, task_id: str) -> bool:
        """Return whether what the list names may go into an event.

        A rule may pass it on as a variable, which Ansible takes for a template.
        """
        try:
            check_task_id(task_id)
        except ValueError as error:
            if task_id not in self._odd:
                self._odd.add(task_id)
                logger.warning("In the list of running tasks, which is not followed: %s", error)
            return False
        return True

    def _raise_if_hopeless(self, feed: RecordFeed) -> None:
        """Raise what nobody but a person can lift, unless it has worked before."""
        refusal = feed.refusal
        if isinstance(refusal, RunningListUnavailable):
            raise self._refused(refusal)
        if refusal is not None and not feed.answered:
            raise refusal

    def _refused(self, error: Exception) -> Exception:
        return RunningListUnavailable(getattr(error, "message", str(error)), hint=OTHER_WAYS)

    async def _connect(self) -> TiwClient:
        # Reads files, and may ask for temporary keys.
        return await asyncio.to_thread(TiwClient, **self._settings)

    def _changed(self, outcome: Outcome) -> None:
        # A fault on the way is in the log, and is no change of the recording.
        if self._transitions and outcome.verdict == "pending" and outcome.error is None:
            status = outcome.record.status if outcome.record else None
            if status:
                self._tell(outcome, self._state.time(outcome.task_id, status))

    def _ended(self, outcome: Outcome) -> None:
        self._given.pop(outcome.task_id, None)
        self._ending.add(outcome.task_id)
        self._tell(outcome, 1)

    def _tell(self, outcome: Outcome, time: int) -> None:
        event = to_event(outcome, time=time)
        if self._last.get(outcome.task_id) == event["event_id"]:
            return
        self._last[outcome.task_id] = event["event_id"]
        event["meta"] = {"uuid": event["event_id"]}
        self._outbox.put_nowait(event)


def check_core() -> None:
    """See that the core is there.

    :raises RuntimeError: it is not; the message names the command that mends that.
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
