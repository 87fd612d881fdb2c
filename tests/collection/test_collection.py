# SPDX-License-Identifier: Apache-2.0
"""What must hold for the whole collection."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from tiw_automation.core import (
    Interrupt,
    OmittedDuration,
    OnlineRecord,
    RequestLimitExceeded,
    RunningTask,
    Video,
)
from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = ROOT / "collections/ansible_collections/tiw/automation"
MODULES = sorted(path.stem for path in (COLLECTION / "plugins/modules").glob("*.py"))
CORE_UTIL = COLLECTION / "plugins/module_utils/_core.py"
README = COLLECTION / "README.md"
PLAYBOOKS = sorted(path.stem for path in (COLLECTION / "playbooks").glob("*.yml"))
EVENTS = sorted(
    path.stem
    for path in (COLLECTION / "extensions/eda").rglob("*")
    if path.suffix in (".py", ".yml")
)

_SPEC = importlib.util.spec_from_file_location(
    "make_start_options", Path(__file__).with_name("make_start_options.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
make_start_options = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(make_start_options)

Play = Callable[..., Any]
Command = Callable[..., subprocess.CompletedProcess[str]]


def documented(module: str, part: str) -> dict[str, Any]:
    """Return DOCUMENTATION or RETURN of a module."""
    text = (COLLECTION / f"plugins/modules/{module}.py").read_text()
    found = re.search(rf'^{part} = r"""\n(.*?)"""', text, re.DOTALL | re.MULTILINE)
    assert found is not None
    data: dict[str, Any] = yaml.safe_load(found[1])
    return data


@pytest.mark.parametrize("path", make_start_options.pages(), ids=lambda path: path.parent.name)
def test_the_options_of_a_start_are_those_of_the_core(path: Path) -> None:
    assert path.read_text() == make_start_options.pages()[path], (
        "Run tests/collection/make_start_options.py"
    )


def test_no_finding_is_ignored() -> None:
    assert not list(COLLECTION.glob("tests/sanity/ignore-*"))
    assert not list(COLLECTION.rglob(".ansible-lint-ignore"))
    lint = yaml.safe_load((COLLECTION / ".ansible-lint").read_text())
    assert lint["profile"] == "production"
    assert not {"skip_list", "warn_list", "enable_list"} & set(lint)


def test_every_module_is_in_the_action_group() -> None:
    runtime = yaml.safe_load((COLLECTION / "meta/runtime.yml").read_text())
    assert runtime["action_groups"] == {"all": MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_documents_its_attributes_and_failures(module: str) -> None:
    fragments = documented(module, "DOCUMENTATION")["extends_documentation_fragment"]
    kind = "info_module" if module.endswith("_info") else "writing_module"
    assert f"tiw.automation._attributes.{kind}" in fragments
    assert "tiw.automation._attributes.action_group" in fragments
    failure = {name for name, entry in documented(module, "RETURN").items() if "fail" in str(entry)}
    assert {"code", "request_id", "hint", "retryable"} <= failure


VIDEO = Video(*[None] * 10)
RECORD = OnlineRecord(
    1, "t", videos=(VIDEO,), omitted_durations=(OmittedDuration(1, 2, 3),), interrupts=()
)
TYPES: dict[str, tuple[type, ...]] = {
    "str": (str, type(None)),
    "int": (int, type(None)),
    "bool": (bool, type(None)),
    "list": (list,),
    "dict": (dict,),
}


def check_returned(documentation: dict[str, Any], data: dict[str, Any]) -> None:
    """Compare the documentation of a dict with one."""
    assert set(documentation) == set(data)
    for name, value in data.items():
        assert isinstance(value, TYPES[documentation[name]["type"]]), name
        assert documentation[name]["description"], name
        assert "sample" in documentation[name] or "contains" in documentation[name], name


def test_the_record_is_fully_documented() -> None:
    contains = documented("online_record_info", "RETURN")["records"]["contains"]
    record = {**RECORD.to_dict(), "exists": True, "verdict": "finished", "message": ""}
    check_returned(contains, record)
    check_returned(contains["videos"]["contains"], VIDEO.to_dict())
    omitted = asdict(RECORD.omitted_durations[0])
    check_returned(contains["omitted_durations"]["contains"], omitted)
    check_returned(contains["interrupts"]["contains"], asdict(Interrupt("u", 1)))
    assert documented("online_record", "RETURN")["record"]["contains"] == contains


def test_a_running_task_and_an_error_are_fully_documented() -> None:
    task = RunningTask(1, "t", "OnlineRecord", None, None, None, None, None, None)
    contains = documented("running_task_info", "RETURN")["tasks"]["contains"]
    check_returned(contains, task.to_dict())
    sample = documented("online_record_info", "RETURN")["errors"]["sample"]
    (error,) = sample.values()
    assert set(error) == set(RequestLimitExceeded("").to_dict())


ONE_OF_EACH: list[dict[str, dict[str, Any]]] = [
    {"tiw.automation.online_record": {"state": "stopped", "task_id": "runs"}},
    {
        "tiw.automation.online_record_archive": {
            "task_id": "runs",
            "folder": "archive",
            "skip_bad": True,
        }
    },
    {"tiw.automation.online_record_callback": {"url": "https://hooks.example.com/"}},
    {"tiw.automation.online_record_callback_info": {}},
    {"tiw.automation.online_record_info": {"task_id": "runs"}},
    {"tiw.automation.running_task_info": {"region": "ap-guangzhou"}},
    {
        "tiw.automation.task": {
            "state": "stopped",
            "task_kind": "whiteboard_push",
            "task_id": "push",
        }
    },
    {"tiw.automation.task_info": {"task_kind": "transcode", "task_id": "deck"}},
]


def test_there_is_one_of_each() -> None:
    assert [name for task in ONE_OF_EACH for name in task] == [
        f"tiw.automation.{m}" for m in MODULES
    ]


def test_a_missing_core_names_the_interpreter_and_the_command(tmp_path: Path, play: Play) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    python = f"{bare}/bin/python"
    played = play(
        *ONE_OF_EACH,
        vars={"ansible_python_interpreter": python},
        environment={"PYTHONPATH": ""},
    )
    for result in played.results:
        assert result["failed"]
        assert result["code"] == "CoreMissing"
        assert python in result["msg"]
        assert f"{python} -m pip install --upgrade 'tiw-automation>=" in result["hint"]


def test_an_old_core_is_named_with_both_versions(tmp_path: Path, play: Play) -> None:
    old = tmp_path / "old/tiw_automation"
    old.mkdir(parents=True)
    (old / "__init__.py").write_text('__version__ = "0.0.7"\n')
    minimum = re.search(r'MINIMUM_VERSION = "(.*)"', CORE_UTIL.read_text())
    assert minimum is not None
    lookup = "{{ query('tiw.automation.online_record', 'a') }}"
    tracks = "{{ {'task_id': 'a', 'videos': []} | tiw.automation.tracks }}"
    played = play(
        *ONE_OF_EACH,
        *({"ansible.builtin.debug": {"msg": expression}} for expression in (lookup, tracks)),
        environment={"PYTHONPATH": str(old.parent)},
    )
    for result in played.results:
        assert result["failed"]
        assert f"tiw-automation 0.0.7 of {sys.executable} is too old" in result["msg"]
        assert f"pip install --upgrade 'tiw-automation>={minimum[1]}'" in result["msg"]
    assert {r["code"] for r in played.results[: len(MODULES)]} == {"CoreUnusable"}


def test_all_results_are_documented(
    tiw_simulator: Simulator, play: Play, ansible_environment: dict[str, str]
) -> None:
    del ansible_environment["TENCENTCLOUD_REGION"]
    tiw_simulator.add("runs", timeline=[{"RECORDING": 1000}])
    tiw_simulator.add_task("whiteboard_push", task_id="push")
    tiw_simulator.add_task("transcode", task_id="deck")
    bad = [{name: {**o, "secret_id": "AKID"} for name, o in task.items()} for task in ONE_OF_EACH]
    results = play(*ONE_OF_EACH, *bad).results
    always = {"invocation", "changed", "failed", "warnings", "deprecations", "exception", "msg"}
    for name, result, failed in zip(MODULES, results, results[len(MODULES) :], strict=False):
        returned = documented(name, "RETURN")
        assert set(result) - always <= set(returned), name
        if "callback" in returned and name != "online_record_callback_info":
            check_returned(returned["callback"]["contains"], result["callback"])
            check_returned(returned["previous"]["contains"], result["previous"])
        assert failed["failed"]
        for key in ("code", "request_id", "hint", "retryable"):
            assert key in failed, name
        assert failed["code"] == "CredentialsError", name


def test_defaults_for_all_modules_at_once(
    tiw_simulator: Simulator, play: Play, ansible_environment: dict[str, str]
) -> None:
    tiw_simulator.add_finished(1)
    account = tiw_simulator.settings()
    for name in tiw_simulator.environment():
        del ansible_environment[name]
    defaults = {name: value for name, value in account.items() if value is not None}
    played = play(
        {"tiw.automation.online_record_info": {"task_id": "finished-000001", "wait": True}},
        {"tiw.automation.online_record": {"state": "stopped", "task_id": "finished-000001"}},
        {"tiw.automation.online_record_callback_info": {}},
        {"tiw.automation.online_record_callback": {"state": "absent", "force": True}},
        {"tiw.automation.running_task_info": {"region": "ap-guangzhou"}},
        {"tiw.automation.task_info": {"task_kind": "transcode", "task_id": "absent"}},
        module_defaults={"group/tiw.automation.all": defaults},
    )
    assert not [r["msg"] for r in played.results if r.get("failed")], played.output


SECRETS = {
    "secret_key": "secret-key-secret-key-secret-key",
    "token": "token-token-token-token-token-token",
    "proxy": "proxy-password-proxy-password",
    "endpoint": "endpoint-password-endpoint-password",
    "record_user_sig": "record-user-sig-record-user-sig",
    "user_sig_key": "user-sig-key-user-sig-key-user-sig-key",
    "key": "callback-key-callback-key-callback-key",
    "url": "callback-token-callback-token",
    "environment": "environment-key-environment-key",
}


def test_no_secret_is_ever_printed(
    tiw_simulator: Simulator, play: Play, ansible_environment: dict[str, str]
) -> None:
    """Every secret, in every module that takes it, in tasks that fail, with -vvvv."""
    tiw_simulator.set_callback("https://u:p@hooks.example.com/?token=0123456789")
    ansible_environment["TENCENTCLOUD_SECRET_KEY"] = SECRETS["environment"]
    keys = {
        "secret_id": tiw_simulator.secret_id,
        "secret_key": SECRETS["secret_key"],
        "token": SECRETS["token"],
    }
    ways: list[dict[str, Any]] = [
        {},
        keys,
        {**keys, "proxy": f"http://user:{SECRETS['proxy']}@127.0.0.1:9", "timeout": 0.5},
        {**keys, "endpoint": f"http://user:{SECRETS['endpoint']}@127.0.0.1/path"},
    ]
    room = {"state": "started", "room_id": 29001, "record_user_id": "tic_record_user_29001_1"}
    own: dict[str, list[dict[str, Any]]] = {
        "online_record": [
            {**room, "record_user_sig": SECRETS["record_user_sig"]},
            {**room, "user_sig_key": SECRETS["user_sig_key"]},
        ],
        "online_record_archive": [{"task_ids": ["a"], "folder": "archive"}],
        "online_record_callback": [
            {"key": SECRETS["key"], "url": f"https://h.example.com/?token={SECRETS['url']}"},
            {"key": SECRETS["key"] * 2, "url": f"no://h.example.com/?token={SECRETS['url']}"},
        ],
        "online_record_callback_info": [{}],
        "online_record_info": [{"task_ids": ["a"]}, {"task_ids": ["a"], "wait": True}],
        "running_task_info": [{}],
        # Secrets inside of options have a test in test_task_kinds.py.
        "task": [
            {
                "task_kind": "whiteboard_push",
                "user_sig_key": SECRETS["user_sig_key"],
                "options": {"room_id": 7},
            }
        ],
        "task_info": [{"task_kind": "transcode", "task_ids": ["a"]}],
    }
    assert sorted(own) == MODULES
    tasks = [
        {f"tiw.automation.{name}": {**options, **way}}
        for name in MODULES
        for options in own[name]
        for way in ways
    ]
    # Not in the tasks: Ansible prints the source of a task that fails.
    quoted = {
        f"secret_{number}": value
        for number, value in enumerate(
            {v for task in tasks for o in task.values() for v in o.values() if isinstance(v, str)}
        )
    }
    names = {value: name for name, value in quoted.items()}
    tasks = [
        {
            module: {
                option: f"{{{{ {names[value]} }}}}" if isinstance(value, str) else value
                for option, value in options.items()
            }
            for module, options in task.items()
        }
        for task in tasks
    ]
    played = play(*tasks, arguments=("-vvvv", "--diff"), vars=quoted)
    assert all(result.get("failed") for result in played.results)
    text = played.output + json.dumps(played.results)
    for name, secret in SECRETS.items():
        assert secret not in text, name
    assert "0123456789" not in text


def tasks_of(text: str) -> list[dict[str, Any]]:
    """Return the tasks of our modules in some YAML, plays and roles included."""

    def walk(node: Any) -> Iterator[dict[str, Any]]:
        if isinstance(node, dict):
            if any(str(key).startswith("tiw.automation.") for key in node):
                yield node
            for key, value in node.items():
                # The sources of a rulebook are event plugins, which have a separate test.
                if key != "sources":
                    yield from walk(value)
        elif isinstance(node, list):
            for value in node:
                yield from walk(value)

    return list(walk(yaml.safe_load(text)))


def check_used(documentation: Mapping[str, Any], text: str) -> int:
    """Check that tasks use documented options in documented ways; return how many tasks."""
    tasks = tasks_of(text)
    for task in tasks:
        ((name, given),) = (
            (name, options) for name, options in task.items() if name.startswith("tiw.automation.")
        )
        options = documentation[name]["doc"]["options"]
        known = {alias: o for n, o in options.items() for alias in (n, *o.get("aliases", []))}
        assert set(given or {}) <= set(known), name
        for option, value in (given or {}).items():
            choices = known[option].get("choices")
            if choices and "{{" not in str(value):
                values = value if isinstance(value, list) else [value]
                assert set(values) <= set(choices), (name, option)
        for option, spec in options.items():
            if spec.get("required") and not {option, *spec.get("aliases", [])} & set(given or {}):
                raise AssertionError(f"{name} without {option}")
    return len(tasks)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("module", MODULES),
        ("lookup", ["online_record"]),
        ("filter", ["task_ids", "tracks"]),
        ("role", ["archive_recordings"]),
    ],
)
def test_the_documentation_renders(command: Command, kind: str, names: list[str]) -> None:
    full = [f"tiw.automation.{name}" for name in names]
    done = command("ansible-doc", "-t", kind, "--json", *full)
    assert done.returncode == 0, done.stderr
    assert "tiw" not in done.stderr, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == set(full)
    if kind != "module":
        return
    for path in (*COLLECTION.glob("playbooks/*.yml"), *COLLECTION.glob("roles/*/tasks/*.yml")):
        check_used(found, path.read_text())


def test_built_installed_and_run_from_the_archive(
    tiw_simulator: Simulator, command: Command, tmp_path: Path
) -> None:
    built = command(
        *("ansible-galaxy", "collection", "build", str(COLLECTION)),
        *("--output-path", str(tmp_path)),
    )
    assert built.returncode == 0, built.stderr
    (archive,) = tmp_path.glob("tiw-automation-*.tar.gz")
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    assert not [
        name for name in names if re.search(r"__pycache__|\.pyc|\.cache|tests/output", name)
    ]
    assert {"meta/runtime.yml", "CHANGELOG.rst", "README.md", "COPYING"} <= set(names)
    assert {
        "meta/extensions.yml",
        "extensions/eda/plugins/event_source/online_record.py",
        "extensions/eda/plugins/event_source/schemas/online_record.json",
        "extensions/eda/plugins/event_filter/online_record_callback.py",
        "extensions/eda/plugins/event_filter/schemas/online_record_callback.json",
        "extensions/eda/rulebooks/finished_recordings.yml",
        "extensions/eda/rulebooks/recording_callbacks.yml",
    } <= set(names)
    place = tmp_path / "collections"
    installed = command(
        *("ansible-galaxy", "collection", "install", str(archive), "-p", str(place)),
        environment={"ANSIBLE_COLLECTIONS_PATH": str(place)},
    )
    assert installed.returncode == 0, installed.stderr
    (finished,) = tiw_simulator.add_finished(1)
    done = command(
        *("ansible-playbook", "tiw.automation.archive", "-e"),
        json.dumps({"task_ids": [finished], "folder": str(tmp_path)}),
        environment={"ANSIBLE_COLLECTIONS_PATH": str(place)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (video,) = (tmp_path / finished).glob("whiteboard-*.mp4")
    assert video.stat().st_size > 0


def test_the_readme_has_what_certification_asks_for() -> None:
    text = README.read_text()
    wanted = [
        "# tiw.automation",
        "## Description",
        "## Requirements",
        "## Installation",
        "## Use cases",
        "## Testing",
        "## Contributing",
        "## Support",
        "## Release notes and roadmap",
        "## Related information",
        "## License information",
    ]
    headings = [line for line in text.splitlines() if re.match(r"##? ", line)]
    assert [heading for heading in headings if heading in wanted] == wanted
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    assert not [link for link in links if not link.startswith(("https://", "#"))]
    assert "pip install ansible" not in text
    for name in (*MODULES, "task_ids", "tracks", "archive_recordings", *PLAYBOOKS, *EVENTS):
        assert f"`{name}`" in text, name


def test_the_changelog_has_this_version_or_its_fragments() -> None:
    version = yaml.safe_load((COLLECTION / "galaxy.yml").read_text())["version"]
    changes = yaml.safe_load((COLLECTION / "changelogs/changelog.yaml").read_text())
    is_released = version in changes["releases"]
    assert is_released or list(COLLECTION.glob("changelogs/fragments/*.yml"))
    assert (f"v{version}" in (COLLECTION / "CHANGELOG.rst").read_text()) is is_released
    releases = [*changes["releases"].values()]
    for kind in ("filter", "lookup"):
        names = [
            entry["name"] for release in releases for entry in release["plugins"].get(kind, [])
        ]
        assert sorted(names) == sorted(p.stem for p in COLLECTION.glob(f"plugins/{kind}/*.py"))
    released = [
        name for name in MODULES if documented(name, "DOCUMENTATION")["version_added"] != version
    ]
    assert sorted(e["name"] for release in releases for e in release["modules"]) == (
        MODULES if is_released else released
    )
    roles = [entry["name"] for release in releases for entry in release["objects"].get("role", [])]
    assert sorted(roles) == sorted(path.name for path in COLLECTION.glob("roles/*"))
