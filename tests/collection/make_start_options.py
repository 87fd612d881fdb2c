# SPDX-License-Identifier: Apache-2.0
"""Write the collection's arguments and documentation of StartOnlineRecord from the core's table.

They are files, not made at run time: ansible-test and a Python without the core read them too.
A test fails when they differ from the core::

    python tests/collection/make_start_options.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tiw_automation.core.tasks.options import Option
from tiw_automation.core.tasks.start_options import PRESETS, START_OPTIONS

COLLECTION = Path(__file__).parents[2] / "collections/ansible_collections/tiw/automation"
ARGUMENTS = COLLECTION / "plugins/module_utils/_start.py"
FRAGMENT = COLLECTION / "plugins/doc_fragments/_start.py"

HEAD = """\
# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Made by tests/collection/make_start_options.py from the core's table; do not edit.
"""

ARGUMENTS_PAGE = '''\
{head}"""The options of a start.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import typing as t

# fmt: off
START_ARGUMENTS: dict[str, dict[str, t.Any]] = {arguments}
'''

FRAGMENT_PAGE = '''\
{head}"""The options of a start. PRIVATE to the collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
{documentation}"""
'''

PRESET = {
    "description": [
        "A named set of start options. An option that is also given overrides that of the set.",
        "V(whiteboard_only) records only the whiteboard, V(mixed_stream) adds one video that shows "
        "all streams, V(audio_files) adds an mp3 for each stream.",
    ],
    "type": "str",
    "choices": list(PRESETS),
}


def argument(option: Option) -> dict[str, Any]:
    """Return the argument_spec of an option."""
    spec: dict[str, Any] = {"type": option.type}
    if option.type == "list":
        spec["elements"] = "dict" if option.options else "str"
    if option.required:
        spec["required"] = True
    if option.choices:
        spec["choices"] = list(option.choices)
    if option.options:
        spec["options"] = {inner.name: argument(inner) for inner in option.options}
    return spec


def described(option: Option) -> dict[str, Any]:
    """Return the documentation of an option."""
    sentences = [option.description]
    if option.least is not None and option.most is not None:
        sentences.append(f"From {option.least} to {option.most}.")
    elif option.least is not None:
        sentences.append(f"At least {option.least}.")
    entry: dict[str, Any] = {"description": sentences, **argument(option)}
    if option.options:
        del entry["options"]
        entry["suboptions"] = {inner.name: described(inner) for inner in option.options}
    return entry


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def written(value: Any, depth: int = 0) -> str:
    """Return a value as Python: on one line where it fits, else an entry a line."""
    line = "True" if value is True else json.dumps(value).replace(": true", ": True")
    if not isinstance(value, dict) or (depth and 4 * depth + len(line) <= 80):
        return line
    entries = [
        f"{'    ' * (depth + 1)}{json.dumps(key)}: {written(item, depth + 1)},"
        for key, item in value.items()
    ]
    return "\n".join(["{", *entries, "    " * depth + "}"])


def pages(options: Iterable[Option] = START_OPTIONS) -> dict[Path, str]:
    """Return the content of the files."""
    arguments = {"preset": {"type": "str", "choices": list(PRESETS)}}
    arguments |= {option.name: argument(option) for option in options}
    entries = {"preset": PRESET, **{option.name: described(option) for option in options}}
    documentation = yaml.dump(
        {"options": entries}, Dumper=_Dumper, sort_keys=False, width=96, allow_unicode=True
    )
    spec = written(arguments)
    return {
        ARGUMENTS: ARGUMENTS_PAGE.format(head=HEAD, arguments=spec),
        FRAGMENT: FRAGMENT_PAGE.format(head=HEAD, documentation=documentation),
    }


def main() -> None:
    """Write the files."""
    for path, text in pages().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
