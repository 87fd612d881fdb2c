# SPDX-License-Identifier: Apache-2.0
"""The Ansible blocks of the pages, and the EXAMPLES of the plugins, by a real ansible-playbook.

All plays run in one process, each on a host and with a simulator of its own.
"""

from __future__ import annotations

import ast
import getpass
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from page_blocks import ROOT, Block, blocks, blocks_of
from page_scenes import Scene, scene_of

from tiw_automation.core import TiwClient

COLLECTION = ROOT / "collections/ansible_collections/tiw/automation"
PLUGINS = sorted(COLLECTION.rglob("plugins/*/*.py"))
PLUGIN_KINDS = ("modules", "lookup", "filter")
LESSONS = ["algebra", "history"]
FIELDS = {"type", "event_id", "sdk_app_id", "task_id", "status", "verdict", "message", "record"}
FIELDS |= {"callback"}

# Recordings that still run, and tasks of other kinds, where a snippet waits for such.
RUNNING = {"modules/online_record_info": ("ghucnligqtgtvk2624mb",)}
TASKS = {
    "modules/task_info": {
        "deck-1": "transcode",
        "ghucnligqtgtvk2624mb": "whiteboard_push",
        "video-1": "video_generation",
    }
}


# The inputs of EXAMPLES, which show one plugin. A block of a page has its inputs itself.
INPUTS = {
    "created": {"results": [{"task_id": "deck-1"}]},
    "decks": ["algebra.pptx", "history.pdf"],
    "lesson_ids": LESSONS,
    "signature": "any-signature",
    "task_id": LESSONS[0],
    "task_ids": LESSONS,
    "video_tasks": ["video-1"],
}


def variables(scene: Scene) -> dict[str, Any]:
    """Return what tasks find in variables: secrets in a vault, results of earlier tasks."""
    with TiwClient(**scene.simulator.settings()) as client:
        records = [client.describe_online_record(name).to_dict() for name in LESSONS]
    return {
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "lessons": {"records": records},
        "recorded": {"records": records},
        "vault_callback_key": "callback-key-of-a-page",
        "vault_secret_id": scene.simulator.secret_id,
        "vault_secret_key": scene.simulator.secret_key,
        "vault_tencentcloud_secret_id": scene.simulator.secret_id,
        "vault_tencentcloud_secret_key": scene.simulator.secret_key,
        "vault_user_sig_key": "0123456789abcdef" * 4,
    }


def examples(path: Path) -> list[dict[str, Any]]:
    """Return the EXAMPLES of a plugin, or an empty list."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXAMPLES":
            content: list[dict[str, Any]] = yaml.safe_load(ast.literal_eval(node.value))
            return content
    return []


def plays_of(block: Block) -> list[dict[str, Any]]:
    """Return a block as plays."""
    content = yaml.safe_load(block.text)
    if block.kind == "playbook":
        return list(content)
    if block.kind == "tasks":
        return [{"tasks": content}]
    ask = {"tiw.automation.online_record_info": {"task_ids": LESSONS}}
    return [{**content, "tasks": [ask]}]


SNIPPETS = {block.id: plays_of(block) for block in blocks("playbook", "tasks", "keywords")}
SNIPPETS |= {
    f"{path.parent.name}/{path.stem}": [{"tasks": examples(path)}]
    for path in PLUGINS
    if examples(path) and path.parent.name in PLUGIN_KINDS
}


def fitted(value: Any, scene: Scene) -> Any:
    """Return a play with the simulator and the folder of a scene in it."""
    if isinstance(value, list):
        return [fitted(each, scene) for each in value]
    if isinstance(value, str):
        return scene.fitted(value)
    if not isinstance(value, dict):
        return value
    changed = {key: fitted(each, scene) for key, each in value.items()}
    # A site disables the endpoint of the environment, which is the simulator.
    if changed.pop("site", None):
        changed["endpoint"] = scene.simulator.endpoint
    if "owner" in changed:
        changed["owner"] = getpass.getuser()
    if "group" in changed:
        changed["group"] = "{{ lookup('pipe', 'id -gn') }}"
    return changed


@pytest.fixture(scope="module")
def output(
    tmp_path_factory: pytest.TempPathFactory, make_ansible: Callable[..., Any]
) -> Iterator[str]:
    """Run all snippets, and return what ansible-playbook printed."""
    folder = tmp_path_factory.mktemp("playbook")
    (folder / "lesson.html.j2").write_text("{{ video | default(board) }}\n")
    whole, hosts = [], {}
    with ExitStack() as opened:
        for number, (name, plays) in enumerate(SNIPPETS.items()):
            place = tmp_path_factory.mktemp("snippet")
            scene = opened.enter_context(scene_of("README.md", place, RUNNING.get(name, ())))
            if name == "modules/online_record_callback_info":
                scene.simulator.set_callback("http://127.0.0.1:9/tiw", "callback-key-of-a-page")
            for task_id, kind in TASKS.get(name, {}).items():
                scene.simulator.add_task(kind, task_id)
            for needed in ("srv/lessons", "srv/www", "etc/tiw"):
                (place / needed).mkdir(parents=True)
            hosts[f"host-{number}"] = {"ansible_connection": "local"}
            whole += [play_for(play, f"host-{number}", name, scene) for play in plays]
        (folder / "play.yml").write_text(json.dumps(whole))
        (folder / "inventory.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
        ansible = make_ansible(folder, scene.simulator)
        done = ansible.command(
            *("ansible-playbook", "play.yml", "-i", "inventory.yml"), stderr=subprocess.STDOUT
        )
        yield done.stdout


def play_for(play: dict[str, Any], host: str, name: str, scene: Scene) -> dict[str, Any]:
    """Return a play of a snippet for its host."""
    play = fitted(play, scene)
    inputs = INPUTS if name.startswith(PLUGIN_KINDS) else {}
    given = {**variables(scene), **inputs, **play.get("vars", {})}
    environment = {**scene.simulator.environment(), "HOME": str(scene.folder)}
    fixed = {"name": name, "hosts": host, "gather_facts": False}
    return {**play, **fixed, "environment": environment, "vars": given}


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_snippet_runs(name: str, output: str) -> None:
    host = f"host-{list(SNIPPETS).index(name)}"
    recap = re.search(rf"^{host} +: ok=(\d+) .*unreachable=0 +failed=0 ", output, re.MULTILINE)
    played = re.findall(
        rf"^PLAY \[{re.escape(name)}\].*?(?=^PLAY )", output, re.DOTALL | re.MULTILINE
    )
    assert recap is not None, "".join(played) or output
    assert int(recap[1]) > 0


def sources() -> dict[str, dict[str, Any]]:
    """Return each source of events in a page or in EXAMPLES."""
    found = {
        f"{block.id}: {source.get('name', '')}": source
        for block in blocks("rulebook")
        for rulebook in yaml.safe_load(block.text)
        for source in rulebook["sources"]
    }
    for path in COLLECTION.glob("extensions/eda/plugins/*/*.py"):
        found |= {f"{path.stem}: {source['name']}": source for source in examples(path)}
    return found


@pytest.mark.parametrize("name", sources())
def test_a_source_of_events_has_options_that_exist(name: str) -> None:
    source = sources()[name]
    for plugin in (source, *source.get("filters", [])):
        for full, given in plugin.items():
            if full.startswith("tiw.automation."):
                assert set(given) <= options_of(full.removeprefix("tiw.automation.")), name


def options_of(plugin: str) -> set[str]:
    (path,) = COLLECTION.glob(f"extensions/eda/plugins/*/{plugin}.py")
    text = path.read_text(encoding="utf-8")
    found = re.search(r'^DOCUMENTATION = r"""\n(.*?)"""', text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return set(yaml.safe_load(found[1])["options"])


@pytest.mark.parametrize("block", blocks("rulebook"), ids=lambda block: block.id)
def test_a_rulebook_uses_fields_and_playbooks_that_exist(block: Block) -> None:
    for rulebook in yaml.safe_load(block.text):
        for rule in rulebook["rules"]:
            used = re.findall(r"event\.(\w+)", json.dumps(rule))
            assert used, block.id
            assert set(used) <= FIELDS, block.id
            playbook = rule["action"]["run_playbook"]
            name = playbook["name"].removeprefix("tiw.automation.")
            comment = (COLLECTION / f"playbooks/{name}.yml").read_text(encoding="utf-8")
            assert all(f"#   {variable} " in comment for variable in playbook["extra_vars"])


@pytest.mark.parametrize("page", sorted({block.page for block in blocks("ansible")}))
def test_the_ansible_commands_of_a_page_run(
    page: str, tmp_path: Path, make_ansible: Callable[..., Any]
) -> None:
    with scene_of(page, tmp_path) as scene:
        run_commands(page, scene, make_ansible(tmp_path, scene.simulator).environment)


def run_commands(page: str, scene: Scene, ansible: dict[str, str]) -> None:
    cheap = ("ANSIBLE_CONFIG", "ANSIBLE_PIPELINING", "PYTHONPATH", "TESTS_BYTECODE")
    with scene.shell(**{name: ansible[name] for name in cheap}) as shell:
        for block in blocks_of(page):
            if block.kind != "ansible":
                continue
            code, printed = shell.run(block.text)
            assert code == 0, f"{block.id}:\n{printed}"
