# SPDX-License-Identifier: Apache-2.0
"""Write the collection's arguments and documentation of the kinds of tasks from the core's table.

The options of all kinds are one set, because a module has one set of arguments; the core refuses
an option of another kind. They are files for the same reasons as those of a start, see
make_start_options.py. A test fails when they differ from the core::

    python tests/collection/make_task_options.py
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tiw_automation.core import TASK_KINDS, TaskKind
from tiw_automation.core.tasks.options import Option

_SPEC = importlib.util.spec_from_file_location(
    "make_start_options", Path(__file__).with_name("make_start_options.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
start = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(start)

ARGUMENTS = start.COLLECTION / "plugins/module_utils/_task_options.py"
FRAGMENT = start.COLLECTION / "plugins/doc_fragments/_task_options.py"
HEAD = start.HEAD.replace("make_start_options", "make_task_options")

ARGUMENTS_PAGE = '''\
{head}"""The kinds of tasks, and the options of all kinds but recordings.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import typing as t

# fmt: off
TASK_KIND: dict[str, t.Any] = {kind}

CREATED_KIND: dict[str, t.Any] = {created}

TASK_OPTIONS: dict[str, dict[str, t.Any]] = {options}
'''

FRAGMENT_PAGE = '''\
{head}"""The kinds of tasks and their options. PRIVATE to the collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
{created}"""

    INFO = r"""
{info}"""
'''

Owned = dict[str, Option]
"""The options of one name, by the kinds that have it."""

# A recording has a module of its own.
KINDS = [kind for kind in TASK_KINDS.values() if kind.name != "online_record"]


def merged(owners: Mapping[str, Iterable[Option]]) -> dict[str, Owned]:
    """Return the options of several kinds by their name."""
    found: dict[str, Owned] = {}
    for kind, options in owners.items():
        for option in options:
            found.setdefault(option.name, {})[kind] = option
    return found


def same(owned: Owned, attribute: str) -> Any:
    """Return an attribute of an option where all kinds agree on it, else None."""
    first, *others = (getattr(option, attribute) for option in owned.values())
    return first if all(other == first for other in others) else None


def argument(owned: Owned, kinds: int) -> dict[str, Any]:
    """Return the argument_spec of an option.

    :param kinds: how many kinds have the options beside it.
    """
    kind_of_value = same(owned, "type")
    assert kind_of_value, f"{owned} has several types"
    spec: dict[str, Any] = {"type": kind_of_value}
    inner = inner_of(owned)
    if kind_of_value == "list":
        spec["elements"] = "dict" if inner else same(owned, "items")
    if len(owned) == kinds and same(owned, "required"):
        spec["required"] = True
    if same(owned, "choices"):
        spec["choices"] = list(same(owned, "choices"))
    if any(option.secret for option in owned.values()):
        spec["no_log"] = True
    if inner:
        spec["options"] = {name: argument(one, len(owned)) for name, one in inner.items()}
    return spec


def inner_of(owned: Owned) -> dict[str, Owned]:
    return merged({kind: option.options for kind, option in owned.items()})


def described(owned: Owned, kinds: int) -> dict[str, Any]:
    """Return the documentation of an option."""
    entry: dict[str, Any] = {"description": sentences(owned, kinds), **argument(owned, kinds)}
    entry.pop("no_log", None)
    if "options" in entry:
        del entry["options"]
        entry["suboptions"] = {n: described(one, len(owned)) for n, one in inner_of(owned).items()}
    return entry


def sentences(owned: Owned, kinds: int) -> list[str]:
    """Return what an option means; with its kinds where not all have it, or it differs."""
    meanings: dict[str, list[str]] = {}
    for kind, option in owned.items():
        meanings.setdefault(meaning(kind, option), []).append(kind)
    if len(owned) == kinds and len(meanings) == 1:
        return list(meanings)
    return [f"{named(having)} - {text}" for text, having in meanings.items()]


def meaning(kind: str, option: Option) -> str:
    found = [option.description]
    if option.least is not None and option.most is not None and "1 to 4294967295" not in found[0]:
        found.append(f"From {option.least} to {option.most}.")
    elif option.least is not None and option.most is None:
        found.append(f"At least {option.least}.")
    user = TASK_KINDS[kind].user
    # Compared as objects: the backup has options of the same names.
    own = {id(one): one.name for one in TASK_KINDS[kind].options}.get(id(option))
    if user and own == user.id_option:
        found.append("One is made up by default.")
    elif user and own == user.sig_option:
        found.append("Exactly one of this and O(user_sig_key) is required.")
    elif option.required:
        found.append("Required.")
    if option.cn_only:
        found.append("Only on the Chinese site.")
    return " ".join(found)


def named(kinds: Iterable[str]) -> str:
    return ", ".join(f"V({kind})" for kind in kinds)


def about(kind: TaskKind) -> str:
    """Return a sentence about a kind for the documentation of task_kind."""
    states = ", ".join(f"V({state})" for state in kind.state_names)
    site = " Only the Chinese site has it." if kind.cn_only else ""
    return f"V({kind.name}) is a task of C({kind.create_action}); its states are {states}.{site}"


def documentation(entries: Mapping[str, Any]) -> str:
    """Return options as YAML."""
    text: str = yaml.dump(
        {"options": dict(entries)},
        Dumper=start._Dumper,
        sort_keys=False,
        width=96,
        allow_unicode=True,
    )
    return text


def pages(kinds: Iterable[TaskKind] = KINDS) -> dict[Path, str]:
    """Return the content of the files."""
    kinds = list(kinds)
    options = merged({kind.name: kind.options for kind in kinds})
    names = {
        True: [kind.name for kind in kinds],
        False: [kind.name for kind in TASK_KINDS.values()],
    }
    specs = {of: {"type": "str", "required": True, "choices": names[of]} for of in names}
    created = {"description": ["The kind of task.", *map(about, kinds)], **specs[True]}
    recording = (
        "V(online_record) is a recording. M(tiw.automation.online_record_info) returns more of it."
    )
    info = {
        "description": ["The kind of the tasks.", recording, *map(about, kinds)],
        **specs[False],
    }
    of_create = {
        "description": [
            "The options of a new task, those of O(task_kind).",
            "They are checked before anything is sent. An option of another kind is an error.",
        ],
        "type": "dict",
        "suboptions": {name: described(owned, len(kinds)) for name, owned in options.items()},
    }
    arguments = {name: argument(owned, len(kinds)) for name, owned in options.items()}
    return {
        ARGUMENTS: ARGUMENTS_PAGE.format(
            head=HEAD,
            kind=start.written(specs[False]),
            created=start.written(specs[True]),
            options=start.written(arguments),
        ),
        FRAGMENT: FRAGMENT_PAGE.format(
            head=HEAD,
            created=documentation({"task_kind": created, "options": of_create}),
            info=documentation({"task_kind": info}),
        ),
    }


def main() -> None:
    """Write the files."""
    for path, text in pages().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
