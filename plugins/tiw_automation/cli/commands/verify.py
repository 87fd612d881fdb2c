# SPDX-License-Identifier: Apache-2.0
"""``tiw verify``: whether the copies in an archive are whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from tiw_automation.cli import exits
from tiw_automation.cli.account import verbose_option
from tiw_automation.cli.output import (
    note,
    output_option,
    print_json,
    print_json_line,
    print_table,
)

if TYPE_CHECKING:
    from tiw_automation.core.archive import Finding

_STATES = ("whole", "missing", "cut", "changed", "unreadable", "incomplete", "unlisted")


@click.command()
@click.option("--quick", is_flag=True, help="Compare sizes only; do not read the files.")
@click.option("--all", "show_all", is_flag=True, help="Also show the files that are whole.")
@click.option("--manifest", metavar="PATTERN", help="The manifests' names, as for tiw archive.")
@output_option("table", "json", "jsonl")
@verbose_option
@click.argument("folder", metavar="FOLDER")
@click.pass_context
def verify(
    ctx: click.Context, form: str, quick: bool, show_all: bool, manifest: str | None, folder: str
) -> None:
    """Check the copies in a folder or a bucket against their manifests.

    Sizes and SHA-256 are compared. The exit code is 1 where a file is missing, cut, changed or
    unreadable. A file that no manifest names, and a copy that has not ended, are shown.
    """
    checked = _Checked(folder, quick, manifest)
    try:
        if form == "table":
            findings = list(checked)
            rows = [one for one in findings if show_all or one.state != "whole"]
            if rows:
                columns = ("STATE", "FILE", "FOUND")
                print_table(columns, [(one.state, one.path, one.message or "") for one in rows])
        elif form == "jsonl":
            for one in checked:
                print_json_line(_as_dict(one))
        else:
            found = [_as_dict(one) for one in checked]
            print_json({"counts": checked.counts, "findings": found})
    except KeyboardInterrupt:
        note(f"Interrupted; so far: {checked.summary()}.")
        raise
    if not checked.total:
        note(f"{folder} holds no archive: there is neither a manifest nor a file.")
        ctx.exit(exits.FAILED)
    note(f"{checked.summary()}.")
    ctx.exit(exits.FAILED if checked.is_bad else exits.FINISHED)


class _Checked:
    """The findings of a check, and how many there are of each state."""

    def __init__(self, folder: str, quick: bool, manifest: str | None) -> None:
        self._folder = folder
        self._quick = quick
        self._manifest = manifest
        self._found: Counter[str] = Counter()
        self.is_bad = False

    def __iter__(self) -> Iterator[Finding]:
        from tiw_automation.cli.bars import reading_bar
        from tiw_automation.core.archive import DEFAULT_MANIFEST, storage_for, verify

        with reading_bar() as read:
            for finding in verify(
                storage_for(self._folder),
                manifest=self._manifest or DEFAULT_MANIFEST,
                contents=not self._quick,
                progress=read,
            ):
                self._found[finding.state] += 1
                self.is_bad = self.is_bad or finding.is_bad
                yield finding

    @property
    def total(self) -> int:
        return sum(self._found.values())

    @property
    def counts(self) -> dict[str, int]:
        """How many files have each state; every state is there."""
        return {state: self._found[state] for state in _STATES}

    def summary(self) -> str:
        counted = [f"{count} {state}" for state, count in self.counts.items() if count]
        how = "sizes only" if self._quick else "sizes and SHA-256"
        return f"{', '.join(counted) or 'nothing checked'} ({how})"


def _as_dict(finding: Finding) -> dict[str, Any]:
    names = ("name", "path", "task_id", "state", "message", "size_bytes")
    return {name: getattr(finding, name) for name in names}
