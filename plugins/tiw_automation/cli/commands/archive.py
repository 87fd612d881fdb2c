# SPDX-License-Identifier: Apache-2.0
"""``tiw archive``: copies of recordings in a folder or a bucket."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from tiw_automation.cli import exits
from tiw_automation.cli.account import account_options, new_client
from tiw_automation.cli.arguments import read_duration
from tiw_automation.cli.ids import ids_before_folder
from tiw_automation.cli.interrupts import Interrupted
from tiw_automation.cli.option_names import in_options
from tiw_automation.cli.output import (
    note,
    output_option,
    print_json,
    print_json_line,
    print_table,
)

if TYPE_CHECKING:
    from tiw_automation.core import Outcome, TiwClient, TiwError
    from tiw_automation.core.archive import (
        ArchivedVideo,
        DownloadStopped,
        PlannedVideo,
        RecordArchive,
    )

_KINDS = ("camera", "screen_share", "whiteboard", "mixed", "audio")


class _Mode(click.ParamType[int]):
    name = "MODE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            mode = int(value, 8)
        except ValueError:
            mode = -1
        if not 0 <= mode <= 0o777:
            self.fail(f"{value!r} is not a mode such as 640.", param, ctx)
        return mode


@click.command()
@click.option("--wait", "waits", is_flag=True, help="Wait until the recordings have ended.")
@click.option(
    "--timeout", callback=read_duration, metavar="DURATION", help="Of --wait: seconds, or 10m, 2h."
)
@click.option("--names", metavar="PATTERN", help="The videos' names.")
@click.option("--manifest", metavar="PATTERN", help="The manifests' names.")
@click.option("--video-kind", "video_kinds", multiple=True, help="Copy only this kind; repeatable.")
@click.option(
    "--host", "hosts", multiple=True, help="A host that videos may come from; repeatable."
)
@click.option("--max-bytes", type=click.IntRange(0), help="The most bytes of one video; 0: any.")
@click.option("--overwrite", is_flag=True, help="Replace files that are not known to be the video.")
@click.option(
    "--workers", type=click.IntRange(1), default=4, show_default=True, help="Copies at once."
)
@click.option("--file-mode", type=_Mode(), default="640", show_default=True, help="Of new files.")
@click.option(
    "--folder-mode", type=_Mode(), default="750", show_default=True, help="Of new folders."
)
@click.option("--dry-run", is_flag=True, help="Show what would be copied; copy nothing.")
@output_option("table", "json", "jsonl")
@account_options
@click.argument("task_ids", metavar="ID...", nargs=-1, callback=ids_before_folder)
@click.argument("folder", metavar="FOLDER")
@click.pass_context
def archive(
    ctx: click.Context,
    /,
    task_ids: list[str],
    folder: str,
    form: str,
    waits: bool,
    timeout: float | None,
    dry_run: bool,
    file_mode: int,
    folder_mode: int,
    **options: Any,
) -> None:
    """Copy the videos of recordings to a folder, or to a bucket by its URL (s3://...).

    Videos that are whole in the archive are not copied again, and interrupted copies are
    continued. Beside them, a manifest keeps sizes and SHA-256; tiw verify checks them.
    """
    from tiw_automation.core.archive import storage_for

    storage = storage_for(folder, file_mode=file_mode, folder_mode=folder_mode)
    client = new_client(ctx)
    run = _Run(client, storage, options)
    try:
        outcomes = asyncio.run(_outcomes(client, task_ids, waits, timeout))
    except KeyboardInterrupt as interrupt:
        raise interrupt from _interruption("no video was copied yet")
    result = _Result([one for one in outcomes if not _is_finished(one)])
    records = [one.record for one in outcomes if _is_finished(one)]
    for outcome in result.left_out:
        note(f"{outcome.task_id} is not archived: {in_options(outcome.message)}")
    if dry_run:
        plan = run.archive.plan(records)
        result.planned = [one for one in plan if one.error is None]
        result.failures = [(one.name, one.error) for one in plan if one.error is not None]
    elif records:
        run.copy(records, result)
    result.print(form)
    ctx.exit(result.exit_code)


def _is_finished(outcome: Outcome) -> bool:
    return outcome.verdict == "finished" and outcome.record is not None


async def _outcomes(
    client: TiwClient, task_ids: list[str], waits: bool, timeout: float | None
) -> list[Outcome]:
    """Return what is known of each recording; an exceptional end counts as an end.

    :raises TiwError: the API has never answered.
    """
    from tiw_automation.core import Acceptance, RecordWatcher
    from tiw_automation.core.waiting import FirstAnswer, first_answer_s, in_order

    watcher, any_end = RecordWatcher(client), Acceptance(any_reason=True)
    if not waits:
        return await in_order(watcher.describe(task_ids, acceptance=any_end), task_ids)
    first = FirstAnswer(first_answer_s(client.settings))
    outcomes: list[Outcome] = []

    def changed(outcome: Outcome) -> None:
        first.note(outcome)
        note(in_options(outcome.message))

    waiting = watcher.watch(task_ids, acceptance=any_end, timeout=timeout, on_change=changed)
    async with first:
        outcomes = await in_order(waiting, task_ids)
    if first.is_late and first.error is not None:
        raise first.error
    return outcomes


class _Run:
    """One archive, and how far it is.

    :param options: those of the command that are arguments of RecordArchive.
    """

    def __init__(self, client: TiwClient, storage: Any, options: dict[str, Any]) -> None:
        from tiw_automation.core.archive import DEFAULT_MAX_BYTES, RecordArchive

        patterns = {name: options[name] for name in ("names", "manifest") if options[name]}
        most = options["max_bytes"]
        self.archive: RecordArchive = RecordArchive(
            storage,
            **patterns,
            max_workers=options["workers"],
            video_kinds=options["video_kinds"] or None,
            overwrite=options["overwrite"],
            hosts=options["hosts"] or None,
            max_bytes=DEFAULT_MAX_BYTES if most is None else most or None,
            proxy=client.settings.proxy,
            ca_file=client.settings.ca_file,
            progress=self._progress,
        )
        self._done, self._videos = 0, 0
        self._show: Any = None

    def copy(self, records: Sequence[Any], result: _Result) -> None:
        """Copy what is missing, and note in ``result`` what became of each video."""
        from tiw_automation.cli.bars import copying_bars
        from tiw_automation.core.archive import ArchiveFailed, DownloadStopped

        planned = self.archive.plan(records)
        self._videos = len(planned)
        missing = sum(video.size_bytes or 0 for video in planned if not video.is_there)
        with _stopped_by_signals(self.archive) as interrupts:
            try:
                with copying_bars(missing) as self._show:
                    result.archived = self.archive.run(records)
            except ArchiveFailed as error:
                result.archived, result.failures = error.archived, error.failures
            except DownloadStopped:
                found = f"{self._done} of {self._videos} videos are whole"
                raise interrupts[0] from _interruption(found)

    def _progress(self, progress: Any) -> None:
        self._done = progress.videos_done - progress.videos_failed
        self._show(progress)


def _interruption(found: str) -> DownloadStopped:
    """Return what an interrupted command shows."""
    from tiw_automation.core.archive import DownloadStopped

    return DownloadStopped(
        f"Interrupted: {found}.",
        hint="The same command continues with the rest, also within a video.",
    )


@contextmanager
def _stopped_by_signals(archive: RecordArchive) -> Iterator[list[Interrupted]]:
    """Stop an archive at the first signal, which is then in the list; the second one raises."""
    caught: list[Interrupted] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, frame: FrameType | None) -> None:
        restore()
        caught.append(Interrupted(number))
        archive.stop()

    for number in before:
        signal.signal(number, stop)
    try:
        yield caught
    finally:
        restore()


class _Result:
    """What became of each video and recording."""

    def __init__(self, left_out: list[Outcome]) -> None:
        self.left_out = left_out
        self.archived: Sequence[ArchivedVideo] = ()
        self.failures: Sequence[tuple[str, TiwError]] = ()
        self.planned: Sequence[PlannedVideo] | None = None

    @property
    def exit_code(self) -> int:
        left_out = [exits.of_outcome(one) or exits.FAILED for one in self.left_out]
        return exits.worst([*left_out, *(exits.of_error(error) for _, error in self.failures)])

    def print(self, form: str) -> None:
        if form == "table":
            self._print_table()
        elif form == "jsonl":
            for video in self._videos():
                print_json_line(video)
        else:
            print_json(
                {
                    "videos": self._videos(),
                    "failures": [
                        {"name": name, "error": error.to_dict()} for name, error in self.failures
                    ],
                    "left_out": [one.to_dict() for one in self.left_out],
                }
            )
        if form != "json":
            for name, error in self.failures:
                note(f"{name}: {error}")

    def _print_table(self) -> None:
        from tiw_automation.core.formatting import amount

        rows = [
            (video["state"], amount(video["size_bytes"] or 0), video["path"])
            for video in self._videos()
        ]
        if rows:
            print_table(("STATE", "SIZE", "FILE"), rows)

    def _videos(self) -> list[dict[str, Any]]:
        if self.planned is not None:
            states = {True: "there", False: "would be copied"}
            return [_as_dict(video, states[video.is_there]) for video in self.planned]
        states = {True: "copied", False: "there"}
        return [_as_dict(video, states[video.copied]) for video in self.archived]


def _as_dict(video: Any, state: str) -> dict[str, Any]:
    return {
        "state": state,
        "task_id": video.task_id,
        "video_id": video.video.id,
        "name": video.name,
        "path": video.path,
        "size_bytes": video.size_bytes,
        "sha256": getattr(video, "sha256", None),
        "source_url": video.source_url,
    }
